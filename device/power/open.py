"""Finds the power sensors of this machine by probing."""

from typing import Callable, Dict, List, NamedTuple, Optional

from device.errors import HardwareError, UsageError
from device.power import ina2xx, ina3221, pmic, rapl
from device.power.base import PowerSensor
from device.power.csv_file import CsvFile
from device.power.none import NoSensor
from device.system.board import Runner, run_tool
from device.system.suggest import did_you_mean

SENSORS: Dict[str, Callable[[str, Runner], Optional[PowerSensor]]] = {  # the best first
    "ina3221": ina3221.find,
    "pmic": pmic.find,
    "ina2xx": ina2xx.find,
    "rapl": rapl.find,
}


class Probe(NamedTuple):
    """What one kind of sensor answered."""

    option: str
    """Its name for --power."""
    sensor: Optional[PowerSensor]
    """None where this machine has none of the kind, or it cannot be used."""
    power_mw: Optional[float]
    """A live reading."""
    problem: Optional[str]
    """Why a sensor that is there cannot be used, and what to do."""


def list_sensors(root: str = "/", run: Runner = run_tool) -> List[Probe]:
    """Every kind of sensor with a live reading, the best first."""
    return [_probe(option, root, run) for option in SENSORS]


def _probe(option: str, root: str, run: Runner, address: str = "") -> Probe:
    try:
        sensor = ina2xx.find(root, run, address) if address else SENSORS[option](root, run)
    except HardwareError as error:
        return Probe(option, None, None, str(error))
    if sensor is None:
        return Probe(option, None, None, None)
    power_mw = sensor.read_mw()
    if power_mw is None or power_mw <= 0:
        told = "nothing" if power_mw is None else "{:g} mW".format(power_mw)
        return Probe(option, None, None, "found {}, which reads {}; expected more than 0 mW; check its wiring and whether "
                     "this user may read it".format(sensor.name, told))  # fmt: skip
    return Probe(option, sensor, power_mw, None)


def find_sensor(root: str = "/", run: Runner = run_tool) -> PowerSensor:
    """The best sensor that gives a reading now; NoSensor, which knows why, when none does."""
    problems: List[str] = []
    for option in SENSORS:
        probe = _probe(option, root, run)
        if probe.sensor is not None:
            return probe.sensor
        if probe.problem:
            problems.append(probe.problem)
    return NoSensor("; ".join(problems) or "this machine has no power sensor")


def open_sensor(text: str, root: str = "/", run: Runner = run_tool) -> PowerSensor:
    """The sensor of --power.

    Args:
        text: auto, none, ina3221, pmic, ina2xx, ina2xx:ADDRESS, rapl or csv:FILE.

    Raises:
        UsageError: another word.
        HardwareError: the sensor is absent or gives no reading.
    """
    option, _, rest = text.partition(":")
    if text == "auto":
        return find_sensor(root, run)
    if text == "none":
        return NoSensor()
    if option == "csv" and rest:
        return CsvFile(rest)
    if option not in SENSORS or (rest and option != "ina2xx"):
        raise UsageError("found --power {}; expected auto, none, {} or csv:FILE{}".format(
            text, ", ".join(SENSORS), did_you_mean(text, ("auto", "none", *SENSORS))))  # fmt: skip
    probe = _probe(option, root, run, rest)
    if probe.sensor is not None:
        return probe.sensor
    if probe.problem:
        raise HardwareError(probe.problem)
    there = [each.option for each in list_sensors(root, run) if each.sensor is not None]
    raise HardwareError("found no {} sensor; expected one on this machine; it has {}; use --power auto, or csv:FILE for an "
                        "external meter".format(option, " and ".join(there) or "none"))  # fmt: skip
