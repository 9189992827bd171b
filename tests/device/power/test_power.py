"""Sensors against fake trees of /sys with the files and units of the kernel's drivers."""

import os

import pytest

from device.errors import HardwareError, UsageError
from device.power import ina2xx, ina3221, pmic, rapl
from device.power.base import Meter
from device.power.none import NoSensor
from device.power.open import find_sensor, list_sensors, open_sensor

PMIC = """ 3V7_WL_SW_A current(0)=0.04782057A
   3V3_SYS_A current(1)=0.04684464A
   1V8_SYS_A current(2)=0.17078780A
  VDD_CORE_A current(7)=0.92871990A
 3V7_WL_SW_V volt(8)=3.70534400V
   3V3_SYS_V volt(9)=3.31467300V
   1V8_SYS_V volt(10)=1.80903400V
  VDD_CORE_V volt(15)=0.72097620V
     EXT5V_V volt(24)=5.17105900V
      BATT_V volt(25)=0.00512820V
"""
PMIC_MW = 1000 * (
    0.04782057 * 3.705344 + 0.04684464 * 3.314673 + 0.1707878 * 1.809034 + 0.9287199 * 0.7209762
)  # each with its own voltage
NOT_REGISTERED = 'vc_gencmd_read_response returned -1\nerror=1 error_msg="Command not registered"\n'
NANO = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/"
RAPL = "sys/class/powercap/"


def write(root, path, text):
    """A file of a fake tree, with the newline that the kernel puts behind it."""
    full = os.path.join(str(root), path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "w") as file:
        file.write("{}\n".format(text))


def nothing(command):
    """A machine without vcgencmd."""


def says(text):
    return lambda command: text


def jetson_nano(root):
    for number, (name, milliwatts, millivolts, milliamperes) in enumerate(
        [("POM_5V_IN", 2533, 5000, 507), ("POM_5V_GPU", 120, 4992, 24), ("POM_5V_CPU", 803, 4984, 161)]
    ):
        write(root, NANO + "rail_name_{}".format(number), name)
        write(root, NANO + "in_power{}_input".format(number), milliwatts)
        write(root, NANO + "in_voltage{}_input".format(number), millivolts)
        write(root, NANO + "in_current{}_input".format(number), milliamperes)
        write(root, NANO + "crit_current_limit_{}".format(number), "32760 ma")


def hwmon_3221(root, rails, address="1-0040", hwmon="hwmon1"):
    """The driver's files; a channel that is switched off has a label and cannot be read."""
    folder = "sys/bus/i2c/drivers/ina3221/{}/hwmon/{}/".format(address, hwmon)
    write(root, folder + "name", "ina3221")
    for number, (label, millivolts, milliamperes) in enumerate(rails, 1):
        write(root, folder + "in{}_label".format(number), label)
        if millivolts is not None:
            write(root, folder + "in{}_input".format(number), millivolts)
            write(root, folder + "curr{}_input".format(number), milliamperes)
            write(root, folder + "in{}_input".format(number + 3), 4960)  # shunt, in uV
    write(root, folder + "in7_label", "sum of shunt voltages")
    write(root, folder + "in7_input", 7880)
    write(root, folder + "curr4_input", 1576)


ORIN_NANO = [("VDD_IN", 5016, 949), ("VDD_CPU_GPU_CV", 5016, 103), ("VDD_SOC", 5016, 285)]


def hwmon_2xx(root, hwmon, chip, address, microwatts, shunt=None):
    device = "sys/devices/platform/i2c-{}/{}/".format(address[0], address)
    write(root, device + "uevent", "")
    folder = "sys/class/hwmon/{}/".format(hwmon)
    write(root, folder + "name", chip)
    write(root, folder + "in1_input", 5088)
    write(root, folder + "curr1_input", 612)
    write(root, folder + "power1_input", microwatts)
    if shunt is not None:
        write(root, folder + "shunt_resistor", shunt)
    os.symlink(os.path.join(str(root), device), os.path.join(str(root), folder, "device"))


def rapl_zone(root, zone, name, energy_uj, range_uj=262143328850):
    write(root, RAPL + zone + "/name", name)
    write(root, RAPL + zone + "/energy_uj", energy_uj)
    write(root, RAPL + zone + "/max_energy_range_uj", range_uj)


class Counting:
    """A counter in a file that moves whenever a value is set."""

    def __init__(self, root, zone):
        self._file = os.path.join(str(root), RAPL, zone, "energy_uj")

    def set(self, energy_uj):
        with open(self._file, "w") as file:
            file.write("{}\n".format(energy_uj))


