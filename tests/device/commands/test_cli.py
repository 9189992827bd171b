"""defq run as a program: a line a frame, hosts that are absent or wrong, bad input, full disks and signals."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from device.cameras.base import Camera
from device.cameras.open import open_camera
from device.commands.cli import main
from device.errors import UsageError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


@pytest.fixture
def run(bundle_folder, frames_file, monkeypatch):
    # main() installs signal handlers; pytest's own should survive
    monkeypatch.setattr("device.commands.run.stop_on_signals", lambda: None)

    def go(*options, bundle=bundle_folder, source="npz:" + frames_file):
        return main(["run", "--bundle", bundle, "--source", source, "--threads", "1", *options])

    return go


def lines_of(path):
    with open(str(path)) as file:
        return [json.loads(line) for line in file]


def test_one_line_a_frame(run, tmp_path, capsys):
    assert run("--jsonl", str(tmp_path / "out.jsonl"), "--summary", str(tmp_path / "s.json"), "--defq", "off") == 0
    lines = lines_of(tmp_path / "out.jsonl")
    assert [line["index"] for line in lines] == list(range(60))
    assert set(lines[0]) == {
        "index",
        "label",
        "label_id",
        "confidence",
        "exit",
        "source",
        "ms",
        "bytes_sent",
        "defq",
        "truth",
    }
    assert set(lines[0]["ms"]) == {"capture", "resize", "defq", "head", "total"}
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["frames"] == 60
    assert summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"]
    assert "41 left on the device" in capsys.readouterr().err


def test_gated_lines_say_which_frames_counted_as_attacked(run, gated_folder, frames, tmp_path, capsys):
    source = str(tmp_path / "two.npz")
    np.savez(source, frames=np.stack([np.full((16, 16, 3), 90, np.uint8), frames[0]]))
    options = [
        "--defq",
        "gated",
        "--rad",
        "10",
        "--jsonl",
        str(tmp_path / "out.jsonl"),
        "--summary",
        str(tmp_path / "s.json"),
    ]
    assert run(*options, bundle=gated_folder, source="npz:" + source) == 0
    assert [line["attacked"] for line in lines_of(tmp_path / "out.jsonl")] == [False, True]
    summary = json.loads((tmp_path / "s.json").read_text())
    assert (summary["attacked_frames"], summary["defq"]) == (1, "gated")
    errors = capsys.readouterr().err
    assert "DefQ gated (noise level 1.50, threshold 0.40), RAD 10 %" in errors
    assert "; 1 counted as attacked" in errors


def test_rad_chooses_the_threshold_of_the_gate(run, bundle_folder, write_gate, fake_host):
    write_gate(bundle_folder, {"level": 0, "thresholds": {"5": 0, "10": 1}, "table": [[30] * 8] * 8})
    assert run("--defq", "gated", "--rad", "5", "--frames", "3", "--host", fake_host.url) == 0
    assert fake_host.thresholds == []  # all leave at once
    assert run("--defq", "gated", "--rad", "10", "--frames", "3", "--host", fake_host.url) == 0
    assert fake_host.thresholds == [[[1.0]]] * 3


def test_a_gate_changes_nothing_where_it_is_not_asked_for(run, gated_folder, tmp_path, capsys):
    for defq in ("on", "off"):
        assert run("--defq", defq, "--jsonl", str(tmp_path / "out.jsonl"), bundle=gated_folder) == 0
        assert "attacked" not in (tmp_path / "out.jsonl").read_text()
        errors = capsys.readouterr().err
        assert "DefQ {}, RAD 5 %".format(defq) in errors
        assert "attacked" not in errors


def test_against_a_host(run, fake_host, tmp_path):
    assert run("--host", fake_host.url, "--jsonl", str(tmp_path / "out.jsonl"), "--defq", "off", "--rad", "5") == 0
    assert sum(line["source"] == "host" for line in lines_of(tmp_path / "out.jsonl")) == 19


def test_frames_and_stdout(run, capsys):
    assert run("--frames", "3", "--jsonl", "-") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_line_a_second_on_a_terminal(bundle_folder, frames_file, tmp_path):
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "device", "run", "--bundle", bundle_folder, "--source", "npz:" + frames_file + "?rate=20",
             "--frames", "25", "--jsonl", str(tmp_path / "out.jsonl")], cwd=ROOT, stderr=theirs,
        )  # fmt: skip
        assert process.wait(60) == 0
        shown = os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    line = r"\d+\.\d frames/s, \d+ % left on the device, last label: \w+ \(\d+ % confident, exit \d.*\)"
    assert re.search(line, shown)
    assert len(lines_of(tmp_path / "out.jsonl")) == 25


def test_no_such_line_where_stderr_is_piped(run, monkeypatch, capsys):
    monkeypatch.setattr("device.loop.progress.PERIOD_S", 0.0)
    assert run("--frames", "3") == 0
    assert "frames/s" not in capsys.readouterr().err


def test_absent_host_is_a_warning_or_exit_5(run, fake_host, capsys):
    fake_host.stop()
    assert run("--host", fake_host.url) == 0
    captured = capsys.readouterr().err
    assert "warning: found no host at" in captured
    assert "19 fallback" in captured or "fallback" in captured
    assert run("--host", fake_host.url, "--require-host") == 5


@pytest.mark.parametrize(
    "answer",
    [b"<html>It works</html>", b"{}", b"[]", b'{"name": "another", "inputs": []}', b'{"name": null}', b"\xff", b"1"],
)
def test_a_server_that_answers_200_to_everything_is_no_host(run, fake_host, capsys, answer):
    fake_host.metadata = answer
    assert run("--host", fake_host.url, "--require-host") == 5
    error = capsys.readouterr().err
    assert error.startswith("error: found a server at {} that is no host".format(fake_host.url))
    assert run("--host", fake_host.url) == 0
    assert "that is no host" in capsys.readouterr().err


def test_a_404_of_a_server_that_is_no_host_is_exit_5(run, fake_host, capsys):
    fake_host.mode = "not_found"
    assert run("--host", fake_host.url, "--require-host") == 5
    assert "found status 404" in capsys.readouterr().err


def test_a_required_host_that_is_not_named(run, capsys):
    assert run("--require-host") == 5
    assert "found --require-host without --host" in capsys.readouterr().err
    assert run("--host", "") == 2  # an empty variable in a script is no wish to do without
    assert "found --host ; expected http://HOST:PORT" in capsys.readouterr().err


def test_host_of_another_bundle_is_exit_3(run, fake_host, capsys):
    fake_host.mode = "wrong_model"
    assert run("--host", fake_host.url) == 3
    assert "this host serves 'b'" in capsys.readouterr().err


def broken_image(tmp_path):
    (tmp_path / "frame.png").write_bytes(b"no image")
    return {"source": "dir:" + str(tmp_path)}


def pickled(tmp_path):
    np.savez(str(tmp_path / "p.npz"), frames=np.array([{}], dtype=object))
    return {"source": "npz:" + str(tmp_path / "p.npz")}


def npz(shape, labels=None):
    """Frames of a shape, with labels that all frames have in turn."""

    def make(tmp_path):
        arrays = {"frames": np.zeros(shape, np.uint8)}
        if labels is not None:
            arrays["labels"] = np.resize(labels, shape[0])
        np.savez(str(tmp_path / "f.npz"), **arrays)
        return {"source": "npz:" + str(tmp_path / "f.npz")}

    return make


def swapped_head(tmp_path):
    data = os.path.join(ROOT, "tests", "device", "data", "tiny_bundle")
    shutil.copytree(data, str(tmp_path / "b"))
    shutil.copy(os.path.join(data, "head_flat.onnx"), str(tmp_path / "b" / "head.onnx"))
    return {"bundle": str(tmp_path / "b")}


BAD = {
    "no bundle": (lambda tmp: {"bundle": str(tmp / "absent")}, [], 3, "found no bundle"),
    "head of another bundle": (swapped_head, [], 3, "belongs to another bundle"),
    "unknown source": (lambda tmp: {"source": "ftp:x"}, [], 2, "expected one of picamera2:, csi:"),
    "no scheme": (lambda tmp: {"source": "x.npz"}, [], 2, "as in dir:images"),
    "no folder": (lambda tmp: {"source": "dir:" + str(tmp / "absent")}, [], 3, "found no folder"),
    "empty folder": (lambda tmp: {"source": "dir:" + str(tmp)}, [], 3, "found no image"),
    "no image in the folder": (broken_image, [], 3, "could not read any"),
    "no npz": (lambda tmp: {"source": "npz:" + str(tmp / "absent")}, [], 3, "could not read frames"),
    "pickled npz": (pickled, [], 3, "could not read frames"),
    "channels first": (npz((4, 3, 16, 16)), [], 3, "save frames.transpose(0, 2, 3, 1)"),
    "RGBA": (npz((4, 16, 16, 4)), [], 3, "save frames[..., :3]"),
    "a height of 0": (npz((4, 0, 16, 3)), [], 3, "shape (4, 0, 16, 3)"),
    "no frames in an array": (npz((0, 16, 16, 3)), [], 3, "shape (0, 16, 16, 3)"),
    "one picture": (npz((16, 16, 3)), [], 3, "save frames[None]"),
    "one plane": (npz((16, 16)), [], 3, "shape (16, 16)"),
    "labels beyond the classes": (npz((4, 16, 16, 3), [0, 99]), [], 3, "found label 99"),
    "labels below 0": (npz((4, 16, 16, 3), [0, -1]), [], 3, "found label -1"),
    "no video": (lambda tmp: {"source": "video:" + str(tmp / "absent")}, [], 3, "found no file"),
    "no camera": (lambda tmp: {"source": "v4l2:///dev/video987"}, [], 4, "found no /dev/video987"),
    "unknown rad": (lambda tmp: {}, ["--rad", "7"], 2, "expected 5 or 10"),
    "no gate": (lambda tmp: {}, ["--defq", "gated"], 2, "found --defq gated, but no gate in bundle"),
    "bad url": (lambda tmp: {}, ["--host", "nonsense"], 2, "expected http://HOST:PORT"),
    "no frames": (lambda tmp: {}, ["--frames", "0"], 2, "expected a whole number of at least 1"),
    "timeout that is no number": (
        lambda tmp: {},
        ["--timeout-ms", "nan"],
        2,
        "--timeout-ms nan; expected a number from 1 to 3600000",
    ),
    "endless timeout": (lambda tmp: {}, ["--timeout-ms", "inf"], 2, "from 1 to 3600000"),
    "no place for lines": (lambda tmp: {}, ["--jsonl", "/nowhere/out.jsonl"], 3, "could not open /nowhere"),
    "no place for the summary": (lambda tmp: {}, ["--summary", "/nowhere/s.json"], 3, "could not write /nowhere"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_input_gives_one_sentence_and_its_exit_code(run, tmp_path, capsys, case):
    make, options, code, words = BAD[case]
    assert run(*options, **make(tmp_path)) == code
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert words in errors[0]


@pytest.mark.parametrize("command", ["run", "jpeg"])
def test_a_source_of_which_nothing_can_be_used_is_exit_3(
    command, bundle_folder, frames_file, tmp_path, monkeypatch, capsys
):
    class Empty(Camera):
        def read(self):
            self.skipped = 5

        def describe(self):
            return "an empty camera"

    for name in ("device.commands.run", "device.commands.jpeg"):
        monkeypatch.setattr(name + ".stop_on_signals", threading.Event)
        monkeypatch.setattr(name + ".open_source", lambda *_: Empty())
    out = ["--out", str(tmp_path / "out")] if command == "jpeg" else []
    assert main([command, "--bundle", bundle_folder, "--source", "dir:x", *out]) == 3
    assert "error: found no frame that could be used in an empty camera, and skipped 5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("uri", "meant"),
    [
        ("/dev/video0", "v4l2:///dev/video0"),
        ("/dev/v4l/by-id/usb-cam", "v4l2:///dev/v4l/by-id/usb-cam"),
        ("0", "v4l2:///dev/video0"),
        ("webcam:1", "v4l2:///dev/video1"),
        (".", "dir:."),
        ("a b.npz", "'npz:a b.npz'"),
        ("v.mp4", "video:v.mp4"),
        ("\u00b2", "dir:images"),
        ("elsewhere", "dir:images"),
    ],
)
def test_a_source_without_its_kind_is_told_which_was_meant(uri, meant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a b.npz", "v.mp4"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UsageError, match=re.escape("as in " + meant) + "$"):
        open_camera(uri)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_loses_no_decision(run, capsys):
    assert run("--jsonl", "/dev/full") == 3
    captured = capsys.readouterr()
    assert [json.loads(line)["index"] for line in captured.out.splitlines()] == list(range(60))
    assert "free space" in captured.err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_keeps_the_summary(run, tmp_path):
    assert run("--jsonl", "/dev/full", "--summary", str(tmp_path / "s.json")) == 3
    assert json.loads((tmp_path / "s.json").read_text())["frames"] == 60


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("lines", ["-", "/dev/full"])
def test_full_stdout_is_one_sentence_and_no_traceback(bundle_folder, frames, tmp_path, lines):
    many = tmp_path / "many.npz"
    np.savez(str(many), frames=np.concatenate([frames] * 3)[:150])  # more than one block of lines
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "device", "run", "--bundle", bundle_folder, "--source", "npz:" + str(many), "--jsonl", lines],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, universal_newlines=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert "150 frames" in done.stderr
    assert "150 decisions are in neither" in done.stderr


def test_sigterm_ends_a_real_process_with_its_figures(bundle_folder, frames, tmp_path):
    folder = tmp_path / "many.npz"
    np.savez(str(folder), frames=np.concatenate([frames] * 2000))
    out = tmp_path / "out.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "device", "run", "--bundle", bundle_folder, "--source", "npz:" + str(folder), "--jsonl", str(out)],
        cwd=ROOT, stderr=subprocess.PIPE, universal_newlines=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )  # fmt: skip
    assert "tiny-split2" in process.stderr.readline()  # the run has begun
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    count = len(lines_of(out))
    assert "{} frames".format(count) in errors  # the figures came, whatever was decided by then
    assert count < 120000
