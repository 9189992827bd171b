"""No test, and no program that a test starts, downloads CIFAR-10 or finds it where CIFAR10_DIR does not name it."""

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from device.errors import DataError
from export.bundle.comparison_frames import comparison_frames
from export.commands.demo_frames import demo_frames
from export.data import datasets
from export.data.download import cache_dir
from export.networks.loading import load_network
from export.networks.model_files import shipped

ROOT = Path(__file__).resolve().parents[1]
UNPLUGGED = """
import os, socket
socket.getaddrinfo = socket.socket.connect = lambda *_arguments, **_options: os._exit(99)
from export.data import datasets
datasets.load(None, (32, 32))
"""


def test_a_program_started_by_a_test_asks_no_network(monkeypatch):
    monkeypatch.delenv("CIFAR10_DIR", raising=False)
    done = subprocess.run([sys.executable, "-c", UNPLUGGED], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "could not download CIFAR-10" in done.stderr


@pytest.mark.parametrize("own_cache", [False, True])
def test_nor_does_a_test(own_cache, monkeypatch, tmp_path):
    monkeypatch.delenv("CIFAR10_DIR", raising=False)
    if own_cache:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = []

    def refuse(url, **_options):
        asked.append(url)
        raise OSError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(DataError, match="could not download CIFAR-10"):
        datasets.load(None, (32, 32))
    assert asked == (["http://127.0.0.1:1/absent"] if own_cache else [])


def test_the_users_cache_is_out_of_sight():
    assert cache_dir() != Path(os.path.expanduser("~/.cache/defq"))
    assert not cache_dir().is_dir()


@pytest.mark.parametrize("name", ["argument", "variable"])
def test_data_that_is_named_is_read_or_refused(name, monkeypatch, tmp_path):
    """Where a data set is named and cannot be read, no other frames are taken in its place."""
    absent = str(tmp_path / "absent")
    monkeypatch.setenv("CIFAR10_DIR", absent if name == "variable" else "")
    data = absent if name == "argument" else None
    model = shipped("mobilenet")
    for look in (lambda: comparison_frames(data, (32, 32)), lambda: demo_frames(model, load_network(model), 3, data)):
        with pytest.raises(DataError, match=r"found no folder .*absent"):
            look()
