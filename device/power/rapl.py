"""Energy counters of x86 processors: /sys/class/powercap/intel-rapl:N/energy_uj (kernel, power/powercap).

Counters are in uJ and start again from 0 after ``max_energy_range_uj``, within minutes under load. Zones named package-N
are whole processors and contain their sub-zones core and uncore; psys contains the packages; memory (dram) is not in
them. Only packages are added up. AMD processors of several dies show each package's counter once a die (codecarbon,
methodology: package-0-die-0 and -1 of a Threadripper 1950X both read the package), so only die 0 counts there.

Intel measures since Haswell (Hackenberg et al., HPPAC 2015); AMD computes the value from events (Schoene et al., CLUSTER
2021), which is an estimate. Since CVE-2020-8694 only root may read the counters.
"""

import os
import time
from typing import Dict, List, NamedTuple, Optional

from device.errors import HardwareError
from device.power.base import ESTIMATED, MEASURED, PowerSensor, Window
from device.system.board import Runner, paths, read_number, read_text, run_tool

LIVE_S = 0.05


class Zone(NamedTuple):
    """One counter."""

    file: str
    range_uj: float


class Rapl(PowerSensor):
    """All processor packages.

    Args:
        zones: their counters.
        kind: measured or estimated.
    """

    name = "RAPL package"
    scope = "processor package, without memory and the rest of the machine"
    interval_s = 0.1

    def __init__(self, zones: List[Zone], kind: str) -> None:
        self.kind = kind
        self._zones = zones

    def read_mw(self) -> Optional[float]:
        window = self.window()
        window.add()
        time.sleep(LIVE_S)
        window.add()
        energy_j = window.energy_j()
        return None if energy_j is None else energy_j * 1000 / window.duration_s()

    def window(self) -> Window:
        return CounterWindow(self.name, self._zones)


class CounterWindow(Window):
    """Adds up what the counters gain. A reading that is missed in between costs nothing: they count on."""

    def __init__(self, name: str, zones: List[Zone]) -> None:
        super().__init__()
        self._name = name
        self._zones = zones
        self._last_uj: Dict[str, float] = {}
        self._energy_uj = 0.0
        self._answered = True

    def add(self) -> None:
        opens = self.started_s is None
        super().add()
        now_uj: Dict[str, float] = {}
        for zone in self._zones:
            value = read_number(zone.file)
            if value is not None:
                now_uj[zone.file] = value
        self._answered = len(now_uj) == len(self._zones)
        if not self._answered:
            if opens:
                self.problem = "{} did not answer".format(self._name)
            return
        for zone in self._zones:
            gained_uj = now_uj[zone.file] - self._last_uj.get(zone.file, now_uj[zone.file])
            self._energy_uj += gained_uj + (zone.range_uj if gained_uj < 0 else 0)
        self._last_uj = now_uj
        self.samples += 1

    def energy_j(self) -> Optional[float]:
        if not self._answered:
            self.problem = "{} stopped answering after {} readings".format(self._name, self.samples)
        return None if self.problem else self._energy_uj / 1e6


def find(root: str = "/", run: Runner = run_tool) -> Optional[Rapl]:
    """The packages' counters; None when the kernel has none.

    Raises:
        HardwareError: this user may not read them.
    """
    vendor = read_text(root, "proc/cpuinfo") or ""
    zones: List[Zone] = []
    for folder in paths(root, "sys/class/powercap/intel-rapl:*"):
        name, range_uj = read_text(folder, "name") or "", read_number(folder, "max_energy_range_uj")
        mirrored = "AuthenticAMD" in vendor and "-die-" in name and not name.endswith("-die-0")
        if not name.startswith("package-") or range_uj is None or mirrored:
            continue
        file = os.path.join(folder, "energy_uj")
        if not os.access(file, os.R_OK):
            raise HardwareError("found RAPL, but only root may read it (since CVE-2020-8694); run as root, or until the next "
                                "start of the machine: sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj")  # fmt: skip
        zones.append(Zone(file, range_uj))
    return Rapl(zones, MEASURED if "GenuineIntel" in vendor else ESTIMATED) if zones else None
