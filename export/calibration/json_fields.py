"""Taking values out of a JSON object, each with a check of its type and range.

Numbers keep the type that the file gave them, int or float, so that a file that is read and written again stays the same
byte for byte.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from device.defence.defq import check_table
from device.errors import DataError
from device.system.json_text import shown

MOST_RAD = 100


@dataclass(frozen=True, slots=True)
class Fields:
    """The members of one JSON object.

    Args:
        content: the object as the JSON reader returned it.
        place: where it stands in the file, as a prefix such as "gate.weak."; empty for the file itself.
    """

    content: Mapping[str, object]
    place: str = ""

    @classmethod
    def of(cls, value: object, place: str = "") -> "Fields":
        """The members of ``value``.

        Raises:
            ValueError: it is not a JSON object.
        """
        if not isinstance(value, dict):
            raise ValueError(f"found {shown(value)} at {place.rstrip('.') or 'the top'}; expected a JSON object")
        return cls(value, place)

    def __contains__(self, name: str) -> bool:
        return name in self.content

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def section(self, name: str) -> "Fields":
        """The members of the object under ``name``. Raises ValueError where there is none."""
        return Fields.of(self._get(name), f"{self.place}{name}.")

    def by_rad(self, name: str) -> dict[int, "Fields"]:
        """The objects under ``name``, whose keys are RADs in percent. Raises ValueError for other keys or values."""
        section = self.section(name)
        return {rad: section.section(key) for key, rad in section.rads().items()}

    def rads(self) -> dict[str, int]:
        """All keys with the RAD in percent that each one stands for. Raises ValueError for a key that stands for none."""
        for key in self.content:
            if not (key.isascii() and key.isdigit() and int(key) <= MOST_RAD):
                raise ValueError(f"found the key {shown(key)} at {self.place.rstrip('.')}; expected a RAD in percent")
        return {key: int(key) for key in self.content}

    def text(self, name: str) -> str:
        """A text. Raises ValueError for anything else."""
        value = self._get(name)
        if not isinstance(value, str):
            raise self._refusal(name, "a text")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts. Raises ValueError for anything else."""
        value = self._get(name)
        if not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
            raise self._refusal(name, "a list of texts")
        return tuple(value)

    def flag(self, name: str) -> bool:
        """True or false. Raises ValueError for anything else."""
        value = self._get(name)
        if not isinstance(value, bool):
            raise self._refusal(name, "true or false")
        return value

    def number(self, name: str, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number from ``low`` to ``high``. Raises ValueError for anything else."""
        value: float = self._get(name)
        if not _is_number(value, low, high):
            raise self._refusal(name, f"a number from {low} to {high}")
        return value

    def whole(self, name: str, low: int = 0, high: int = 1 << 62) -> int:
        """A whole number from ``low`` to ``high``. Raises ValueError for anything else."""
        value = self._get(name)
        if not (isinstance(value, int) and _is_number(value, low, high)):
            raise self._refusal(name, f"a whole number from {low} to {high}")
        return value

    def wholes(self, name: str) -> tuple[int, ...]:
        """A list of whole numbers from 0 on. Raises ValueError for anything else."""
        value = self._get(name)
        if not (
            isinstance(value, list) and all(isinstance(each, int) and _is_number(each, 0, 1 << 62) for each in value)
        ):
            raise self._refusal(name, "a list of whole numbers")
        return tuple(value)

    def numbers(self, name: str, count: int, low: float, high: float) -> tuple[float, ...]:
        """A list of ``count`` numbers from ``low`` to ``high``. Raises ValueError for anything else."""
        value = self._get(name)
        if not (isinstance(value, list) and len(value) == count and all(_is_number(each, low, high) for each in value)):
            raise self._refusal(name, f"{count} numbers from {low} to {high}")
        return tuple(value)

    def counts(self, name: str) -> dict[str, int]:
        """Whole numbers by name, from 0 on. Raises ValueError for anything else."""
        section = self.section(name)
        return {each: section.whole(each) for each in section}

    def table(self, name: str) -> np.ndarray:
        """Steps of DefQ, (8, 8), from 1 to 65535, int64 or float64 as the file has them. Raises ValueError otherwise."""
        try:
            steps = np.array(self._get(name))
            check_table(steps)
        except (DataError, ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"found no usable table under {self.place}{name} ({str(error)[:120]})") from error
        return steps

    def _get(self, name: str) -> Any:
        if name not in self.content:
            raise ValueError(f"found no {self.place}{name}")
        return self.content[name]

    def _refusal(self, name: str, expected: str) -> ValueError:
        return ValueError(f"found {shown(self.content[name])} under {self.place}{name}; expected {expected}")


def _is_number(value: object, low: float, high: float) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and low <= value <= high
        and abs(value) < math.inf
    )
