"""The board in every state, from fakes."""

import argparse
import os
import shutil

import pytest

from device.doctor import machine, parts
from device.doctor.check import OK, SKIPPED, WARNING, Check
from device.engines import cache
from device.system.board import Throttling
from tests.device.power.test_power import NANO, jetson_nano, nothing, write


def test_a_power_sensor_is_found_or_its_absence_explained(tmp_path):
    root = str(tmp_path)
    none = machine.check_power(root, nothing)
    assert (none.status, none.found) == (WARNING, "energy: unavailable; this machine shows no power sensor")
    assert "csv:FILE" in none.fix
    jetson_nano(root)
    check = machine.check_power(root, nothing)
    assert check.status == OK
    assert " 2.53 W (measured, " in check.found
    assert "--power ina3221" in check.found
    write(root, NANO + "in_power0_input", 0)
    dead = machine.check_power(root, nothing)
    assert dead.status == WARNING
    assert dead.found.startswith("energy: unavailable; found ")
    assert "reads 0 mW" in dead.found
    assert dead.fix == "check its wiring and whether this user may read it"


def test_a_clock_that_is_not_synchronised_is_a_warning():
    assert machine.check_clock(lambda: True).status == OK
    assert machine.check_clock(lambda: None).status == SKIPPED
    check = machine.check_clock(lambda: False)
    assert check.status == WARNING
    assert "set-ntp true" in check.fix


@pytest.mark.parametrize(
    ("now", "since_boot", "found", "fixes"),
    [
        (("under-voltage",), (), "under-voltage: the supply", ["power supply"]),
        ((), ("throttled",), "throttled since boot: the chip", ["cool"]),
        (("under-voltage", "soft temperature limit"), ("under-voltage",), "soft temperature limit: the chip", ["power supply", "cool"]),
        (("frequency capped",), (), "the clock is held down", ["cool", "power supply"]),
        ((), ("average over-current",), "average over-current since boot: the board draws", ["nvpmodel"]),
        (("cpufreq-cpu0",), (), "cpufreq-cpu0: the chip", ["cool"]),
    ],
)  # fmt: skip
def test_a_board_that_was_throttled_is_told_what_to_do(now, since_boot, found, fixes):
    check = machine.check_throttling(lambda: Throttling("vcgencmd get_throttled", now, since_boot))
    assert check.status == WARNING
    assert found in check.found
    assert all(fix in check.fix for fix in fixes)


def test_throttling_of_a_board_at_full_speed_and_of_one_that_does_not_tell():
    full = machine.check_throttling(lambda: Throttling("vcgencmd get_throttled", (), ()))
    assert full == Check("throttling", OK, "none (vcgencmd get_throttled)")
    assert machine.check_throttling(lambda: Throttling(None, (), ())).status == SKIPPED


@pytest.mark.parametrize(("celsius", "status"), [(None, SKIPPED), (48.3, OK), (84.6, WARNING)])
def test_a_hot_board_is_a_warning(celsius, status):
    check = machine.check_temperature(lambda: celsius)
    assert check.status == status
    assert bool(check.fix) == (status == WARNING)


def test_the_disk_with_the_least_space_counts(tmp_path, monkeypatch):
    free = {str(tmp_path): 20e9, "/": 0.2e9}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: argparse.Namespace(free=free[folder]))
    absent = str(tmp_path / "not" / "there")
    assert machine.free_space([absent]) == Check("disk", OK, "20.0 GB free in {}".format(tmp_path))
    check = machine.free_space([absent, "/"])
    assert (check.status, check.found) == (WARNING, "0.2 GB free in /")


def test_the_disk_of_the_engine_cache_is_checked_too(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(parts, "free_space", asked.append)
    monkeypatch.setenv("DEFQ_ENGINES", str(tmp_path))
    parts.check_disk()
    assert asked == [[os.getcwd(), str(tmp_path)]]


@pytest.mark.parametrize("home", [None, "", "relative", "/absent/home"])
def test_disk_of_a_user_without_a_home(monkeypatch, tmp_path, home, capsys):
    """Without a home, Python leaves ``~`` as it is. The parent of that path is the empty name, whose parent is itself."""
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 4123456)  # no entry in the user database
    for name in ("HOME", "XDG_CACHE_HOME", "DEFQ_ENGINES"):
        monkeypatch.delenv(name, raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    assert parts.check_disk().name == "disk"
    assert machine.free_space(["", "~", "~/.cache"]).name == "disk"
    if home not in ("", "/absent/home"):
        assert cache.private_folder() is None
        assert "warning: found no home folder for the engine cache" in capsys.readouterr().err
        assert not cache.exists("x")
    assert os.listdir(str(tmp_path)) == []  # no folder named ~


@pytest.mark.parametrize(("available", "status"), [(3000000, OK), (100000, WARNING), (None, SKIPPED)])
def test_little_free_memory_is_a_warning(tmp_path, available, status):
    if available is not None:
        write(tmp_path, "proc/meminfo", "MemTotal:  4000000 kB\nMemFree: 5 kB\nMemAvailable:  {} kB".format(available))
    check = machine.check_memory(str(tmp_path))
    assert check.status == status
    if status == OK:
        assert check.found == "3072 of 4096 MB available"
