"""The process's own streams: closed, full, without a reader, in a narrow encoding; text from outside cannot disturb a terminal."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from device.errors import DataError, OutputError, UsageError, WireError
from device.system.console import Messages, Output, aligned, put, run_command
from device.system.printable import printable

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
RUN = ("run", "--threads", "1", "--defq", "off")


@pytest.fixture
def shell(bundle_folder, frames, tmp_path):
    """Run ``python -m device`` as a shell does, with redirections behind it; the finished process."""
    many = str(tmp_path / "many.npz")
    np.savez(many, frames=np.concatenate([frames] * 100))

    def go(*words, redirect="", program="device", **environment):
        source = ["--bundle", bundle_folder, "--source", "npz:" + many] if words[0] == "run" else []
        words = [sys.executable, "-m", program, *words, *source]
        line = " ".join("'{}'".format(word) for word in words)
        return subprocess.run(
            ["bash", "-c", "set -o pipefail; {} {}".format(line, redirect)], cwd=ROOT, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=120,
            env=dict(os.environ, **environment),
        )  # fmt: skip

    return go


def clean(done):
    """Neither stream holds a traceback or a second message from Python itself."""
    for text in (done.stdout, done.stderr):
        assert "Traceback" not in text
        assert "Exception ignored" not in text
        assert "lost sys.stderr" not in text
    return done


def test_messages_do_not_end_up_among_the_decisions(shell):
    """Without a stderr, ``print(file=None)`` would put them on stdout."""
    done = clean(shell(*RUN, "--jsonl", "-", "--frames", "5", redirect="2>&-"))
    assert done.returncode == 0
    assert [json.loads(line)["index"] for line in done.stdout.splitlines()] == list(range(5))


def test_messages_do_not_end_up_in_a_file_that_got_the_free_number(shell, tmp_path):
    lines, summary = tmp_path / "out.jsonl", tmp_path / "summary.json"
    done = clean(
        shell(*RUN, "--frames", "5", "--jsonl", str(lines), "--summary", str(summary), redirect="<&- >&- 2>&-")
    )
    assert done.returncode == 0
    assert [json.loads(line)["index"] for line in lines.read_text().splitlines()] == list(range(5))
    assert json.loads(summary.read_text())["frames"] == 5


@pytest.mark.parametrize("option", ["--jsonl", "--summary"])
def test_what_is_asked_for_on_a_closed_stdout_is_refused(shell, option):
    done = clean(shell(*RUN, option, "-", "--frames", "5", redirect=">&-"))
    assert done.returncode == 3
    assert "error: found no stdout for {} -; expected an open one; name a file instead".format(option) in done.stderr


@pytest.mark.parametrize("words", [("doctor",), ("doctor", "--json"), ("run", "--help"), ("nothing",)], ids=" ".join)
@pytest.mark.parametrize("redirect", [">&-", "2>&-", ">&- 2>&-", "| true", "2>&1 | true", "2> >(true)"])
def test_commands_end_as_ever_without_a_reader(shell, words, redirect):
    done = clean(shell(*words, redirect=redirect))
    assert done.returncode == (2 if words == ("nothing",) else 0)


def test_a_reader_that_has_seen_enough_ends_the_run(shell):
    done = clean(shell(*RUN, "--jsonl", "-", redirect="| head -1"))
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert " frames: " in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("words", [("doctor",), ("doctor", "--json"), (*RUN, "--frames", "5", "--summary", "-")])
def test_a_full_disk_under_stdout_is_one_sentence(shell, words):
    done = clean(shell(*words, redirect="> /dev/full"))
    assert done.returncode == 3
    assert "error: could not write to stdout (No space left on device)" in done.stderr


def test_summary_on_stdout_is_one_object_after_the_decisions(shell):
    done = clean(shell(*RUN, "--frames", "5", "--jsonl", "-", "--summary", "-"))
    assert done.returncode == 0
    *decisions, summary = (json.loads(line) for line in done.stdout.splitlines())
    assert [each["index"] for each in decisions] == list(range(5))
    assert summary["frames"] == 5


class Narrow:
    encoding = "ascii"

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text.encode(self.encoding).decode("ascii")

    def flush(self):
        raise OSError(28, "No space left on device")


def test_letters_that_the_encoding_lacks_become_escapes():
    stream = Narrow()
    Output(stream).write("caf\u00e9, 45 \u00b0C\n")
    assert stream.text == "caf\\xe9, 45 \\xb0C\n"


def test_words_that_cannot_be_written_stop_no_work_and_data_does(monkeypatch, capsys):
    done = []

    def work():
        for step in range(3):
            print("step", step, flush=True)
            done.append(step)
        return 0

    monkeypatch.setattr(sys, "stdout", Narrow())
    assert run_command(work) == 3
    assert done == [0, 1, 2]
    assert "error: could not write to stdout (No space left on device)" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdout", Narrow())
    with pytest.raises(OutputError, match="could not write to stdout"):
        put("data")


@pytest.mark.parametrize("redirect", ["| true", "> /dev/full", ">&-"])
def test_keys_are_all_made_whoever_reads_what_is_said(shell, tmp_path, redirect):
    pytest.importorskip("cryptography")
    done = clean(shell("keys", "--out", str(tmp_path / "k"), "--name", "localhost", program="host", redirect=redirect))
    assert done.returncode == (3 if "full" in redirect else 0)
    assert sorted(os.listdir(str(tmp_path / "k"))) == ["ca-key.pem", "ca.pem", "host-key.pem", "host.pem"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain caf\u00e9 \u732b", "plain caf\u00e9 \u732b"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("two\nlines\r\t", "two\\nlines\\r\\t"),
        ("caf\udce9.png", "caf\\xe9.png"),  # a byte that is no UTF-8
        ("\ud83d alone", "\\ud83d alone"),
        ("gnp.\u202ecod", "gnp.\\u202ecod"),  # turns the direction of writing
        ("\x9b2J", "\\x9b2J"),  # one character that begins an escape sequence
        ("", ""),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text, expected):
    assert printable(text) == expected
    assert printable(text).isprintable()
    for error in (DataError, UsageError, WireError):
        assert str(error("found " + text)) == "found " + expected


def test_stderr_of_a_command_passes_no_escape_sequence_on():
    stream = io.StringIO()
    messages = Messages(stream)
    messages.write("warning: \x1b]0;title\x07 of a file\nnext\tline\r50 %")
    assert stream.getvalue() == "warning: \\x1b]0;title\\x07 of a file\nnext\tline\r50 %"


def test_stdout_of_a_command_in_an_ascii_locale():
    code = "from device.system.console import run_command; run_command(lambda: print('caf' + chr(233)) or 0)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={"PYTHONIOENCODING": "ascii:strict", "PYTHONPATH": ROOT},
    )
    assert (done.returncode, done.stdout) == (0, b"caf\\xe9\n")


def test_columns_are_aligned():
    assert aligned([["a", "1"], ["bb", "22"]]) == "a    1\nbb  22"
