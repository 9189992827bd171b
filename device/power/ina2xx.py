"""INA219, INA226 and their kin at the supply line of any board, through the kernel's ina2xx driver.

/sys/class/hwmon/hwmonX/ has the chip in ``name`` and ``power1_input`` in uW (kernel, hwmon/ina2xx); X changes from boot
to boot. ``shunt_resistor`` in uOhm must be that of the shunt on the module, or the power is wrong in proportion: the
driver assumes 10 mOhm, common breakout boards have 100. The sensor's name shows it.
"""

import os
from typing import List, Optional

from device.errors import HardwareError
from device.power.base import MEASURED, PowerSensor
from device.system.board import Runner, paths, read_number, read_text, run_tool

CHIPS = ("ina219", "ina220", "ina226", "ina230", "ina231", "ina234", "ina260", "sy24655")


class Ina2xx(PowerSensor):
    """One chip.

    Args:
        folder: its folder in /sys/class/hwmon.
    """

    scope = "the line that the chip sits in"
    kind = MEASURED
    interval_s = 0.05

    def __init__(self, folder: str) -> None:
        chip = (read_text(folder, "name") or "").upper()
        self.address = os.path.basename(os.path.realpath(os.path.join(folder, "device")))
        shunt_uohm = read_number(folder, "shunt_resistor")
        shunt = "" if shunt_uohm is None else ", shunt {:g} mOhm".format(shunt_uohm / 1000)
        self.name = "{} at {}{}".format(chip, self.address, shunt)
        self._file = os.path.join(folder, "power1_input")

    def read_mw(self) -> Optional[float]:
        power_uw = read_number(self._file)
        return None if power_uw is None else power_uw / 1000


def chips(root: str = "/") -> List[Ina2xx]:
    """All chips, by I2C address."""
    folders = [each for each in paths(root, "sys/class/hwmon/hwmon*") if read_text(each, "name") in CHIPS]
    return sorted((Ina2xx(folder) for folder in folders), key=lambda chip: chip.address)


def find(root: str = "/", run: Runner = run_tool, address: str = "") -> Optional[Ina2xx]:
    """The chip, or the one at an I2C address as in 1-0041; None when there is none.

    Raises:
        HardwareError: several, and it is not said which; or none at the address.
    """
    found = [chip for chip in chips(root) if address in ("", chip.address)]
    if len(found) == 1:
        return found[0]
    if not found and not address:
        return None
    raise HardwareError("found {} for --power ina2xx; expected one chip that measures the board; name it, as in "
                        "--power ina2xx:1-0040".format(" and ".join(chip.name for chip in found or chips(root)) or "no chip"))  # fmt: skip
