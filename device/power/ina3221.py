"""INA3221 of NVIDIA Jetson boards, in both kernel layouts.

* JetPack 4 (kernel 4.9, iio): /sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/ has rail_name_N, in_powerN_input in mW,
  in_voltageN_input in mV and in_currentN_input in mA. Jetson Nano: POM_5V_IN, POM_5V_GPU, POM_5V_CPU.
* JetPack 5 and later (hwmon): /sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmonX/ has inN_label, inN_input in mV and
  currN_input in mA; powerN_input, which the driver does not have today, is in uW (kernel, hwmon/sysfs-interface). in4 to in6 are shunt voltages in uV and in7 is their sum: only
  channels 1 to 3 are rails. X changes from boot to boot. Orin Nano and NX: VDD_IN, VDD_CPU_GPU_CV, VDD_SOC. A reading
  is the mean of the last ``update_interval`` ms, seconds where ``samples`` is high: windows must be longer than that.

POM_5V_IN and VDD_IN are the whole module and contain the other rails (jetson_stats, power.py and issue 51). AGX boards
have no such rail. On AGX Orin VDDQ_VDD2_1V8AO is a part of VIN_SYS_5V0 (Jetson Linux Developer Guide r36), so that the
module is the sum of the other three. On AGX Xavier the six rails lie side by side (energymon, JetsonPowerRails.md).
The Jetson Nano 2GB has no INA3221.
"""

import os
from typing import Dict, List, NamedTuple, Optional

from device.errors import HardwareError
from device.power.base import MEASURED, PowerSensor
from device.system.board import Runner, paths, read_number, read_text, run_tool

WHOLE_MODULE = (
    ("POM_5V_IN",),
    ("VDD_IN",),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)


class Rail(NamedTuple):
    """Files of one rail."""

    power: str
    """May be absent."""
    power_unit_mw: float
    """Milliwatts of one unit of ``power``: 1 in iio, 0.001 in hwmon."""
    voltage: str
    """In mV."""
    current: str
    """In mA."""

    def read_mw(self) -> Optional[float]:
        """Milliwatts, or None when the rail does not answer."""
        power = read_number(self.power)
        if power is not None:
            return power * self.power_unit_mw
        voltage_mv, current_ma = read_number(self.voltage), read_number(self.current)
        return None if voltage_mv is None or current_ma is None else voltage_mv * current_ma / 1000


class Ina3221(PowerSensor):
    """The rails that make up the module.

    Args:
        rails: by name; none of them a part of another.
    """

    scope = "Jetson module, without the carrier board"
    kind = MEASURED
    interval_s = 0.05

    def __init__(self, rails: Dict[str, Rail]) -> None:
        self.name = "INA3221 " + " + ".join(rails)
        self._rails = list(rails.values())

    def read_mw(self) -> Optional[float]:
        powers_mw: List[float] = []
        for rail in self._rails:
            power_mw = rail.read_mw()
            if power_mw is None:
                return None
            powers_mw.append(power_mw)
        return sum(powers_mw)


def rails(root: str = "/") -> Dict[str, Rail]:
    """All rails by name, totals and parts alike."""
    found: Dict[str, Rail] = {}
    for path in paths(root, "sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_[0-9]"):
        folder, number = os.path.dirname(path), path[-1]
        power, voltage, current = (
            os.path.join(folder, "in_{}{}_input".format(what, number)) for what in ("power", "voltage", "current")
        )
        found[read_text(path) or ""] = Rail(power, 1.0, voltage, current)
    for path in paths(root, "sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in[123]_label"):
        folder, number = os.path.dirname(path), os.path.basename(path)[2]
        power, voltage, current = (
            os.path.join(folder, "{}{}_input".format(what, number)) for what in ("power", "in", "curr")
        )
        found[read_text(path) or ""] = Rail(power, 1e-3, voltage, current)
    return found


def find(root: str = "/", run: Runner = run_tool) -> Optional[Ina3221]:
    """The module's sensor; None when there is no INA3221.

    Raises:
        HardwareError: rails of which none is known to be the whole.
    """
    known = rails(root)
    for names in WHOLE_MODULE:
        if all(name in known for name in names):
            return Ina3221({name: known[name] for name in names})
    if not known:
        return None
    raise HardwareError("found the INA3221 rails {} without a known total; expected POM_5V_IN or VDD_IN; measure with an "
                        "external meter and --power csv:FILE".format(", ".join(sorted(known))))  # fmt: skip
