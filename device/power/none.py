"""No sensor: every window's energy is unavailable."""

from device.power.base import PowerSensor, Window


class NoSensor(PowerSensor):
    """Stands where there is no sensor.

    Args:
        problem: why there is none, for the readings.
    """

    def __init__(self, problem: str = "no power sensor is in use") -> None:
        self._problem = problem

    def window(self) -> Window:
        return Window(self._problem)
