"""A step of a fit: what it is made from, what it makes, and how it is made."""

import abc
import hashlib
from pathlib import Path
from typing import NamedTuple

from device.errors import DataError
from export.fit.job import FitJob
from export.fit.state import Hashes

CRAFTING, TRAINING, OTHER = "crafting", "training", "other"
"""Kinds of work, whose expected times are corrected together."""


class Done(NamedTuple):
    """What a step has made.

    result: in a few words. left_out: why an optional part was left out, as a sentence; "" where it was not.
    """

    result: str
    left_out: str = ""


class Step(abc.ABC):
    """One step. All that it keeps is in the folder of the job."""

    name: str
    kind: str = OTHER

    @abc.abstractmethod
    def inputs(self, job: FitJob) -> Hashes:
        """Of everything that the result follows from.

        Raises:
            DataError: what an earlier step made cannot be read.
        """

    @abc.abstractmethod
    def outputs(self, job: FitJob) -> Hashes:
        """Of everything that the step has made.

        Raises:
            DataError: something of it is absent or cannot be used.
        """

    @abc.abstractmethod
    def expected_s(self, job: FitJob) -> float:
        """About how long it takes on this machine, in seconds."""

    @abc.abstractmethod
    def run(self, job: FitJob) -> Done:
        """Make it. Each file is written whole; a step that is stopped in between can be run again."""


def file_hash(file: Path) -> str:
    """SHA-256 of a file in hex.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"could not read {file} ({error.strerror}); expected a file that defq fit wrote") from error
