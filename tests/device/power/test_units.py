"""Units of every sensor against the kernel's ABI (Documentation/hwmon/sysfs-interface, ABI/testing/sysfs-class-thermal and
sysfs-class-powercap, hwmon/ina2xx, hwmon/ina3221, cpu-freq/user-guide) and the tools' own words."""

import os

import pytest

from device.power import csv_file, ina2xx, ina3221, pmic, rapl
from device.system import board
from tests.device.power.test_power import hwmon_2xx, hwmon_3221, jetson_nano, nothing, rapl_zone, write

HWMON_3221 = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/"
IIO_3221 = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/"
FREQUENCY = "sys/devices/system/cpu/cpu0/cpufreq/"


def module_of_3_watts(root, layout, power):
    """An INA3221 whose first rail has 5 V and 0.6 A, and a power file or none."""
    if layout == "hwmon":
        hwmon_3221(root, [("VDD_IN", 5000, 600), ("VDD_CPU_GPU_CV", 5000, 1), ("VDD_SOC", 5000, 1)])
        if power is not None:
            write(root, HWMON_3221 + "power1_input", power)
        return
    jetson_nano(root)
    write(root, IIO_3221 + "in_voltage0_input", 5000)
    write(root, IIO_3221 + "in_current0_input", 600)
    if power is None:
        os.remove(str(root / IIO_3221 / "in_power0_input"))
    else:
        write(root, IIO_3221 + "in_power0_input", power)


@pytest.mark.parametrize(("layout", "power"), [
    ("hwmon", None),  # inN_input in mV, currN_input in mA
    ("hwmon", 3000000),  # powerN_input in uW
    ("iio", None),  # in_voltageN_input in mV, in_currentN_input in mA
    ("iio", 3000),  # in_powerN_input in mW
])  # fmt: skip
def test_every_file_of_an_ina3221_says_the_same_3_watts(tmp_path, layout, power):
    module_of_3_watts(tmp_path, layout, power)
    assert ina3221.find(str(tmp_path)).read_mw() == pytest.approx(3000)


@pytest.mark.parametrize("chip", ina2xx.CHIPS)
def test_ina2xx_power_is_microwatts_and_its_shunt_microohms(tmp_path, chip):
    hwmon_2xx(tmp_path, "hwmon2", chip, "1-0040", 3000000, shunt=2000)
    sensor = ina2xx.find(str(tmp_path))
    assert sensor.read_mw() == pytest.approx(3000)
    assert sensor.name.endswith("shunt 2 mOhm")


def test_powercap_counts_microjoules(tmp_path):
    rapl_zone(tmp_path, "intel-rapl:0", "package-0", 1000000, range_uj=262143328850)
    window = rapl.find(str(tmp_path)).window()
    window.add()
    rapl_zone(tmp_path, "intel-rapl:0", "package-0", 7000000)
    window.add()
    assert window.energy_j() == pytest.approx(6)


def test_pmic_tells_amperes_and_volts():
    assert pmic.rails_mw("X_A current(0)=0.60000000A\nX_V volt(1)=5.00000000V\n") == pytest.approx({"X": 3000})


UNITS = {
    "power_W": 3, "power": 3, "W": 3, "P(W)": 3, "power_mW": 3000, "mW": 3000, "P [mW]": 3000, "power (\u00b5W)": 3000000,
    "power_\u03bcW": 3000000, "uW": 3000000, "power_uW": 3000000,
}  # fmt: skip
PAIRS = {
    ("voltage_V", "current_A"): (5, 0.6), ("V", "A"): (5, 0.6), ("mV", "mA"): (5000, 600),
    ("voltage (mV)", "current (mA)"): (5000, 600), ("voltage_V", "current_mA"): (5, 600),
    ("V", "current_\u00b5A"): (5, 600000), ("uV", "A"): (5000000, 0.6),
}  # fmt: skip


@pytest.mark.parametrize("names", [(name,) for name in sorted(UNITS)] + sorted(PAIRS), ids="-".join)
def test_every_unit_in_a_meters_heading(tmp_path, names):
    values = PAIRS[names] if len(names) == 2 else (UNITS[names[0]],)
    text = "\n".join(
        [",".join(("t", *names)), *("{},{}".format(1.7e9 + each, ",".join(map(str, values))) for each in range(3))]
    )
    (tmp_path / "meter.csv").write_bytes((text + "\n").encode("utf-8"))
    assert csv_file.read(str(tmp_path / "meter.csv"))[1].tolist() == pytest.approx([3, 3, 3])


def test_a_unit_that_is_not_known_is_refused_and_never_taken_for_watts(tmp_path):
    for name in ("kW", "power_kW", "dBm", "energy_Ws"):
        (tmp_path / "meter.csv").write_text("t,{}\n1700000000,3\n".format(name))
        with pytest.raises(Exception, match="found the columns"):
            csv_file.read(str(tmp_path / "meter.csv"))


TABLE = {  # what the kernel or a tool says, and what that is
    "thermal zone, millidegrees": (
        {"sys/class/thermal/thermal_zone0/type": "cpu-thermal", "sys/class/thermal/thermal_zone0/temp": 45500},
        lambda root: board.temperature_c(root, nothing), 45.5),
    "hwmon temperature, millidegrees": (
        {"sys/class/hwmon/hwmon0/name": "k10temp", "sys/class/hwmon/hwmon0/temp1_input": 45500},
        lambda root: board.temperature_c(root, nothing), 45.5),
    "vcgencmd measure_temp, degrees": (
        {}, lambda root: board.temperature_c(root, lambda command: "temp=45.5'C\n"), 45.5),
    "cpufreq, kilohertz": (
        {FREQUENCY + "scaling_cur_freq": 1500000, FREQUENCY + "cpuinfo_max_freq": 2400000}, board.cpu_frequency, (1500, 2400)),
    "meminfo, kB of 1024 bytes": (
        {"proc/meminfo": "MemTotal:        1000000 kB"}, board.memory_total_mb, 1024.0),
    "status of a process, kB of 1024 bytes": (
        {"proc/self/status": "VmHWM:\t  2000 kB\nVmRSS:\t  1000 kB"}, board.process_rss_mb, (1.024, 2.048)),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(TABLE))
def test_units_of_the_board(tmp_path, case):
    files, read, expected = TABLE[case]
    for path, value in files.items():
        write(tmp_path, path, value)
    assert read(str(tmp_path)) == pytest.approx(expected)


@pytest.mark.parametrize(("error_us", "follows"), [(15999999, True), (16000000, False), (None, None)])
def test_the_clocks_error_is_microseconds(error_us, follows):
    assert board.clock_synchronised(lambda: error_us) is follows
