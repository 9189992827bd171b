"""An external meter that writes its readings to a file while frames are decided: ``csv:FILE``.

One reading a line: time and watts. Columns are found by their names, in any order among others: t, time or timestamp;
W, power, power_W or power_mW; or voltage_V and current_A, whose product is taken (fnirsi_logger.py of the FNB48 and FNB58
meters writes these, parted by blanks). Without a heading the first two columns are time and watts. Commas, semicolons
(then with decimal commas if need be), tabs or blanks part them; lines that begin with # are left out.

Times are the wall clock: seconds or milliseconds since 1970, or ISO 8601 (local time where no zone is given). Meter and
board must have the same clock, so let both follow a time server.
"""

import math
import os
import re
import time
from datetime import datetime
from typing import Dict, NamedTuple, Optional, Tuple

import numpy as np

from device.errors import HardwareError
from device.power.base import MEASURED, PowerSensor, Window
from device.system.files import read_bounded, reason_of

TIME = {"t", "ts", "time", "times", "timems", "timestamp", "timestamps", "timestampms", "unixtime", "datetime"}


def _factors(unit: str, stems: Tuple[str, ...], words: Tuple[str, ...]) -> Dict[str, float]:
    """What to multiply a column by that is named by a word alone, or by a stem and a unit: ``power_mW``, ``mW``, ``P (mW)``."""
    factors = dict.fromkeys(words, 1.0)
    for prefix, factor in (("", 1.0), ("m", 1e-3), ("u", 1e-6)):
        factors.update((stem + prefix + unit, factor) for stem in ("", *stems))
    return factors


