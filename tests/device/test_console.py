"""Text from outside cannot disturb the terminal, nor end a run that writes to an ASCII stream."""

import io
import os
import subprocess
import sys

import pytest

from device.console import aligned, never_fails_to_encode, printable
from device.errors import DataError, Messages, UsageError, WireError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


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


def test_a_stream_that_lacks_a_character_gets_an_escape():
    stream = io.TextIOWrapper(io.BytesIO(), "ascii", "strict")
    told = never_fails_to_encode(stream)
    told.write("caf\u00e9")
    told.flush()
    assert told.buffer.getvalue() == b"caf\\xe9"
    other = io.StringIO()
    assert never_fails_to_encode(other) is other


def test_stdout_of_a_command_in_an_ascii_locale():
    code = "from device.errors import run_command; run_command(lambda: print('caf' + chr(233)) or 0)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={"PYTHONIOENCODING": "ascii:strict", "PYTHONPATH": ROOT},
    )
    assert (done.returncode, done.stdout) == (0, b"caf\\xe9\n")


def test_columns():
    assert aligned([["a", "1"], ["bb", "22"]]) == "a    1\nbb  22"
