"""What the board itself says: power, clock, throttling, temperature, memory; and the space on its disk."""

import os
import re
import shutil
from typing import Callable, Dict, List, Optional

from device.doctor.check import OK, SKIPPED, WARNING, Check, sentence_and_fix
from device.system.board import Runner, Throttling, clock_synchronised, read_text, run_tool, temperature_c, throttling

HOT_C = 80.0  # a Raspberry Pi slows down from here on
LEAST_FREE_MB = 500.0  # on the disk: an engine's cache and a day of decisions
LEAST_MEMORY_MB = 250.0  # the device with ONNX Runtime takes at most 150
COOLING = "cool the chip: a heat sink, a fan, air around the case"
MEANINGS = (  # part of a flag's name, what it means, what to do
    ("under-voltage", "the supply's voltage falls too low", "use a stronger power supply and a short, thick cable"),
    ("over-current", "the board draws more than its supply may give", "use a stronger power supply, or a lower power mode: sudo nvpmodel -q"),
    ("frequency capped", "the clock is held down", COOLING + "; or a stronger power supply"),
    ("", "the chip is held back because it is hot", COOLING),
)  # fmt: skip


def check_power(root: str = "/", run: Runner = run_tool) -> Check:
    """A live reading of every power sensor."""
    from device.power.open import list_sensors

    probes = list_sensors(root, run)
    live = ["{} {:.2f} W ({}, {}; --power {})".format(each.sensor.name, each.power_mw / 1000, each.sensor.kind, each.sensor.scope, each.option)
            for each in probes if each.sensor is not None and each.power_mw is not None]  # fmt: skip
    if live:
        return Check("power", OK, ", ".join(live))
    problems = [each.problem for each in probes if each.problem]
    if problems:
        found, fix = sentence_and_fix(problems[0])
        return Check("power", WARNING, "energy: unavailable; " + found, fix)
    return Check("power", WARNING, "energy: unavailable; this machine shows no power sensor",
                 "Jetsons and the Raspberry Pi 5 have one; elsewhere wire an INA219, INA226 or INA260 to I2C, or give bench the "
                 "log of an external meter: --power csv:FILE")  # fmt: skip


def check_clock(synchronised: Callable[[], Optional[bool]] = clock_synchronised) -> Check:
    """Whether the clock follows a time server."""
    follows = synchronised()
    if follows is None:
        return Check("clock", SKIPPED, "the kernel does not tell whether the clock is synchronised")
    if follows:
        return Check("clock", OK, "synchronised")
    return Check("clock", WARNING, "not synchronised: times in logs, and the match with an external meter's CSV, may be wrong",
                 "sudo timedatectl set-ntp true, and let the board reach a time server")  # fmt: skip


def check_throttling(ask: Callable[[], Throttling] = throttling) -> Check:
    """What slows the board down, or did since it started."""
    told = ask()
    if told.source is None:
        return Check("throttling", SKIPPED, "nothing on this machine tells")
    if not told.names():
        return Check("throttling", OK, "none ({})".format(told.source))
    meanings: Dict[str, List[str]] = {}
    fixes: List[str] = []
    for flag in told.names():
        _, meaning, fix = next(each for each in MEANINGS if each[0] in flag)
        meanings.setdefault(meaning, []).append(flag)
        if fix not in fixes:
            fixes.append(fix)
    found = "; ".join("{}: {}".format(", ".join(flags), meaning) for meaning, flags in meanings.items())
    return Check("throttling", WARNING, found, "; ".join(fixes))


def check_temperature(ask: Callable[[], Optional[float]] = temperature_c) -> Check:
    """Of the chip."""
    celsius = ask()
    if celsius is None:
        return Check("temperature", SKIPPED, "nothing on this machine tells")
    hot = celsius >= HOT_C
    return Check("temperature", WARNING if hot else OK, "{:.0f} deg C".format(celsius), COOLING if hot else "")


def free_space(folders: List[str]) -> Check:
    """Space in the folder that has the least.

    Args:
        folders: of one that is not there yet, the nearest that is counts.
    """
    free_mb = {}
    for folder in folders:
        folder = os.path.abspath(folder)  # of a name without / the folder above would be the empty one, for ever
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        free_mb[folder] = shutil.disk_usage(folder).free / 1e6
    least = min(free_mb, key=free_mb.__getitem__)
    found = "{:.1f} GB free in {}".format(free_mb[least] / 1000, least)
    if free_mb[least] < LEAST_FREE_MB:
        return Check(
            "disk", WARNING, found, "free some: decisions and built engines need about {:.0f} MB".format(LEAST_FREE_MB)
        )
    return Check("disk", OK, found)


def check_memory(root: str = "/") -> Check:
    """Memory that programs can still get."""
    found = re.search(
        r"^MemTotal:\s+(\d+) kB.*^MemAvailable:\s+(\d+) kB", read_text(root, "proc/meminfo") or "", re.M | re.S
    )
    if found is None:
        return Check("memory", SKIPPED, "the kernel does not tell")
    total_mb, free_mb = (int(kilobytes) * 1024 / 1e6 for kilobytes in found.groups())
    text = "{:.0f} of {:.0f} MB available".format(free_mb, total_mb)
    if free_mb < LEAST_MEMORY_MB:
        return Check("memory", WARNING, text, "end other programs, or start without the desktop: sudo systemctl set-default "
                     "multi-user.target")  # fmt: skip
    return Check("memory", OK, text)
