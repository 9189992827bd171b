"""The kit of JetPack 4.6 with its Python and versions, on x86-64: installed by its own installer, it decides as it does
here. Run by: make test-kit36 PYTHON36=FILE."""

import json
import os
import platform
import re
import shutil
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from device.bundle.reader import load_bundle
from device.defence.defq import DefQ
from export.commands.kit import run as build_kit
from export.onnx.parity import compare_pixels
from tests.kit.conftest import TINY, run, unpack

ROOT = Path(__file__).parents[2]
PYTHON36 = os.environ.get("TEST_KIT36", "")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    if not PYTHON36:
        pytest.skip("the kit for Python 3.6 is tested by: make test-kit36 PYTHON36=FILE")
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip(f"the wheels are for Linux on x86_64, and this is {platform.system()} on {platform.machine()}")
    if shutil.which(PYTHON36) is None:
        pytest.fail(f"found no {PYTHON36}; expected a Python 3.6", pytrace=False)
    folder = tmp_path_factory.mktemp("kit36")
    build_kit(Namespace(bundle=str(TINY), board="x86-py36", out=folder / "kit.tar.gz", wheels=None))
    unpack(folder / "kit.tar.gz", folder)
    installer = next(folder.glob("defq-*/install.sh"))
    done = run("sh", installer, "--yes", "--no-systemd", "--python", PYTHON36, "--root", folder / "root")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder / "root"


def test_the_versions_of_jetpack(root):
    program = "import sys, numpy, cv2, onnxruntime as o; print(sys.version_info[:2], numpy.__version__, o.__version__)"
    python = root / "opt/defq/current/venv/bin/python"
    found = run(python, "-I", "-c", program, env={"ORT_DISABLE_TELEMETRY": "1"})
    assert found.stdout == "(3, 6) 1.19.5 1.10.0\n"


QUANTISE = """
import sys, numpy
from device.bundle.reader import load_bundle
from device.defence.defq import DefQ
bundle, frames, out = sys.argv[1:]
defq = DefQ(load_bundle(bundle).table)
numpy.save(out, [defq.planes(frame).copy() for frame in numpy.load(frames)["frames"]])
"""


def test_pixels_differ_only_where_float32_may_round_either_way(root, tmp_path):
    """The OpenBLAS of NumPy 1.19 adds products in another order than that of today."""
    python, frames = root / "opt/defq/current/venv/bin/python", TINY.parent / "frames.npz"
    done = run(python, "-I", "-c", QUANTISE, TINY, frames, tmp_path / "there.npy")
    assert done.returncode == 0, done.stderr
    steps, pixels = load_bundle(str(TINY)).table, list(np.load(frames)["frames"])
    here = [DefQ(steps).planes(frame) for frame in pixels]
    there = list(np.load(tmp_path / "there.npy").astype(np.float32) / 255)
    compare_pixels("DefQ on Python 3.6", there, here, pixels, steps, "frames")
    same = [np.array_equal(np.rint(one * 255), two) for one, two in zip(there, here, strict=True)]
    assert sum(same) >= 0.9 * len(same)


@pytest.mark.parametrize(("defq", "tolerance"), [("on", 1e-3), ("off", 1e-4)])
def test_it_decides_as_here(root, tmp_path, defq, tolerance):
    """With DefQ a pixel may differ by one level, which changes a confidence by more than other versions do alone."""
    words = ["run", "--source", f"npz:{TINY.parent}/frames.npz", "--defq", defq, "--threads", "1"]
    here = [sys.executable, "-m", "device", *words, "--bundle", TINY, "--jsonl", tmp_path / "here.jsonl"]
    assert run(*here, cwd=ROOT).returncode == 0
    there = [root / "usr/local/bin/defq", *words, "--bundle", root / "opt/defq/current/bundle"]
    done = run(*there, "--jsonl", tmp_path / "there.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ours, theirs = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("here.jsonl", "there.jsonl")
    )
    assert [(line["exit"], line["label"]) for line in theirs] == [(line["exit"], line["label"]) for line in ours]
    assert max(abs(one["confidence"] - two["confidence"]) for one, two in zip(ours, theirs, strict=True)) < tolerance


def test_the_doctor_finds_the_versions_of_jetpack(root, tmp_path):
    launcher = root / "usr/local/bin/defq"
    done = run(launcher, "doctor", "--bundle", root / "opt/defq/current/bundle", cwd=tmp_path)
    assert "Traceback" not in done.stderr
    for line in (r"python +ok +3\.6\.", r"numpy +ok +1\.19\.5", r"onnxruntime +ok +1\.10\.0"):
        assert re.search(line, done.stdout), done.stdout


def test_a_second_installation_and_none(root):
    installer = next(root.parent.glob("defq-*/install.sh"))
    done = run("sh", installer, "--yes", "--no-systemd", "--python", PYTHON36, "--root", root)
    assert "is installed already" in done.stdout
    assert run("sh", root / "opt/defq/uninstall.sh", "--root", root, "--yes", "--purge").returncode == 0
    assert list(root.rglob("*")) == []
