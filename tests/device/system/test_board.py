"""What the board says about itself, from fake trees and a fake vcgencmd."""

import os
import sys

import pytest

from device.system import board
from device.system.board import Throttling
from tests.device.power.test_power import nothing, says, write


def zones(root, temperatures):
    for number, (kind, milli) in enumerate(temperatures):
        write(root, "sys/class/thermal/thermal_zone{}/type".format(number), kind)
        if milli is not None:
            write(root, "sys/class/thermal/thermal_zone{}/temp".format(number), milli)


def cooling(root, devices):
    for number, (kind, state) in enumerate(devices):
        write(root, "sys/class/thermal/cooling_device{}/type".format(number), kind)
        write(root, "sys/class/thermal/cooling_device{}/cur_state".format(number), state)


def test_model_of_a_device_tree(tmp_path):
    os.makedirs(str(tmp_path / "proc/device-tree"))
    (tmp_path / "proc/device-tree/model").write_bytes(b"NVIDIA Jetson Nano Developer Kit\0")
    assert board.board_model(str(tmp_path)) == "NVIDIA Jetson Nano Developer Kit"


def test_the_model_of_a_pc_is_its_processor(tmp_path):
    write(tmp_path, "proc/cpuinfo", "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t: fpu\n\nmodel name\t: other")
    assert board.board_model(str(tmp_path)) == "AMD EPYC"
    write(tmp_path, "sys/class/dmi/id/sys_vendor", "LENOVO")
    write(tmp_path, "sys/class/dmi/id/product_name", "20XW")
    assert board.board_model(str(tmp_path)) == "LENOVO 20XW, AMD EPYC"


NANO_ZONES = [("AO-therm", 41500), ("CPU-therm", 34000), ("GPU-therm", 35500), ("PLL-therm", 31500),
              ("PMIC-Die", 100000), ("thermal-fan-est", 33000)]  # fmt: skip
ORIN_ZONES = [("cpu-thermal", 51687), ("gpu-thermal", None), ("cv0-thermal", -256000), ("tj-thermal", 52343)]


@pytest.mark.parametrize(
    ("temperatures", "celsius"),
    [
        (NANO_ZONES, 35.5),  # PMIC-Die reads 100 always
        (ORIN_ZONES, 52.343),
        ([("cpu-thermal", 48312)], 48.312),
        ([("acpitz", 27800), ("x86_pkg_temp", 61000)], 61),
        ([("acpitz", 27800)], None),
    ],
)
def test_temperature_of_the_chip(tmp_path, temperatures, celsius):
    zones(tmp_path, temperatures)
    assert board.temperature_c(str(tmp_path), nothing) == celsius


def test_temperature_of_amd_and_of_a_pi_without_zones(tmp_path):
    assert board.temperature_c(str(tmp_path), says("temp=45.1'C\n")) == 45.1
    assert board.temperature_c(str(tmp_path), says("VCHI initialization failed")) is None
    write(tmp_path, "sys/class/hwmon/hwmon2/name", "k10temp")
    write(tmp_path, "sys/class/hwmon/hwmon2/temp1_input", 54375)
    assert board.temperature_c(str(tmp_path), nothing) == 54.375


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("throttled=0x0\n", []),
        ("throttled=0x50005\n", ["under-voltage", "throttled"]),
        ("throttled=0x50000\n", ["under-voltage since boot", "throttled since boot"]),
        ("throttled=0xe0008\n", ["soft temperature limit", "frequency capped since boot", "throttled since boot"]),
        ("throttled=0xF000F\n", ["under-voltage", "frequency capped", "throttled", "soft temperature limit"]),
    ],
)
def test_throttling_of_a_pi(tmp_path, text, names):
    found = board.throttling(str(tmp_path), says(text))
    assert found.names() == names
    assert found.source == "vcgencmd get_throttled"


