"""What the board says about itself: model, temperature, throttling, clock, memory. Unknown is None; nothing here raises.

Every function takes the ``root`` of the file system and, where a tool is asked, the function that runs it.
"""

import ctypes
import glob
import os
import re
import subprocess
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

Runner = Callable[[Sequence[str]], Optional[str]]

TOOL_TIMEOUT_S = 2
CHIP_ZONE = re.compile("cpu|gpu|soc|tj|x86_pkg", re.IGNORECASE)
CHIP_HWMON = ("coretemp", "k10temp")
SLOWING_DEVICE = re.compile("^(thermal-)?(cpufreq|devfreq)-|-throttle-alert$|-balanced$")
PI_FLAGS = ((0, "under-voltage"), (1, "frequency capped"), (2, "throttled"), (3, "soft temperature limit"))
ORIN_EVENTS = ((1, "under-voltage"), (2, "average over-current"), (3, "instantaneous over-current"))
SYNCHRONISED_US = 16000000


def read_text(*path: str) -> Optional[str]:
    """The stripped text of a small file of the kernel; None when it is absent or cannot be read."""
    try:
        with open(os.path.join(*path), "rb") as file:
            return file.read().decode("utf-8", "replace").strip("\0 \n\t")
    except OSError:
        return None


def read_number(*path: str) -> Optional[float]:
    """The one number of a small file of the kernel; None when it is absent, cannot be read or is no number."""
    text = read_text(*path)
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def paths(root: str, pattern: str) -> List[str]:
    """What matches a pattern below ``root``, sorted."""
    return sorted(glob.glob(os.path.join(glob.escape(root), pattern)))


def run_tool(command: Sequence[str]) -> Optional[str]:
    """What a tool prints, errors too; None when it is absent or hangs."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=TOOL_TIMEOUT_S)  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")


def board_model(root: str = "/") -> Optional[str]:
    """The board's name from its device tree; else the machine's from DMI and the processor's."""
    model = read_text(root, "proc/device-tree/model")
    if model:
        return model
    dmi = (read_text(root, "sys/class/dmi/id", name) for name in ("sys_vendor", "product_name"))
    machine = " ".join(part for part in dmi if part)
    processor = re.search(r"^model name\s*: (.+)$", read_text(root, "proc/cpuinfo") or "", re.MULTILINE)
    return ", ".join(part for part in (machine, processor.group(1) if processor else "") if part) or None


def temperature_c(root: str = "/", run: Runner = run_tool) -> Optional[float]:
    """Degrees Celsius of the chip: the hottest thermal zone of CPU, GPU, SoC or junction.

    Other zones stay out: the Jetson Nano's PMIC-Die reads 100 degrees always. A zone that is switched off cannot be
    read, or reads -256 degrees. Without such a zone: the x86 sensor in hwmon, then ``vcgencmd measure_temp``.
    """
    zones = paths(root, "sys/class/thermal/thermal_zone*")
    files = [os.path.join(zone, "temp") for zone in zones if CHIP_ZONE.search(read_text(zone, "type") or "")]
    if not files:
        hwmon = paths(root, "sys/class/hwmon/hwmon*")
        files = [os.path.join(each, "temp1_input") for each in hwmon if read_text(each, "name") in CHIP_HWMON]
    milli = [value for value in map(read_number, files) if value is not None and -60e3 < value < 200e3]
    if milli:
        return max(milli) / 1000
    told = re.search(r"temp=([0-9.]+)'C", run(["vcgencmd", "measure_temp"]) or "")
    return float(told.group(1)) if told else None


class Throttling(NamedTuple):
    """What slows the board down."""

    source: Optional[str]
    """Who told; None when nobody can tell on this machine."""
    now: Tuple[str, ...]
    since_boot: Tuple[str, ...]
    """What happened at least once since the board started."""

    def names(self) -> List[str]:
        """All flags in words; empty when the board runs at full speed."""
        if self.source is None:
            return ["unknown"]
        return [*self.now, *(name + " since boot" for name in self.since_boot if name not in self.now)]


