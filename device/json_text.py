"""JSON that others wrote, read within bounds, and shown within them."""

import json
from typing import Any

MAX_DIGITS = 1000  # of a whole number, more than a float has; Python 3.6 takes 7 s for a million


def read_json(raw: bytes, constants: bool = True) -> Any:
    """What a JSON text holds; of two members with one name the last.

    Args:
        raw: in UTF-8. How much memory its objects take is for the caller to bound, by its length.
        constants: also take NaN, Infinity and -Infinity, which Python writes although JSON has no such numbers.

    Raises:
        ValueError: not JSON, not UTF-8, too deep, or with a whole number of more than MAX_DIGITS digits.
    """
    try:
        if constants:
            return json.loads(raw.decode("utf-8"), parse_int=_whole_number)
        return json.loads(raw.decode("utf-8"), parse_int=_whole_number, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("lists or objects too deep within each other") from None


def shown(value: Any) -> str:
    """What a peer wrote, for a sentence: quoted, on one line and not longer than fits there."""
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "..."


def _whole_number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("a number of {} digits".format(len(digits)))
    return int(digits)


def _refuse_constant(name: str) -> None:
    raise ValueError("{} is not JSON".format(name))