def test_jetson_nano_takes_the_total_rail_alone(tmp_path):
    jetson_nano(tmp_path)
    sensor = ina3221.find(str(tmp_path))
    assert sensor.name == "INA3221 POM_5V_IN"
    assert sensor.read_mw() == 2533  # not 2533 + 120 + 803
    assert (sensor.kind, sensor.scope) == ("measured", "Jetson module, without the carrier board")


def test_jetson_nano_rails_are_known_by_name_not_by_number(tmp_path):
    jetson_nano(tmp_path)
    write(tmp_path, NANO + "rail_name_0", "POM_5V_CPU")
    write(tmp_path, NANO + "rail_name_2", "POM_5V_IN")
    assert ina3221.find(str(tmp_path)).read_mw() == 803


def test_jetson_nano_without_power_files_multiplies(tmp_path):
    jetson_nano(tmp_path)
    os.remove(str(tmp_path / NANO / "in_power0_input"))
    assert ina3221.find(str(tmp_path)).read_mw() == pytest.approx(5000 * 507 / 1000)


@pytest.mark.parametrize(("address", "hwmon"), [("1-0040", "hwmon1"), ("1-0040", "hwmon4"), ("2-0040", "hwmon0")])
def test_orin_nano_multiplies_millivolts_whatever_the_hwmon_number(tmp_path, address, hwmon):
    hwmon_3221(tmp_path, ORIN_NANO, address, hwmon)
    sensor = ina3221.find(str(tmp_path))
    assert sensor.name == "INA3221 VDD_IN"
    assert sensor.read_mw() == pytest.approx(4760.184)  # in1_input alone, 5016, is millivolts


def test_shunt_voltages_are_no_rails(tmp_path):
    hwmon_3221(tmp_path, ORIN_NANO)
    assert sorted(ina3221.rails(str(tmp_path))) == ["VDD_CPU_GPU_CV", "VDD_IN", "VDD_SOC"]


