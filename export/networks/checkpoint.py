"""Checkpoints of training runs. Each names its data and its recipe, and a run continues only from a checkpoint of its own."""

import contextlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from device.errors import DataError, OutputError


class TrainingRun(NamedTuple):
    """Everything that determines the result of a training run.

    data_sha256: of the images (Dataset.sha256). source: where the images lie; it is shown, not compared. start_sha256: of
    the weights that the run begins from; empty where these are random. recipe: name and value of every setting.
    """

    model: str
    data_sha256: str
    source: str
    start_sha256: str
    recipe: Mapping[str, object]

    def described(self) -> dict[str, str]:
        """Everything that must be equal for a run to continue from a checkpoint, as text."""
        return {
            "model": self.model,
            "data": self.data_sha256[:12],
            "start": self.start_sha256[:12] or "random weights",
            **{name: str(value) for name, value in self.recipe.items()},
        }


def write_checkpoint(file: Path, run: TrainingRun, epoch: int, parts: dict[str, Any]) -> None:
    """Write the state after ``epoch`` epochs. A write that fails leaves the earlier checkpoint as it was.

    Args:
        parts: state dicts by name.

    Raises:
        OutputError: the file cannot be written.
    """
    partial = file.with_name(file.name + ".partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"origin": run.described(), "source": run.source, "epoch": epoch, **parts}, partial)
        partial.replace(file)
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError where the disk is full
        with contextlib.suppress(OSError):
            partial.unlink()
        raise OutputError(
            f"could not write the checkpoint {file} ({error}); expected a file that can be written; name another with "
            "--checkpoint"
        ) from error


def read_checkpoint(file: Path, run: TrainingRun) -> dict[str, Any]:
    """Read what write_checkpoint wrote: ``parts``, and under ``epoch`` the number of finished epochs.

    Raises:
        DataError: the checkpoint is of another run than ``run``, or the file is no checkpoint.
    """
    elsewhere = "name another file with --checkpoint, or remove this one to begin anew"
    try:
        state = torch.load(file, weights_only=True)
        epoch, of, source = int(state["epoch"]), dict(state.get("origin", {})), str(state.get("source", ""))
    except (
        OSError,
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        raise DataError(
            f"could not read the checkpoint {file} ({type(error).__name__}); expected a file that defq train wrote; {elsewhere}"
        ) from error
    if not of:
        raise DataError(
            f"found a checkpoint in {file} that does not name its data and its recipe, like those of early releases; "
            f"expected one that names them; {elsewhere}"
        )
    wanted = run.described()
    differing = [name for name in wanted if of.get(name) != wanted[name]]
    if differing == ["epochs"] and str(epoch) == of["epochs"]:
        raise DataError(
            f"found a finished run of {epoch} epochs in {file}, whose learning rate has come down to its end; expected --epochs "
            f"{epoch}; to train further, begin a new run from its weights with --start FILE, and {elsewhere}"
        )
    if differing:
        sources = f" ({source or 'unknown'} there, {run.source} here)" if "data" in differing else ""
        listed = ", ".join(f"{name} {of.get(name, 'unknown')} there, {wanted[name]} here" for name in differing)
        raise DataError(
            f"found a checkpoint of another run in {file}: {listed}{sources}; expected a checkpoint of the same data and recipe; {elsewhere}"
        )
    return dict(state)