FACTORS: Dict[str, Dict[str, float]] = {
    "power": _factors("w", ("p", "power"), ("p", "power", "watt", "watts")),
    "voltage": _factors("v", ("voltage",), ("voltage", "volt", "volts")),
    "current": _factors("a", ("current",), ("current", "ampere", "amps")),
}
ISO = ("%Y-%m-%dT%H:%M:%S.%f%z", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S")
OLDEST_S = 1e9  # September 2001: smaller numbers are no wall clock
MILLISECONDS = 1e11
LEAST_READINGS = 5
MAX_CLOCK_STEP_S = 0.1
MAX_BYTES = 1 << 30
ADVICE = "expected columns t,W with the wall clock in seconds since 1970 or ISO 8601, and watts"


class Columns(NamedTuple):
    """Where things stand in a line."""

    separator: Optional[str]
    time: int
    factors: Tuple[Tuple[int, float], ...]
    """Columns and what to multiply each by; their product is watts."""


class CsvFile(PowerSensor):
    """A meter's file.

    Args:
        path: of the file, which the meter's program writes to.
        patience_s: how long the end of a window waits for the meter's next line.

    Raises:
        HardwareError: no such file, or no readings in it.
    """

    scope = "what the external meter measures"
    kind = MEASURED

    def __init__(self, path: str, patience_s: float = 3.0) -> None:
        self.name = "external meter " + os.path.basename(path)
        self._path = path
        self._patience_s = patience_s
        times, _ = read(path)
        if not len(times):
            raise HardwareError("found no readings in {}; {}; start the meter's program first".format(path, ADVICE))

    def read_mw(self) -> Optional[float]:
        try:
            times, watts = read(self._path)
        except HardwareError:
            return None
        fresh = len(times) and abs(time.time() - times[-1]) < self._patience_s
        return float(watts[-1]) * 1000 if fresh else None

    def window(self) -> Window:
        return FileWindow(self._path, self._patience_s)


class FileWindow(Window):
    """Integrates the file's readings between two moments of the wall clock."""

    def __init__(self, path: str, patience_s: float) -> None:
        super().__init__()
        self._path = path
        self._patience_s = patience_s
        self._start = self._end = 0.0

    def add(self) -> None:
        if self.started_s is None:
            self._start = time.time()
        super().add()
        self._end = time.time()

    def energy_j(self) -> Optional[float]:
        try:
            times, watts = read(self._path)
            give_up_s = time.perf_counter() + self._patience_s
            while (not len(times) or times[-1] < self._end) and time.perf_counter() < give_up_s:
                time.sleep(0.1)
                times, watts = read(self._path)
        except HardwareError as error:
            self.problem = str(error)
            return None
        if abs(self._end - self._start - self.duration_s()) > MAX_CLOCK_STEP_S:
            self.problem = "the board's clock was set while it measured"
            return None
        energy_j, self.samples, self.problem = integrate(times, watts, self._start, self._end)
        return energy_j


def integrate(
    times: np.ndarray, watts: np.ndarray, start: float, end: float
) -> Tuple[Optional[float], int, Optional[str]]:
    """Joules between two moments by trapezoids, the readings between them, and why there are no joules.

    Args:
        times: float (n,), seconds, rising.
        watts: float (n,).
        start, end: seconds of the same clock. Readings must surround them and lie closer than a fifth of the window.
    """
    if not len(times):
        return None, 0, "the meter's file holds no readings"
    if times[0] > start or times[-1] < end:
        late = "first came {:.1f} s after the window's start".format(times[0] - start)
        early = "last came {:.1f} s before the window's end".format(end - times[-1])
        told = "the meter's reading that {}; its program may not run, or its clock differs from the board's"
        return None, 0, told.format(late if times[0] > start else early)
    inside = (times > start) & (times < end)
    moments = np.concatenate([[start], times[inside], [end]])
    first, last = np.searchsorted(times, start, "right") - 1, np.searchsorted(times, end, "left")
    longest_s = np.diff(times[first : last + 1]).max(initial=0) if last > first else 0.0
    samples = int(inside.sum())
    if samples < LEAST_READINGS or longest_s > (end - start) / LEAST_READINGS:
        return None, samples, "the meter gave {} readings in {:.1f} s, at most {:.1f} s apart; that is too few".format(
            samples, end - start, longest_s)  # fmt: skip
    powers = np.interp(moments, times, watts)
    return float(((powers[1:] + powers[:-1]) / 2 * np.diff(moments)).sum()), samples, None


def read(path: str) -> Tuple[np.ndarray, np.ndarray]:
    """Seconds since 1970, rising, and watts: float (n,) each. Lines that are no reading are left out.

    Raises:
        HardwareError: no such file, no such columns, or times that are no wall clock.
    """
    try:
        text = read_bounded(path, MAX_BYTES).decode("utf-8-sig", "replace")
    except (OSError, ValueError) as error:
        raise HardwareError("could not read {} ({}); {}".format(path, reason_of(error), ADVICE)) from error
    complete = text[: text.rfind("\n") + 1]  # the meter may be in the middle of its last line
    lines = [line for line in complete.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        return np.empty(0), np.empty(0)
    columns = _columns(lines[0])
    if columns is None:
        raise HardwareError("found the columns {} in {}; {}".format(lines[0].strip()[:80], path, ADVICE))
    readings = sorted(reading for reading in (_reading(line, columns) for line in lines) if reading is not None)
    if readings and readings[-1][0] < OLDEST_S:
        raise HardwareError("found times up to {:g} in {}; {}".format(readings[-1][0], path, ADVICE))
    pairs = np.array(readings).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _columns(line: str) -> Optional[Columns]:
    separator = next((each for each in (";", "\t", ",") if each in line), None)
    cells = line.split(separator)
    names = [re.sub("[^a-z]", "", re.sub("[\u00b5\u03bc]", "u", cell.lower())) for cell in cells]  # both signs of micro
    if len(cells) >= 2 and _seconds(cells[0]) is not None and _number(cells[1]) is not None:
        return Columns(separator, 0, ((1, 1.0),))
    moment = next((index for index, name in enumerate(names) if name in TIME), None)
    for quantities in (("power",), ("voltage", "current")):
        found = tuple((index, FACTORS[quantity][name]) for quantity in quantities
                      for index, name in enumerate(names) if name in FACTORS[quantity])  # fmt: skip
        if moment is not None and len(found) == len(quantities):
            return Columns(separator, moment, found)
    return None


def _reading(line: str, columns: Columns) -> Optional[Tuple[float, float]]:
    cells = line.split(columns.separator)
    if len(cells) <= max(columns.time, *(index for index, _ in columns.factors)):
        return None
    seconds, watts = _seconds(cells[columns.time]), 1.0
    for index, factor in columns.factors:
        number = _number(cells[index])
        if number is None:
            return None
        watts *= number * factor
    return None if seconds is None else (seconds, watts)


def _number(cell: str) -> Optional[float]:
    try:
        number = float(cell.strip().strip('"').replace(",", "."))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _seconds(cell: str) -> Optional[float]:
    number = _number(cell)
    if number is not None:
        return number / 1000 if number > MILLISECONDS else number
    text = re.sub(r"([+-]\d\d):(\d\d)$", r"\1\2", cell.strip().strip('"').replace(" ", "T"))  # as Python 3.6 reads it
    text = re.sub("Z$", "+0000", text)
    for form in ISO:
        try:
            return datetime.strptime(text, form).timestamp()
        except ValueError:
            pass
    return None
