"""JSON that others wrote, read within bounds, and shown within them."""

import json
from typing import Any, Callable, Dict, Optional

MAX_DIGITS = 1000  # of a whole number, more than a float has; Python 3.6 takes 7 s for a million
PAUSE_EVERY = 2000  # numbers, which take about half a millisecond

Pause = Optional[Callable[[], None]]
"""Called again and again while something long is read: a thread of a server lets the others go on in it."""


def read_json(raw: bytes, constants: bool = True, pause: Pause = None) -> Any:
    """What a JSON text holds; of two members with one name the last.

    Args:
        raw: in UTF-8. How much memory its objects take is for the caller to bound, by its length.
        constants: also take NaN, Infinity and -Infinity, which Python writes although JSON has no such numbers.
        pause: called after every PAUSE_EVERY numbers. Python reads JSON without letting another thread run meanwhile.

    Raises:
        ValueError: not JSON, not UTF-8, too deep, or with a whole number of more than MAX_DIGITS digits.
    """
    options: Dict[str, Any] = {"parse_int": _whole_number}
    if pause is not None:
        numbers = _Numbers(pause)
        options.update(parse_int=numbers.whole, parse_float=numbers.real)
    if not constants:
        options.update(parse_constant=_refuse_constant)
    try:
        return json.loads(raw.decode("utf-8"), **options)
    except RecursionError:
        raise ValueError("lists or objects too deep within each other") from None


def shown(value: Any) -> str:
    """What a peer wrote, for a sentence: quoted, on one line and not longer than fits there."""
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "..."


class _Numbers:
    """Reads the numbers of a JSON text and pauses between them."""

    def __init__(self, pause: Callable[[], None]) -> None:
        self._pause = pause
        self._left = PAUSE_EVERY

    def real(self, digits: str) -> float:
        self._left -= 1
        if not self._left:
            self._left = PAUSE_EVERY
            self._pause()
        return float(digits)

    def whole(self, digits: str) -> int:
        self._left -= 1
        if not self._left:
            self._left = PAUSE_EVERY
            self._pause()
        return _whole_number(digits)


def _whole_number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("a number of {} digits".format(len(digits)))
    return int(digits)


def _refuse_constant(name: str) -> None:
    raise ValueError("{} is not JSON".format(name))
