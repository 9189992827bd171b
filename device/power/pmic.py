"""The power chip of a Raspberry Pi 5 or Compute Module 5: ``vcgencmd pmic_read_adc``.

It prints volts and amperes of twelve rails, one line a value: ``VDD_CORE_A current(7)=0.92871990A`` and further down
``VDD_CORE_V volt(15)=0.72097620V``; EXT5V and BATT have a voltage alone. The numbers differ between A and V, and names
between firmware versions, so that a rail is paired by its name and none is expected.

What the rails leave out: the 5 V of USB, HATs and NVMe, and what converters lose. A fit of one board against a wall meter
gave 1.1451 x sum + 0.5879 W (github.com/jfikar/RPi5-power). It holds for that board and its supply, and is not applied.

A Raspberry Pi 4 and older cannot measure currents. A reading starts a process: ten a second, no more.
"""

import re
from typing import Dict, FrozenSet, Optional

from device.errors import HardwareError
from device.power.base import MEASURED, PowerSensor
from device.system.board import Runner, run_tool

VALUE = re.compile(r"(\w+)_([AV])(?:\s+\w+\(\d+\))?=(-?[0-9.]+)[AV]")


def rails_mw(text: str) -> Dict[str, float]:
    """Milliwatts of every rail that has a current and a voltage, by name."""
    amperes: Dict[str, float] = {}
    volts: Dict[str, float] = {}
    for name, unit, value in VALUE.findall(text):
        (amperes if unit == "A" else volts)[name] = float(value)
    return {name: amperes[name] * volts[name] * 1000 for name in amperes if name in volts}


class Pmic(PowerSensor):
    """The sum of the power chip's rails.

    Args:
        run: starts vcgencmd.
        names: rails that every reading must have.
    """

    name = "Raspberry Pi PMIC"
    scope = "SoC and board rails, without USB, HAT and NVMe loads and converter losses"
    kind = MEASURED
    interval_s = 0.1

    def __init__(self, run: Runner, names: FrozenSet[str]) -> None:
        self._run = run
        self._names = names

    def read_mw(self) -> Optional[float]:
        rails = rails_mw(self._run(["vcgencmd", "pmic_read_adc"]) or "")
        return sum(rails.values()) if self._names == frozenset(rails) else None


def find(root: str = "/", run: Runner = run_tool) -> Optional[Pmic]:
    """The power chip; None where there is no vcgencmd.

    Raises:
        HardwareError: a Raspberry Pi without it, or one that may not be asked.
    """
    told = run(["vcgencmd", "pmic_read_adc"])
    if told is None:
        return None
    names = frozenset(rails_mw(told))
    if names:
        return Pmic(run, names)
    if "open" in told or "ermission" in told or "VCHI" in told:
        raise HardwareError("vcgencmd may not ask the firmware ({}); expected membership of the group video; run "
                            "sudo usermod -aG video $USER and log in again".format(" ".join(told.split())))  # fmt: skip
    raise HardwareError("vcgencmd pmic_read_adc told no currents ({}); expected a Raspberry Pi 5, older ones cannot measure them; "
                        "use an INA219 or an external meter with --power csv:FILE".format(" ".join(told.split())))  # fmt: skip
