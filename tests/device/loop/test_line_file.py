"""Decisions in a file: appended, by one process at a time, in whole lines, and reopened when the file was moved away."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from device.commands.session import reopen_on_hangup
from device.errors import OutputError
from device.loop.line_file import LineFile
from device.loop.sinks import Decision, JsonLinesSink

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def decision(index):
    return Decision(index, 1, "square", 0.5, 1, "edge", {"total": 1.0}, 0)


def write(sink, *indices):
    for index in indices:
        sink.write(decision(index), None, None)


def indices(name):
    with open(str(name)) as file:
        return [json.loads(line)["index"] for line in file]


def test_a_second_run_goes_on_in_the_same_file(tmp_path):
    for first in (0, 2):
        sink = JsonLinesSink(str(tmp_path / "out.jsonl"))
        write(sink, first, first + 1)
        sink.close()
    assert indices(tmp_path / "out.jsonl") == [0, 1, 2, 3]


@pytest.mark.parametrize("rest", [b'{"index": 1, "la', b"\0\0\0\0"])
def test_a_line_that_a_power_cut_left_is_ended_first(tmp_path, rest):
    name = tmp_path / "out.jsonl"
    name.write_bytes(b'{"index": 0}\n' + rest)
    sink = JsonLinesSink(str(name))
    write(sink, 7)
    sink.close()
    first, cut, last = name.read_bytes().splitlines()
    assert (json.loads(first.decode())["index"], cut, json.loads(last.decode())["index"]) == (0, rest, 7)


def test_a_second_writer_is_refused_until_the_first_is_done(tmp_path):
    name = str(tmp_path / "out.jsonl")
    first = JsonLinesSink(name)
    write(first, 1)
    with pytest.raises(OutputError, match="found another program that writes to .*out.jsonl; expected one at a time; end it, or "
                                          "choose another --jsonl"):  # fmt: skip
        JsonLinesSink(name)
    first.close()
    JsonLinesSink(name).close()
    assert indices(name) == [1]


def test_devices_without_a_place_for_locks_are_shared(tmp_path):
    sinks = [JsonLinesSink("/dev/null") for _ in range(2)]
    for sink in sinks:
        write(sink, 1)
        sink.close()


def test_a_pipe_without_a_reader_is_one_sentence_and_never_waits(tmp_path):
    os.mkfifo(str(tmp_path / "pipe"))
    with pytest.raises(OutputError, match=r"could not open .*pipe \(it is a pipe that nobody reads\)"):
        JsonLinesSink(str(tmp_path / "pipe"))


def test_a_pipe_with_a_reader_gets_every_line(tmp_path):
    os.mkfifo(str(tmp_path / "pipe"))
    reader = os.open(str(tmp_path / "pipe"), os.O_RDONLY | os.O_NONBLOCK)
    sink = JsonLinesSink(str(tmp_path / "pipe"))
    write(sink, 1, 2)
    sink.close()
    assert [json.loads(line)["index"] for line in os.read(reader, 1 << 16).decode().splitlines()] == [1, 2]
    os.close(reader)


@pytest.mark.parametrize("limit", [1, 100, 1000, 10001, 16384])
def test_a_full_disk_leaves_whole_lines_and_the_rest_is_told(tmp_path, capsys, limit):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    name = tmp_path / "out.jsonl"
    name.write_bytes(b'{"index": -1}\n')
    sink = JsonLinesSink(str(name))
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(name.read_bytes()) + limit, before[1]))
    try:
        write(sink, *range(200))
        with pytest.raises(OutputError, match="the decisions that are not in it were printed on stdout"):
            sink.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    content = name.read_bytes()
    assert content.endswith(b"\n")
    printed = [json.loads(line)["index"] for line in capsys.readouterr().out.splitlines()]
    assert indices(name) + printed == [-1, *range(200)]


def test_a_part_of_a_line_that_stays_does_not_spoil_the_next(tmp_path, monkeypatch):
    name = str(tmp_path / "out")
    file, written = LineFile(name, "--jsonl"), os.write
    lines = [b"first\n", b"second\n"]

    def full(descriptor, content):
        if len(content) < 13:
            raise OSError(28, "No space left on device")
        return written(descriptor, content[:9])

    def stuck(descriptor, size):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "write", full)
    monkeypatch.setattr(os, "ftruncate", stuck)
    with pytest.raises(OSError, match="No space"):
        file.write(lines)
    assert lines == [b"second\n"]
    monkeypatch.setattr(os, "write", written)
    file.write(lines)
    file.close()
    with open(name, "rb") as out:
        assert out.read() == b"first\nsec\nsecond\n"


def test_after_a_rotation_lines_go_into_the_new_file(tmp_path):
    name = tmp_path / "out.jsonl"
    sink = JsonLinesSink(str(name))
    write(sink, 0, 1)
    name.rename(tmp_path / "out.jsonl.1")
    write(sink, 2)
    sink.reopen()
    write(sink, 3)
    sink.reopen()  # nothing was moved: the file stays open
    write(sink, 4)
    sink.close()
    assert indices(tmp_path / "out.jsonl.1") == [0, 1, 2, 3]  # what was decided before the next write
    assert indices(name) == [4]


def test_a_file_that_cannot_be_opened_again_keeps_no_decision_from_the_old_one(tmp_path, capsys):
    name = tmp_path / "out.jsonl"
    sink = JsonLinesSink(str(name))
    write(sink, 0)
    name.rename(tmp_path / "old")
    name.mkdir()
    sink.reopen()
    write(sink, 1)
    sink.close()
    assert indices(tmp_path / "old") == [0, 1]
    assert "warning: could not open" in capsys.readouterr().err


class Hangup:
    """reopen_on_hangup without a process: what it was told, and a terminal to take away."""

    def __init__(self, monkeypatch, terminal, ignored=False):
        self.terminal, self.reopened, self.stopped = terminal, 0, 0
        monkeypatch.setattr("device.commands.session.has_terminal", lambda: self.terminal)
        monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_IGN if ignored else signal.SIG_DFL)
        monkeypatch.setattr(signal, "signal", lambda number, handler: setattr(self, "handler", handler))
        reopen_on_hangup(self, self)

    def reopen(self):
        self.reopened += 1

    def set(self):
        self.stopped += 1


@pytest.mark.parametrize(("terminal", "gone", "ignored", "expected"), [
    (False, False, False, (1, 0)),  # a service
    (True, False, False, (1, 0)),  # kill -HUP
    (True, True, False, (0, 1)),  # the terminal was closed
    (True, True, True, (0, 0)),  # the same under nohup
])  # fmt: skip
def test_a_hangup_is_log_rotation_or_the_end_of_the_terminal(monkeypatch, terminal, gone, ignored, expected):
    hangup = Hangup(monkeypatch, terminal, ignored)
    hangup.terminal = terminal and not gone
    hangup.handler(signal.SIGHUP, None)
    assert (hangup.reopened, hangup.stopped) == expected


def test_sighup_of_a_real_process_loses_and_cuts_nothing(bundle_folder, frames, tmp_path):
    source, name, moved = tmp_path / "many.npz", tmp_path / "out.jsonl", tmp_path / "out.jsonl.1"
    np.savez(str(source), frames=np.concatenate([frames] * 2000))
    process = subprocess.Popen(
        [sys.executable, "-m", "device", "run", "--bundle", bundle_folder, "--source", "npz:" + str(source), "--jsonl", str(name),
         "--threads", "1"],
        cwd=ROOT, stderr=subprocess.PIPE, universal_newlines=True, start_new_session=True,
    )  # fmt: skip
    try:
        until(lambda: name.exists() and name.stat().st_size > 0)
        name.rename(moved)
        process.send_signal(signal.SIGHUP)
        until(lambda: name.exists() and name.stat().st_size > 0)
        process.terminate()
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    both = indices(moved) + indices(name)
    assert both == list(range(len(both)))
    assert "{} frames".format(len(both)) in errors


def until(reached, patience_s=60):
    give_up_s = time.monotonic() + patience_s
    while not reached():
        assert time.monotonic() < give_up_s
        time.sleep(0.005)
