"""Algorithm 1 of the DefQ paper: the table Q_def learned from how DeepSloth changes the DCT spectrum."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from device.bundle.calibration import check_gate, check_table_file
from device.defence.defq import BLOCK, dct_matrix
from device.defence.gate import Gate
from device.errors import DataError, UsageError
from device.system.files import read_bounded
from device.system.json_text import read_json
from export.attacks import PerSampleAttack
from export.data.images import Images
from export.data.output import write_output
from export.data.shipped import shipped_folder
from export.networks.sdn import SDN
from export.networks.weights import to_tensor

ATTACK_NAMES = {"DeepSlothLinf": "DeepSloth L-inf", "DeepSlothL2": "DeepSloth L2", "DeepSlothL1": "DeepSloth L1"}
TABLES = shipped_folder("tables")
MAX_FILE_BYTES = 16 << 20


class TableSettings(NamedTuple):
    """How a table is learned: number of calibration images, the range of its steps (pixels 0..255), the seed."""

    samples: int = 1000
    low: int = 20
    high: int = 60
    seed: int = 0


def block_spectrum(images: np.ndarray) -> np.ndarray:
    """Orthonormal DCT-II of every 8 x 8 block.

    Args:
        images: float (n, c, h, w) in 0..255, h and w multiples of 8.

    Returns:
        float64 (blocks, 8, 8): all channels and blocks of all images.
    """
    n, channels, height, width = images.shape
    if height % BLOCK or width % BLOCK:
        raise DataError(
            f"found images of {height} x {width} pixels; expected multiples of {BLOCK} to learn a table from; resize them"
        )
    blocks = images.reshape(n * channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK).swapaxes(2, 3)
    matrix = dct_matrix()
    spectrum: np.ndarray = matrix @ blocks.reshape(-1, BLOCK, BLOCK).astype(np.float64) @ matrix.T
    return spectrum


def mean_ratios(clean: np.ndarray, attacked: np.ndarray) -> np.ndarray:
    """D of Algorithm 1: per frequency the mean of (|F(attacked)| + 1) / (|F(clean)| + 1).

    Args:
        clean, attacked: float (n, c, h, w) in 0..255, image for image.

    Returns:
        float64 (8, 8).
    """
    ratios = (np.abs(block_spectrum(attacked)) + 1) / (np.abs(block_spectrum(clean)) + 1)
    mean: np.ndarray = ratios.mean(axis=0)
    return mean


def table_from_ratios(ratios: np.ndarray, low: int, high: int) -> np.ndarray:
    """Q_def = floor((D - min D) / (max D - min D) x (high - low) + low), int64 of the shape of ``ratios``.

    Raises:
        DataError: all ratios are equal, as when no image was changed.
    """
    least, most = float(ratios.min()), float(ratios.max())
    if not (np.isfinite(ratios).all() and most > least):
        raise DataError(
            f"found mean ratios from {least} to {most}; expected an attack that changes some frequencies more than others; check the attacked images"
        )
    return np.floor((ratios - least) / (most - least) * (high - low) + low).astype(np.int64)


def learn_table(
    network: SDN, images: Images, settings: TableSettings, attack: PerSampleAttack
) -> tuple[np.ndarray, np.ndarray, list[int | str]]:
    """Attack a random choice of calibration images and derive the table.

    Returns:
        The table int64 (8, 8), the mean ratios float64 (8, 8), and the ids of the images it was learned from.
    """
    count = min(settings.samples, len(images.labels))
    chosen = np.sort(np.random.default_rng(settings.seed).permutation(len(images.labels))[:count])
    clean = to_tensor(images.pixels[chosen])
    attacked = attack(network, clean, seed=settings.seed)
    ratios = mean_ratios(clean.numpy() * 255.0, attacked.numpy() * 255.0)
    return table_from_ratios(ratios, settings.low, settings.high), ratios, images.ids(chosen)


@dataclass(frozen=True)
class TableFile:
    """A table's file, read and checked: Q_def and what was calibrated with it.

    Args:
        file: where it lies.
        content: what stands in it; ``steps`` has the table, and the methods give the rest.
        option: what names its network on the command line.
    """

    file: Path
    content: dict[str, Any]
    option: str = "--model NAME"

    @property
    def steps(self) -> np.ndarray:
        """Q_def, (8, 8), as a bundle ships it."""
        return np.array(self.content["table"])

    def baked(self, low: int, high: int) -> np.ndarray:
        """Q_def with another range of steps, from the mean ratios that the file keeps. int64 (8, 8).

        Raises:
            DataError: it keeps none.
        """
        try:
            ratios = np.array(self.content["mean_ratios"], np.float64).reshape(BLOCK, BLOCK)
        except (KeyError, TypeError, ValueError):
            raise DataError(
                f"found no mean ratios in {self.file}; expected 8 rows of 8, to bake a table of range {low} to {high} from; "
                f"learn it again with: python -m export table {self.option}"
            ) from None
        return table_from_ratios(ratios, low, high)

    def part(self, name: str, command: str) -> dict[str, Any]:
        """What ``command`` put into the file under ``name``.

        Raises:
            UsageError: nothing. DataError: something that is of other weights than the table.
        """
        found = self.content.get(name)
        again = f"make it with: python -m export {command} {self.option}"
        if not isinstance(found, dict):
            raise UsageError(f"found no {name.replace('_', ' ')} in {self.file}; expected one; {again}")
        own = self.content.get("weights_sha256")
        if found.get("weights_sha256", own) != own:
            raise DataError(
                f"found a {name} of weights {str(found['weights_sha256'])[:12]} in {self.file}; the table's are "
                f"{str(own)[:12]}; {again}"
            )
        return found

    def gate(self) -> Gate:
        """The noise gate.

        Raises:
            UsageError: none. DataError: a damaged one, or one of other weights.
        """
        self.part("gate", "gate")
        gate = check_gate(self.content, (), str(self.file))
        assert gate is not None
        return gate

    def extended(self, name: str, value: dict[str, Any], out: Path) -> Path:
        """Write the content to ``out`` with one calibration put in; what else is in it stays."""
        rest = {
            each: kept
            for each, kept in self.content.items()
            if each not in ("format", "format_version", "model", "table")
        }
        write_table(out, self.content.get("model", ""), self.steps, {**rest, name: value})
        return out


def read_table(file: Path) -> dict[str, Any]:
    """A table of tables/, checked."""
    try:
        content: dict[str, Any] = read_json(read_bounded(str(file), MAX_FILE_BYTES))
    except (OSError, ValueError) as error:
        raise DataError(
            f"could not read the table {file} ({error}); bake one, as in: python -m export table --model mobilenet --out table.json"
        ) from error
    check_table_file(content, str(file))
    return content


def write_table(path: Path, model: str, table: np.ndarray, provenance: dict[str, Any]) -> None:
    """Write a table's file: the steps and where they come from.

    Raises:
        OutputError: it cannot be written.
    """
    content = {"format": "defq-table", "format_version": 1, "model": model, "table": table.tolist(), **provenance}
    check_table_file(content, str(path))
    text = json.dumps(content, indent=2)
    # rows of numbers on one line each
    write_output(path, re.sub(r"\[\s+([-\d.,\s]+?)\s+\]", lambda row: f"[{' '.join(row[1].split())}]", text) + "\n")


def table_provenance(
    settings: TableSettings, attack: PerSampleAttack, ratios: np.ndarray, ids: list[int | str], weights_sha256: str
) -> dict[str, Any]:
    """What a table's file says of its making."""
    return {
        "range": [settings.low, settings.high],
        "mean_ratios": [[round(float(each), 6) for each in row] for row in ratios],
        "attack": {"name": ATTACK_NAMES.get(type(attack).__name__, type(attack).__name__), **asdict(attack)},
        "seed": settings.seed,
        "weights_sha256": weights_sha256,
        "torch": torch.__version__,
        "sample_ids": ids,
    }