def throttling(root: str = "/", run: Runner = run_tool) -> Throttling:
    """Flags of the Raspberry Pi's firmware, or the kernel's cooling devices and the Jetson Orin's over-current events.

    A cooling device whose ``cur_state`` is not 0 is at work (kernel, thermal/sysfs-api); those of processors and
    Jetson's alerts count, fans do not. ``oc1..3_event_cnt`` of hwmon soctherm_oc are under-voltage, average and
    instantaneous over-current (Jetson Linux Developer Guide). Bits of ``vcgencmd get_throttled``: 0..3 now, 16..19
    since boot (Raspberry Pi documentation, vcgencmd).
    """
    told = re.search(r"throttled=0x([0-9a-fA-F]+)", run(["vcgencmd", "get_throttled"]) or "")
    if told:
        bits = int(told.group(1), 16)
        now = tuple(name for bit, name in PI_FLAGS if (bits >> bit) & 1)
        since_boot = tuple(name for bit, name in PI_FLAGS if (bits >> (bit + 16)) & 1)
        return Throttling("vcgencmd get_throttled", now, since_boot)
    devices = [(read_text(each, "type") or "", read_number(each, "cur_state"))
               for each in paths(root, "sys/class/thermal/cooling_device*")]  # fmt: skip
    states = [(kind, state) for kind, state in devices if state is not None and SLOWING_DEVICE.search(kind)]
    alarms = [each for each in paths(root, "sys/class/hwmon/hwmon*") if read_text(each, "name") == "soctherm_oc"]
    events = [name for alarm in alarms for number, name in ORIN_EVENTS
              if read_number(alarm, "oc{}_event_cnt".format(number))]  # fmt: skip
    source = "cooling devices of the kernel" if states or alarms else None
    return Throttling(source, tuple(kind for kind, state in states if state > 0), tuple(events))


class Frequency(NamedTuple):
    now_mhz: float
    most_mhz: float


def cpu_frequency(root: str = "/") -> Optional[Frequency]:
    """The first core's clock and the highest it can have. Lower is no throttling: it is low at idle as well."""
    folder = os.path.join(root, "sys/devices/system/cpu/cpu0/cpufreq")
    now, most = read_number(folder, "scaling_cur_freq"), read_number(folder, "cpuinfo_max_freq")  # kHz
    return None if now is None or most is None else Frequency(now / 1000, most / 1000)


class _Timex(ctypes.Structure):
    """The head of C's struct timex, which is 208 bytes long at most."""

    _fields_ = [("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long),
                ("maxerror", ctypes.c_long), ("rest", ctypes.c_byte * 256)]  # fmt: skip


def clock_error_us() -> Optional[int]:
    """The largest error that the kernel assumes for its clock (adjtimex); it grows without time synchronisation."""
    try:
        timex = _Timex()
        if ctypes.CDLL(None).adjtimex(ctypes.byref(timex)) < 0:
            return None
        return int(timex.maxerror)
    except (OSError, AttributeError):
        return None


def clock_synchronised(error_us: Callable[[], Optional[int]] = clock_error_us) -> Optional[bool]:
    """Whether the clock follows a time server: the kernel's error is below 16 s, which is what timedatectl tests.

    The kernel is asked itself, because ``timedatectl show`` came with systemd 239 and JetPack 4 has 237.
    """
    error = error_us()
    return None if error is None else error < SYNCHRONISED_US


def _megabytes(root: str, name: str, key: str) -> Optional[float]:
    """A line ``key: n kB`` of a file in /proc, in 10^6 bytes."""
    found = re.search(r"^{}:\s+(\d+) kB".format(key), read_text(root, "proc", name) or "", re.MULTILINE)
    return int(found.group(1)) * 1024 / 1e6 if found else None


def memory_total_mb(root: str = "/") -> Optional[float]:
    """Memory that the kernel manages, in 10^6 bytes."""
    return _megabytes(root, "meminfo", "MemTotal")


class Resident(NamedTuple):
    now_mb: float
    peak_mb: float


def process_rss_mb(root: str = "/") -> Optional[Resident]:
    """Resident memory of this process, now and at its highest, in 10^6 bytes."""
    now, peak = _megabytes(root, "self/status", "VmRSS"), _megabytes(root, "self/status", "VmHWM")
    return None if now is None or peak is None else Resident(now, peak)