def test_agx_orin_adds_three_rails_and_not_the_part_of_one(tmp_path):
    hwmon_3221(tmp_path, [("VDD_GPU_SOC", 5000, 630), ("VDD_CPU_CV", 5000, 200), ("VIN_SYS_5V0", 5000, 900)])
    hwmon_3221(tmp_path, [("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 4968, 80), ("NC", 0, 0)], "1-0041", "hwmon2")
    sensor = ina3221.find(str(tmp_path))
    assert sensor.name == "INA3221 VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"
    assert sensor.read_mw() == pytest.approx(5 * (630 + 200 + 900))


def test_agx_xavier_adds_six_rails_of_two_chips(tmp_path):
    for chip, names in enumerate([("GPU", "CPU", "SOC"), ("CV", "VDDRQ", "SYS5V")]):
        folder = "sys/bus/i2c/drivers/ina3221x/1-004{0}/iio:device{0}/".format(chip)
        for number, name in enumerate(names):
            write(tmp_path, folder + "rail_name_{}".format(number), name)
            write(tmp_path, folder + "in_power{}_input".format(number), 100 * (chip + 1) + number)
    assert ina3221.find(str(tmp_path)).read_mw() == 303 + 603


def test_rails_without_a_known_total_are_refused(tmp_path):
    hwmon_3221(tmp_path, [("VDD_GPU", 12040, 640), ("VDD_CPU_SOC_MSS", 12040, 960), ("VIN_SYS_5V0", 5088, 1740)])
    with pytest.raises(HardwareError, match="VDD_CPU_SOC_MSS, VDD_GPU, VIN_SYS_5V0 without a known total"):
        ina3221.find(str(tmp_path))
    assert find_sensor(str(tmp_path), nothing).kind == "none"


def test_a_rail_that_is_gone_is_none_and_no_partial_sum(tmp_path):
    hwmon_3221(tmp_path, [("VDD_GPU_SOC", 5000, 630), ("VDD_CPU_CV", None, None), ("VIN_SYS_5V0", 5000, 900)])
    assert ina3221.find(str(tmp_path)).read_mw() is None
    (probe, *_) = list_sensors(str(tmp_path), nothing)
    assert probe.sensor is None
    assert "reads nothing; expected more than 0 mW" in probe.problem


@pytest.mark.parametrize("chip", ina2xx.CHIPS)
def test_ina2xx_reads_microwatts(tmp_path, chip):
    write(tmp_path, "sys/class/hwmon/hwmon0/name", "cpu_thermal")
    hwmon_2xx(tmp_path, "hwmon3", chip, "1-0040", 3100000, shunt=100000)
    sensor = ina2xx.find(str(tmp_path))
    assert sensor.read_mw() == 3100  # 3.1 W; in1_input is millivolts
    assert sensor.name == "{} at 1-0040, shunt 100 mOhm".format(chip.upper())


def test_several_ina2xx_are_not_guessed_from(tmp_path):
    hwmon_2xx(tmp_path, "hwmon1", "ina226", "1-0041", 900000)
    hwmon_2xx(tmp_path, "hwmon2", "ina219", "1-0040", 3100000, shunt=10000)
    with pytest.raises(HardwareError, match="found INA219 at 1-0040, shunt 10 mOhm and INA226 at 1-0041 for"):
        open_sensor("ina2xx", str(tmp_path), nothing)
    assert open_sensor("ina2xx:1-0041", str(tmp_path), nothing).read_mw() == 900
    with pytest.raises(HardwareError, match="--power ina2xx:1-0040"):
        open_sensor("ina2xx:1-0045", str(tmp_path), nothing)


def test_pmic_pairs_rails_by_name(tmp_path):
    sensor = pmic.find(str(tmp_path), says(PMIC))
    assert sensor.read_mw() == pytest.approx(PMIC_MW)
    assert 1000 < PMIC_MW < 1400  # EXT5V, a voltage alone, is not in it
    assert "without USB, HAT and NVMe" in sensor.scope


def test_pmic_with_two_values_a_line_and_without_numbers(tmp_path):
    text = "VDD_CORE_V=0.8750V VDD_CORE_A=1.2340A\n 0V8_SYS_A current(6)=0.5A   0V8_SYS_V volt(14)=0.8V\n"
    assert pmic.rails_mw(text) == pytest.approx({"VDD_CORE": 0.875 * 1.234 * 1000, "0V8_SYS": 400})


def test_pmic_that_leaves_a_rail_out_is_none(tmp_path):
    answers = iter([PMIC, PMIC, "\n".join(PMIC.splitlines()[:6])])
    sensor = pmic.find(str(tmp_path), lambda command: next(answers))
    assert sensor.read_mw() is not None
    assert sensor.read_mw() is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (NOT_REGISTERED, "Command not registered.*expected a Raspberry Pi 5"),
        ("Can't open device file: /dev/vcio_gencmd\n", "group video"),
        ("VCHI initialization failed\n", "group video"),
    ],
)
def test_vcgencmd_that_cannot_tell_says_what_to_do(tmp_path, text, problem):
    with pytest.raises(HardwareError, match=problem):
        open_sensor("pmic", str(tmp_path), says(text))


def test_rapl_counts_packages_and_nothing_within_or_around_them(tmp_path):
    for zone, name in [("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"), ("intel-rapl:0:1", "uncore"),
                       ("intel-rapl:0:2", "dram"), ("intel-rapl:1", "package-1"), ("intel-rapl:2", "psys"),
                       ("intel-rapl-mmio:0", "package-0")]:  # fmt: skip
        rapl_zone(tmp_path, zone, name, 1000)
    window = rapl.find(str(tmp_path)).window()
    window.add()
    for zone in os.listdir(str(tmp_path / RAPL)):
        Counting(tmp_path, zone).set(5000000 + 1000)
    window.add()
    assert window.energy_j() == pytest.approx(10)  # two packages, 5 J each
    assert window.samples == 2


def test_rapl_counters_wrap_each_for_itself(tmp_path):
    rapl_zone(tmp_path, "intel-rapl:0", "package-0", 262143000000)
    rapl_zone(tmp_path, "intel-rapl:1", "package-1", 7, range_uj=65532610987)
    first, second = Counting(tmp_path, "intel-rapl:0"), Counting(tmp_path, "intel-rapl:1")
    window = rapl.find(str(tmp_path)).window()
    window.add()
    for first_uj, second_uj in [(671150, 500007), (500671150, 65532610000), (500671150, 13)]:
        first.set(first_uj)
        second.set(second_uj)
        window.add()
    first_j = (262143328850 - 262143000000 + 671150 + 500000000) / 1e6
    second_j = (65532610000 - 7 + 65532610987 - 65532610000 + 13) / 1e6
    assert window.energy_j() == pytest.approx(first_j + second_j)


def test_rapl_that_vanishes_is_none_and_one_missed_reading_is_not(tmp_path):
    rapl_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    counter = Counting(tmp_path, "intel-rapl:0")
    window = rapl.find(str(tmp_path)).window()
    window.add()
    counter.set("")
    window.add()
    counter.set(2000000)
    window.add()
    assert window.energy_j() == 2
    os.remove(str(tmp_path / RAPL / "intel-rapl:0" / "energy_uj"))
    window.add()
    assert window.energy_j() is None
    assert window.problem == "RAPL package stopped answering after 2 readings"


@pytest.mark.parametrize(("vendor", "kind"), [("GenuineIntel", "measured"), ("AuthenticAMD", "estimated")])
def test_rapl_of_amd_is_an_estimate_and_its_dies_mirror_the_package(tmp_path, vendor, kind):
    write(tmp_path, "proc/cpuinfo", "processor\t: 0\nvendor_id\t: {}".format(vendor))
    for die in (0, 1):
        rapl_zone(tmp_path, "intel-rapl:{}".format(die), "package-0-die-{}".format(die), 0)
    sensor = rapl.find(str(tmp_path))
    window = sensor.window()
    window.add()
    for die in (0, 1):
        Counting(tmp_path, "intel-rapl:{}".format(die)).set(3000000)
    window.add()
    assert sensor.kind == kind
    assert window.energy_j() == (3 if vendor == "AuthenticAMD" else 6)


def test_rapl_for_root_alone_says_so(tmp_path, monkeypatch):
    rapl_zone(tmp_path, "intel-rapl:0", "package-0", 1)
    monkeypatch.setattr(os, "access", lambda path, mode: not path.endswith("energy_uj"))
    probe = list_sensors(str(tmp_path), nothing)[-1]
    assert (probe.option, probe.sensor) == ("rapl", None)
    assert "only root may read it (since CVE-2020-8694)" in probe.problem
    assert "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj" in probe.problem
    assert "CVE-2020-8694" in Meter(find_sensor(str(tmp_path), nothing)).start().stop().problem


def test_rapl_counter_that_stands_still_is_no_sensor(tmp_path):
    rapl_zone(tmp_path, "intel-rapl:0", "package-0", 0)  # as virtual machines have it
    assert find_sensor(str(tmp_path), nothing).kind == "none"
    with pytest.raises(HardwareError, match="RAPL package, which reads 0 mW; expected more than 0 mW"):
        open_sensor("rapl", str(tmp_path), nothing)


def test_the_best_sensor_that_answers_is_taken(tmp_path):
    root = str(tmp_path)
    assert isinstance(find_sensor(root, nothing), NoSensor)
    hwmon_2xx(tmp_path, "hwmon0", "ina219", "1-0040", 3100000)
    assert find_sensor(root, nothing).name == "INA219 at 1-0040"
    assert find_sensor(root, says(PMIC)).name == "Raspberry Pi PMIC"
    jetson_nano(tmp_path)
    assert find_sensor(root, says(PMIC)).name == "INA3221 POM_5V_IN"
    os.remove(str(tmp_path / NANO / "in_power0_input"))
    os.remove(str(tmp_path / NANO / "in_voltage0_input"))
    assert find_sensor(root, says(PMIC)).name == "Raspberry Pi PMIC"


def test_list_has_a_live_reading_or_a_reason(tmp_path):
    hwmon_3221(tmp_path, ORIN_NANO)
    probes = {probe.option: probe for probe in list_sensors(str(tmp_path), says(NOT_REGISTERED))}
    assert probes["ina3221"].power_mw == pytest.approx(4760.184)
    assert probes["ina3221"].problem is None
    assert "expected a Raspberry Pi 5" in probes["pmic"].problem
    assert probes["ina2xx"][1:] == (None, None, None)  # not on this machine
    assert list(probes) == ["ina3221", "pmic", "ina2xx", "rapl"]


def test_a_sensor_is_opened_by_its_name(tmp_path):
    root = str(tmp_path)
    jetson_nano(tmp_path)
    assert open_sensor("auto", root, nothing).read_mw() == 2533
    assert open_sensor("ina3221", root, nothing).read_mw() == 2533
    assert open_sensor("none", root, nothing).kind == "none"
    with pytest.raises(HardwareError, match="found no ina2xx sensor; .* it has ina3221; use --power auto"):
        open_sensor("ina2xx", root, nothing)


@pytest.mark.parametrize("text", ["", "jtop", "csv", "csv:", "rapl:0", "ina3221:1-0040"])
def test_open_refuses_other_words(tmp_path, text):
    with pytest.raises(UsageError, match="expected auto, none, ina3221, pmic, ina2xx, rapl or csv:FILE"):
        open_sensor(text, str(tmp_path), nothing)


def test_this_machine_gives_a_reading_or_a_reason():
    sensor = find_sensor()
    reading = Meter(sensor).start().stop()
    assert (reading.energy_j is None) == (reading.problem is not None)
    for probe in list_sensors():
        assert probe.sensor is None or probe.power_mw > 0
