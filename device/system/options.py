"""Command lines: a parser whose complaints are UsageErrors, and numbers that are read in one way everywhere."""

import argparse
import math
import re
from typing import Any, Callable

from device.errors import UsageError
from device.system.suggest import did_you_mean

WHOLE = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)
INVALID_CHOICE = re.compile(r"argument (--[a-z0-9-]+): invalid choice: (.*) \(choose from (.*)\)$", re.DOTALL)
MANY = 10**15
"""A bound that stands for none."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UsageError where argparse prints its usage and ends the process."""

    def error(self, message: str) -> Any:
        told = re.sub("^argument (--[a-z0-9-]+): found ", r"found \1 ", message)
        choice = INVALID_CHOICE.match(message)
        if choice:
            option, typed, known = choice.groups()
            names = [each.strip("'\"") for each in known.split(", ")]
            told = "found {} {}; expected one of {}{}".format(
                option, typed, ", ".join(names), did_you_mean(typed.strip("'\""), names)
            )
        elif told == message:
            told = "{}{}; see: {} --help".format(message, self._option_meant(message), self.prog)
        raise UsageError(told)

    def _option_meant(self, message: str) -> str:
        """For an option that does not exist: the one that is written almost like it."""
        unknown = re.match("unrecognized arguments: (--[^ =]+)", message)
        return did_you_mean(unknown.group(1), self._option_string_actions) if unknown else ""


def whole_number(text: str, least: int, most: int) -> int:
    """A whole number from ``least`` to ``most``, in the digits 0 to 9.

    Raises:
        ValueError: anything else; it says what was found and expected.
    """
    if not WHOLE.fullmatch(text) or not least <= int(text) <= most:
        raise ValueError("found {}; expected a whole number {}".format(_shown(text), _range(least, most)))
    return int(text)


def decimal_number(text: str, least: float, most: float) -> float:
    """A number from ``least`` to ``most``, never NaN or infinite.

    Raises:
        ValueError: anything else; it says what was found and expected.
    """
    value = float(text) if DECIMAL.fullmatch(text) else math.nan
    if not least <= value <= most:  # false for NaN too
        raise ValueError("found {}; expected a number {}".format(_shown(text), _range(least, most)))
    return value


def whole(least: int, most: int = MANY) -> Callable[[str], int]:
    """For ``type`` of an option: a whole number within bounds."""

    def read(text: str) -> int:
        try:
            return whole_number(text, least, most)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def decimal(least: float, most: float = MANY) -> Callable[[str], float]:
    """For ``type`` of an option: a number within bounds."""

    def read(text: str) -> float:
        try:
            return decimal_number(text, least, most)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def _shown(text: str) -> str:
    """What was typed, on one line and not longer than fits there."""
    shown = text if text.isprintable() and text else repr(text)
    return shown if len(shown) <= 40 else shown[:40] + "..."


def _range(least: float, most: float) -> str:
    return "of at least {:.15g}".format(least) if most >= MANY else "from {:.15g} to {:.15g}".format(least, most)
