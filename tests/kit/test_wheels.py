"""Wheels are fetched for the board, once, and fit together."""

import subprocess
import sys

import pytest

from device.errors import DataError
from export.kit import wheels as module
from export.kit.boards import BOARDS
from export.kit.wheels import check_complete, fetch_wheels, pip_download
from tests.kit.conftest import write_wheel

NANO = BOARDS["jetson-nano"]


def fake_download(asked):
    def download(board, pins, folder):
        asked.append(list(pins))
        for pin in pins:
            write_wheel(folder, *pin.split("=="))

    return download


def test_only_what_is_missing_is_downloaded(tmp_path):
    asked = []
    found = fetch_wheels(NANO, tmp_path / "wheels", fake_download(asked))
    assert len(found) == len(NANO.pins)
    assert asked == [list(NANO.pins)]
    assert fetch_wheels(NANO, tmp_path / "wheels", fake_download(asked)) == found
    found[0].unlink()
    assert fetch_wheels(NANO, tmp_path / "wheels", fake_download(asked)) == found
    assert asked[1:] == [[f"{found[0].name.split('-')[0]}==25.12.19"]]


def test_a_download_that_brings_something_else(tmp_path):
    with pytest.raises(DataError, match=r"found no wheel of numpy==1\.19\.5, .* in .*expected one for Jetson Nano"):
        fetch_wheels(NANO, tmp_path, lambda *_: None)


@pytest.mark.parametrize(("name", "abi", "newest"), [("jetson-nano", "cp36m", 27), ("pi-bookworm", "cp311", 36)])
def test_pip_is_asked_for_the_board(name, abi, newest, tmp_path, monkeypatch):
    asked = []

    def record(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(module.subprocess, "run", record)
    pip_download(BOARDS[name], ["numpy==1.0"], tmp_path)
    words = asked[0]
    assert words[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "numpy==1.0", abi, BOARDS[name].python} <= set(words)
    tags = [word for word in words if word.startswith("manylinux")]
    assert tags[0] == f"manylinux_2_{newest}_aarch64"
    assert tags[-2:] == ["manylinux_2_17_aarch64", "manylinux2014_aarch64"]


def test_without_a_network_it_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(DataError) as caught:
        pip_download(NANO, ["numpy==1.19.5"], tmp_path)
    sentence = str(caught.value)
    assert sentence.startswith("could not download the wheels of jetson-nano (No matching distribution found for numpy")
    assert "connect to the network" in sentence
    assert "\n" not in sentence


def test_without_pip_it_is_one_sentence(tmp_path, monkeypatch):
    def fail(command, **_):
        return subprocess.CompletedProcess(command, 1, "", f"{sys.executable}: No module named pip\n")

    monkeypatch.setattr(module.subprocess, "run", fail)
    with pytest.raises(DataError, match=r"No module named pip\); expected pip and its package index"):
        pip_download(NANO, ["numpy==1.19.5"], tmp_path)


def complete(tmp_path, *needs):
    board = NANO._replace(pins=("a-package==1.5", "other==2.0"))
    found = [write_wheel(tmp_path, "a-package", "1.5", needs=needs), write_wheel(tmp_path, "other", "2.0")]
    check_complete(board, found)


@pytest.mark.parametrize(
    "need",
    [
        "other",
        "Other>=1,<3",
        "absent; python_version >= '3.7'",
        "absent; extra == 'tests'",
        "absent; platform_machine == 'x86_64'",
        "absent; sys_platform == 'win32'",
        "other (>=1)",
    ],
)
def test_what_a_wheel_needs_is_there(tmp_path, need):
    complete(tmp_path, need)


@pytest.mark.parametrize(
    ("need", "found"),
    [
        ("absent", "needs absent, and none of it"),
        ("absent; python_version < '3.7'", "needs absent, and none"),
        ("absent; platform_machine == 'aarch64'", "needs absent, and none"),
        ("other<2", "needs other<2, and 2.0 of it"),
    ],
)
def test_a_need_that_no_wheel_meets(tmp_path, need, found):
    with pytest.raises(DataError, match=rf"found a_package-1\.5-py3-none-any\.whl, which {found}.*correct its pins"):
        complete(tmp_path, need)


def test_a_wheel_that_was_cut_off(tmp_path):
    wheel = write_wheel(tmp_path, "other", "2.0")
    wheel.write_bytes(wheel.read_bytes()[:50])
    with pytest.raises(DataError, match=r"could not read .*other-2\.0.*remove it and run again"):
        check_complete(NANO, [wheel])
