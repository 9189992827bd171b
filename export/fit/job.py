"""What the steps of one fit share: the folder, the photographs, and the model as far as it is made."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

from export.calibration.card import ModelCard, read_card
from export.calibration.model import CalibratedModel, calibrated_model
from export.calibration.table_file import TableFile
from export.calibration.table_reader import own_table
from export.data import datasets
from export.data.backgrounds import Backgrounds, backgrounds_hash, read_backgrounds
from export.data.images import Dataset
from export.fit.effort import Effort
from export.fit.settings import FitSettings, hash_of
from export.fit.state import FitState
from export.networks.loading import planned
from export.networks.model_files import TRAINED, ModelFiles, beside
from export.networks.model_folder import ModelDescription, Photographs, write_description
from export.networks.user_code import UserCode, named


class FitJob:
    """One fit at work.

    Args:
        photographs: their folder.
        folder: the model folder that is made.
        state: what was made before.
    """

    def __init__(self, photographs: Path, folder: Path, state: FitState) -> None:
        self.photographs, self.folder, self.state = photographs, folder, state
        self._data: Dataset | None = None
        self._hashes: tuple[str, str] | None = None

    @property
    def settings(self) -> FitSettings:
        return self.state.settings

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return self.settings.size, self.settings.size

    @cached_property
    def code(self) -> UserCode | None:
        """The network of the user's own, as its file is when the fit begins.

        Raises:
            DataError: the file cannot be read.
        """
        return named(self.settings.network) if self.settings.network else None

    @cached_property
    def backgrounds(self) -> Backgrounds | None:
        """What photographs are put in front of in training; None for nothing.

        Raises:
            DataError: there are too few.
        """
        place = self.settings.backgrounds
        return read_backgrounds(place, self.size) if place else None

    @cached_property
    def backgrounds_hash(self) -> str:
        """Of the names, sizes and times of the backgrounds.

        Raises:
            DataError: there is no such folder.
        """
        return backgrounds_hash(self.settings.backgrounds)

    @property
    def planned(self) -> ModelDescription:
        """The network that is trained, with all of its exits.

        Raises:
            UsageError: it cannot take this size.
        """
        return planned(self.settings.backbone, self.size, self.settings.fit, code=self.code)

    @property
    def network_hash(self) -> str:
        """Which network it is: its name, and of one of the user's own the hash of its code."""
        return self.settings.backbone if self.code is None else f"{self.settings.backbone} {self.code.sha256}"

    @property
    def files(self) -> ModelFiles:
        """Weights, card and table of the folder, as they are now."""
        return beside(self.settings.backbone, self.folder / TRAINED)

    @property
    def effort(self) -> Effort:
        assert self.state.effort is not None, "the trial comes first"
        return self.state.effort

    @property
    def data(self) -> Dataset:
        """The photographs, read once.

        Raises:
            DataError: they cannot be used.
        """
        if self._data is None:
            self._data = datasets.load(self.photographs, self.size, self.settings.fit, self.settings.group)
        return self._data

    @property
    def photographs_hash(self) -> str:
        """Of the photographs to train and to calibrate with."""
        return self._both_hashes()[0]

    @property
    def test_hash(self) -> str:
        """Of the photographs to test with."""
        return self._both_hashes()[1]

    def _both_hashes(self) -> tuple[str, str]:
        if self._hashes is None:
            nothing = self.data.test.take(0)
            test = self.data._replace(train=self.data.test, calibration=nothing)
            self._hashes = self.data.sha256(), test.sha256()
        return self._hashes

    def card(self) -> ModelCard:
        """Raises DataError where there is none of these weights."""
        return read_card(self.files)

    def table(self, without: str = "") -> TableFile:
        """Raises DataError where there is none of these weights. ``without``: a part that is about to be made anew."""
        return own_table(self.files, without)

    def model(self, without: str = "") -> CalibratedModel:
        """The network with its card and its table.

        Raises:
            DataError: one of them is absent, or belongs to other weights.
        """
        return calibrated_model(self.files, self.data, without)

    def place(self) -> Photographs:
        """Where the photographs lie."""
        return Photographs(str(self.photographs.resolve()), self.settings.group)

    def remember_photographs(self) -> None:
        """Write into model.json where the photographs are, if they have moved since the network was trained.

        Raises:
            OutputError: it cannot be written.
        """
        files = self.files
        if files.description.photographs != self.place():
            write_description(replace(files.description, photographs=self.place()), files.described_in)


def learned_hash(table: TableFile) -> str:
    """Of a table without the parts that were calibrated with it."""
    alone = replace(table, gate=None, monitor=None, searched=None, last_exit_gates={})
    return hash_of(alone.as_json())


def part_hash(part: object) -> str:
    """Of the gate or the monitor of a table; "none" where there is none."""
    return "none" if part is None else hash_of(part.as_json())  # type: ignore[attr-defined]