def test_throttling_by_cooling_devices(tmp_path):
    cooling(tmp_path, [("pwm-fan", 3), ("cpufreq-cpu0", 0), ("devfreq-17000000.gpu", 0), ("hot-surface-alert", 1)])
    assert board.throttling(str(tmp_path), nothing) == Throttling("cooling devices of the kernel", (), ())
    cooling(tmp_path, [("thermal-cpufreq-0", 2), ("gpu-throttle-alert", 1), ("aux-balanced", 4), ("pwm-fan", 4)])
    assert board.throttling(str(tmp_path), nothing).names() == [
        "thermal-cpufreq-0",
        "gpu-throttle-alert",
        "aux-balanced",
    ]


def test_over_current_of_an_orin(tmp_path):
    write(tmp_path, "sys/class/hwmon/hwmon3/name", "soctherm_oc")
    for number, count in [(1, 0), (2, 15), (3, 37)]:
        write(tmp_path, "sys/class/hwmon/hwmon3/oc{}_event_cnt".format(number), count)
    assert board.throttling(str(tmp_path), nothing).names() == [
        "average over-current since boot", "instantaneous over-current since boot"]  # fmt: skip


def test_throttling_that_nobody_can_tell_is_unknown(tmp_path):
    cooling(tmp_path, [("Processor", 0), ("pwm-fan", 0)])
    assert board.throttling(str(tmp_path), nothing) == Throttling(None, (), ())
    assert Throttling(None, (), ()).names() == ["unknown"]


def test_frequency_in_megahertz(tmp_path):
    write(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", 921600)
    assert board.cpu_frequency(str(tmp_path)) is None
    write(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", 1479000)
    assert board.cpu_frequency(str(tmp_path)) == (921.6, 1479)


@pytest.mark.parametrize(
    ("error_us", "synchronised"), [(1500, True), (15999999, True), (16000000, False), (None, None)]
)
def test_clock_is_synchronised_while_its_error_is_bounded(error_us, synchronised):
    assert board.clock_synchronised(lambda: error_us) is synchronised


@pytest.mark.skipif(sys.platform != "linux", reason="adjtimex is a call of Linux")
def test_the_kernel_tells_its_clock_error():
    assert 0 <= board.clock_error_us() <= 16000000
    assert board.clock_synchronised() in (True, False)


def test_memory_is_read_from_proc(tmp_path):
    assert board.memory_total_mb(str(tmp_path)) is None
    assert board.process_rss_mb(str(tmp_path)) is None
    write(tmp_path, "proc/meminfo", "MemTotal:        4059704 kB\nMemFree:          123456 kB")
    write(tmp_path, "proc/self/status", "Name:\tpython\nVmHWM:\t  150000 kB\nVmRSS:\t  100000 kB\nThreads:\t4")
    assert board.memory_total_mb(str(tmp_path)) == pytest.approx(4157.137)
    assert board.process_rss_mb(str(tmp_path)) == pytest.approx((102.4, 153.6))
    here = board.process_rss_mb()
    assert 1 < here.now_mb <= here.peak_mb


def test_an_empty_tree_is_unknown_and_raises_nothing(tmp_path):
    root = str(tmp_path)
    assert [board.board_model(root), board.temperature_c(root, nothing), board.cpu_frequency(root)] == [None] * 3
    write(tmp_path, "sys/class/thermal/thermal_zone0/type", "cpu-thermal")
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "not a number")
    os.makedirs(str(tmp_path / "proc/device-tree/model"))  # a folder in place of a file
    assert board.temperature_c(root, nothing) is None
    assert board.board_model(root) is None


def test_a_tool_that_is_absent_fails_or_hangs(monkeypatch):
    assert board.run_tool(["no-such-tool-here"]) is None
    assert board.run_tool(["sh", "-c", "printf 'caf\\351 '; echo denied >&2; exit 1"]) == "caf\ufffd denied\n"
    monkeypatch.setattr(board, "TOOL_TIMEOUT_S", 0.05)
    assert board.run_tool(["sleep", "5"]) is None
