"""What every power sensor offers, and a meter for the energy of a window of time.

Sensors answer 10 to 100 times a second and a frame takes milliseconds: only a window of seconds can be measured. A
sensor that stops answering makes the window's energy None and says why; nothing is ever put in its place.
"""

import math
import threading
import time
from typing import Callable, NamedTuple, Optional, Tuple

MEASURED, ESTIMATED, NONE = "measured", "estimated", "none"
MAX_GAP_S = 1.0


class EnergyReading(NamedTuple):
    """The energy of one window."""

    energy_j: Optional[float]
    """None where it could not be measured."""
    mean_w: Optional[float]
    duration_s: float
    samples: int
    """Readings that the energy rests on."""
    sensor: str
    scope: str
    kind: str
    """measured, estimated or none."""
    problem: Optional[str]
    """Why energy_j is None."""


class Window:
    """Adds up energy from one ``add`` to the next; the first opens the window, the last closes it."""

    def __init__(self, problem: Optional[str] = None) -> None:
        self.samples = 0
        self.problem = problem
        self.started_s: Optional[float] = None
        self.ended_s = 0.0

    def add(self) -> None:
        """Take a reading."""
        self.ended_s = time.perf_counter()
        if self.started_s is None:
            self.started_s = self.ended_s

    def duration_s(self) -> float:
        return 0.0 if self.started_s is None else self.ended_s - self.started_s

    def energy_j(self) -> Optional[float]:
        """Joules between the first and the last ``add``, or None, and then ``problem`` says why."""
        return None


class PowerSensor:
    """A source of power readings. A leaf sets the four values and overrides ``read_mw`` or ``window``."""

    name = "none"
    scope = "nothing"
    """What the power goes to: the board, the module, ..."""
    kind = NONE
    interval_s: Optional[float] = None
    """Seconds between two readings; None where a window needs none but at its ends."""

    def read_mw(self) -> Optional[float]:
        """Milliwatts now; None when the sensor does not answer."""
        return None

    def window(self) -> Window:
        """A window that has not begun."""
        return SampledWindow(self.name, self.read_mw)


class SampledWindow(Window):
    """Integrates readings of power by trapezoids; neighbours may lie MAX_GAP_S apart, both ends must be there.

    Args:
        name: of the sensor, for ``problem``.
        read_mw: gives milliwatts, or None.
    """

    def __init__(self, name: str, read_mw: Callable[[], Optional[float]]) -> None:
        super().__init__()
        self._name = name
        self._read_mw = read_mw
        self._energy_mj = 0.0
        self._last: Optional[Tuple[float, float]] = None
        self._answered = True
        self._longest_s = 0.0

    def add(self) -> None:
        before_s = time.perf_counter()
        power_mw = self._read_mw()
        self.ended_s = (before_s + time.perf_counter()) / 2
        opens = self.started_s is None
        if self.started_s is None:
            self.started_s = self.ended_s
        self._answered = power_mw is not None and math.isfinite(power_mw)
        if power_mw is None or not self._answered:
            if opens:
                self.problem = "{} did not answer".format(self._name)
            return
        if self._last is not None:
            last_s, last_mw = self._last
            self._energy_mj += (last_mw + power_mw) / 2 * (self.ended_s - last_s)
            self._longest_s = max(self._longest_s, self.ended_s - last_s)
        self._last = (self.ended_s, power_mw)
        self.samples += 1

    def energy_j(self) -> Optional[float]:
        if not self._answered:
            self.problem = "{} stopped answering after {} readings".format(self._name, self.samples)
        elif self._longest_s > MAX_GAP_S:
            self.problem = "{} did not answer for {:.1f} s".format(self._name, self._longest_s)
        elif self.samples < 2:
            self.problem = "{} gave too few readings".format(self._name)
        return None if self.problem else self._energy_mj / 1000


class Meter:
    """Measures the energy of a window; the sensor is read in a thread meanwhile.

    Example:
        with Meter(find_sensor()) as meter:
            work()
        print(meter.reading.energy_j, meter.reading.kind, meter.reading.scope)
    """

    def __init__(self, sensor: PowerSensor) -> None:
        self.reading: EnergyReading  # there once the window has ended
        self._sensor = sensor
        self._window = sensor.window()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> "Meter":
        """Begin the window."""
        self._window.add()
        if self._sensor.interval_s is not None:
            self._thread.start()
        return self

    def stop(self) -> EnergyReading:
        """End the window."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()
        window, sensor = self._window, self._sensor
        window.add()
        duration_s = window.duration_s()
        energy_j = window.energy_j()
        mean_w = energy_j / duration_s if energy_j is not None and duration_s > 0 else None
        self.reading = EnergyReading(
            energy_j, mean_w, duration_s, window.samples, sensor.name, sensor.scope, sensor.kind, window.problem
        )
        return self.reading

    def _work(self) -> None:
        while not self._stopped.wait(self._sensor.interval_s):
            self._window.add()

    def __enter__(self) -> "Meter":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
