"""JSON from outside: what it may hold, and bytes that are refused before they take time or memory."""

import math
import time

import pytest

from device.system.json_text import MAX_DIGITS, PAUSE_EVERY, read_json


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": [1, -2.5, null, true]}', {"a": [1, -2.5, None, True]}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'"\\ud800"', "\ud800"),
        (b"1" * MAX_DIGITS, int("1" * MAX_DIGITS)),
        (b"1e999", float("inf")),
    ],
)
def test_what_a_text_holds(raw, value):
    assert read_json(raw) == value


def test_constants_that_python_writes_are_taken_on_request():
    assert math.isnan(read_json(b"[NaN]")[0])
    assert read_json(b"-Infinity") == float("-inf")
    for name in (b"NaN", b"Infinity", b"-Infinity"):
        with pytest.raises(ValueError, match="is not JSON"):
            read_json(b"[" + name + b"]", constants=False)


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"\xef\xbb\xbf{}", b"\xed\xa0\x80", b'"\n"', b"01", b"{} {}"])
def test_other_bytes_are_a_value_error(raw):
    with pytest.raises(ValueError, match="(line|position|Expecting|BOM)"):
        read_json(raw)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"[" * 500000, "too deep"),
        (b'{"a":' * 500000, "too deep"),
        (b"9" * 1000000, "a number of 1000000 digits"),
        (b"[-" + b"9" * 1000000 + b"]", "a number of 1000001 digits"),
    ],
)
def test_bombs_are_refused_at_once(raw, words):
    started = time.time()
    with pytest.raises(ValueError, match=words):
        read_json(raw)
    assert time.time() - started < 2


@pytest.mark.parametrize("number", [b"1", b"0.5", b"1e3"])
def test_a_reader_that_pauses_reads_the_same(number):
    """The reader pauses after every PAUSE_EVERY numbers, also where other values stand between them."""
    pauses = []
    raw = b'{"a":[' + b'[null,"x",' + (number + b",") * (3 * PAUSE_EVERY) + b"true]" + b"]}"
    assert read_json(raw, pause=lambda: pauses.append(1)) == read_json(raw)
    assert len(pauses) == 3
    with pytest.raises(ValueError, match="a number of"):
        read_json(b"9" * (MAX_DIGITS + 1), pause=lambda: None)
    with pytest.raises(ValueError, match="NaN is not JSON"):
        read_json(b"NaN", constants=False, pause=lambda: None)
