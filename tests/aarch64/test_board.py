"""The kit for Raspberry Pi OS Bookworm on the real instruction set: installed without a network by its own installer,
it decides as it does here. Run by: make test-aarch64."""

import json
import re
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from tests.aarch64.emulated import KEPT, ROOT, EmulatedBoard, reason_to_skip
from tests.kit.conftest import unpack

TINY = ROOT / "tests" / "device" / "data"
INSTALL = "./install.sh --yes --no-systemd"
CLOSE = 1e-4  # confidences: both sum float32 in their own order


@pytest.fixture(scope="module")
def board():
    reason = reason_to_skip()
    if reason:
        pytest.skip(reason)
    return EmulatedBoard()


@pytest.fixture(scope="module")
def inputs(board):
    """A trained network as a bundle, and images for it; beside them the small bundle of the device's tests."""
    from export.bundle.comparison_frames import comparison_frames
    from export.bundle.settings import BundleSettings
    from export.bundle.writer import export_bundle

    folder = KEPT / "inputs"
    shutil.rmtree(folder, ignore_errors=True)
    export_bundle("mobilenet", folder / "mobilenet", BundleSettings())
    shutil.copytree(TINY / "tiny_bundle", folder / "tiny")
    shutil.copy(TINY / "frames.npz", folder / "tiny.npz")
    np.savez(folder / "mobilenet.npz", frames=comparison_frames(None, (32, 32), 60)[0])
    return folder


@pytest.fixture(scope="module")
def installed(board, inputs):
    """The board with the kit on it: (board, its state before, what the installer said)."""
    from export.commands.kit import run

    archive = KEPT / "kit.tar.gz"
    run(Namespace(bundle=str(inputs / "mobilenet"), board="pi-bookworm", out=archive, wheels=None))
    before = board.state()
    unpack(archive, board.folder / "kit")
    shutil.copytree(inputs, board.folder / "kit" / "inputs")
    done = board.run(f"cd /kit/defq-* && {INSTALL}")
    assert done.returncode == 4, done.stderr
    assert "found a machine without /proc/device-tree/model; expected Raspberry Pi" in done.stderr
    done = board.run(f"cd /kit/defq-* && {INSTALL} --force")
    assert done.returncode == 0, done.stderr
    return board, before, done


def test_it_is_the_instruction_set_of_the_board(board):
    assert board.run("uname -m && getconf GNU_LIBC_VERSION").stdout == "aarch64\nglibc 2.36\n"


def test_the_installer_keeps_the_numpy_of_the_system(installed):
    board, _, done = installed
    assert "made the user defq" in done.stdout
    assert done.stderr.startswith("warning: found a machine without /proc/device-tree/model")
    assert "Traceback" not in done.stderr
    found = board.run(
        "/opt/defq/current/venv/bin/python -I -c 'import numpy, cv2; print(numpy.__file__, cv2.__version__)'; id -nG defq"
    )
    numpy_file, opencv, *groups = found.stdout.split()
    assert numpy_file.startswith("/usr/lib/python3/dist-packages/numpy")
    assert opencv.startswith("4.11.")
    assert groups == ["defq", "video"]


def decisions(file):
    lines = [json.loads(line) for line in Path(file).read_text().splitlines()]
    return [(line["exit"], line["label"]) for line in lines], np.array([line["confidence"] for line in lines])


@pytest.mark.parametrize("name", ["mobilenet", "tiny"])
@pytest.mark.parametrize("defq", ["on", "off"])
def test_it_decides_as_here(installed, inputs, name, defq, tmp_path):
    board = installed[0]
    options = ["--defq", defq, "--threads", "2"]
    here = [sys.executable, "-m", "device", "run", "--bundle", inputs / name, "--source", f"npz:{inputs / name}.npz"]
    subprocess.run([*here, *options, "--jsonl", tmp_path / "here.jsonl"], cwd=ROOT, check=True)
    out = f"kit/there-{name}-{defq}.jsonl"  # a file of its own, since the device appends to one that is there
    bundle = "/opt/defq/current/bundle" if name == "mobilenet" else "/kit/inputs/tiny"
    done = board.run(
        f"defq run --bundle {bundle} --source npz:/kit/inputs/{name}.npz {' '.join(options)} --jsonl /{out}"
    )
    assert done.returncode == 0, done.stderr
    ours, confidence = decisions(tmp_path / "here.jsonl")
    theirs, confidence_there = decisions(board.folder / out)
    assert len(ours) >= 60
    assert len({exit_ for exit_, _ in ours}) > 1
    assert theirs == ours
    apart = np.abs(confidence - confidence_there).max()
    print(f"{name}, DefQ {defq}: {len(ours)} frames, confidences at most {apart:.1e} apart")
    assert apart < CLOSE


def test_as_the_service_runs_it(installed):
    board = installed[0]
    settings = "SOURCE=npz:/kit/inputs/mobilenet.npz JSONL=/var/lib/defq/out.jsonl OPTIONS='--frames 20'"
    done = board.run(f"{settings} runuser -u defq -- /opt/defq/service.sh && stat -c '%U' /var/lib/defq/out.jsonl")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "defq\n"
    assert len(decisions(board.folder / "var/lib/defq/out.jsonl")[0]) == 20


def test_doctor_finds_what_was_installed(installed):
    said = installed[2].stdout  # the installer runs it at its end, as the user of the service
    for line in (r"python +ok +3\.11\.\d+, 64-bit, aarch64", r"onnxruntime +ok +1\.32\.0", r"numpy +ok +1\.24\.2"):
        assert re.search(line, said), said
    assert re.search(r"bundle +(ok|warning) +mobilenet-split3", said), said
    assert re.search(r"engine +ok +onnxruntime CPU", said), said


def test_a_second_installation_changes_nothing(installed):
    board = installed[0]
    before = board.state()
    done = board.run(f"cd /kit/defq-* && {INSTALL} --force")
    assert done.returncode == 0, done.stderr
    assert "is installed already" in done.stdout
    assert board.state() == before


def test_nothing_is_left_of_it(installed):
    board, before, _ = installed
    done = board.run("/opt/defq/uninstall.sh --yes --purge")
    assert done.returncode == 0, done.stderr
    after = board.state()
    assert sorted(set(after) ^ set(before)) == []
    assert [name for name in after if after[name] != before[name]] == []
