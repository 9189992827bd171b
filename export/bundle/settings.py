"""What a user chooses about a bundle, and the checks that come before anything that takes long."""

from dataclasses import dataclass
from pathlib import Path

from device.errors import DataError, UsageError
from export.calibration.card import ModelCard
from export.calibration.table_file import TableFile


@dataclass(frozen=True, slots=True)
class BundleSettings:
    """What a user chooses about a bundle.

    Args:
        split: number of exits on the device; None for all of them and the final classifier, so that no host is needed.
        rad: relative accuracy drop, in percent, that a device uses unless it is told another.
        fuse_defq: whether the head graph contains DefQ.
        archive: whether the folder is also written as .tar.gz.
        last_exit: whether the network ends at the last exit that its card names for ``rad``.
        int8: whether head and tail compute in 8 bits.
        twin: what of the hardened twin is in it (FORMS of export/bundle/twin.py); "": nothing.
    """

    split: int | None = 3
    rad: int = 5
    fuse_defq: bool = False
    archive: bool = False
    last_exit: bool = False
    int8: bool = False
    twin: str = ""

    def exits_on_device(self, exits: int) -> int:
        """How many of a network's ``exits``, the final classifier among them, are on the device."""
        return exits if self.split is None else self.split


def check_settings(model: str, card: ModelCard, table: TableFile, out: Path, settings: BundleSettings) -> None:
    """Check that a bundle can be made.

    Raises:
        UsageError: the network has no such split, or the folder ``out`` holds something else.
        DataError: the table was learned on other weights.
    """
    exits = len(card.relative_costs)
    if settings.split is not None and not 1 <= settings.split <= exits - 1:
        raise UsageError(
            f"found --split {settings.split}; expected 1 to {exits - 1}, the internal classifiers of {model}"
            + (" before its last exit" if settings.last_exit else "")
            + ", or all"
        )
    if table.weights_sha256 not in (None, card.weights_sha256):
        raise DataError(
            f"found a table learned on weights {str(table.weights_sha256)[:12]}; the weights are {str(card.weights_sha256)[:12]}; "
            f"bake it again with: defq table --model {model}"
        )
    if out.exists() and not out.is_dir():
        raise UsageError(f"found a file at {out}; expected a folder to write the bundle to; choose another --out")
    if out.is_dir() and any(out.iterdir()) and not (out / "manifest.json").is_file():
        raise UsageError(
            f"found a folder with other files at {out}; expected a new or empty one, or an earlier bundle; choose another --out"
        )
