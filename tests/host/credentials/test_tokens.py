"""The file of tokens as the host reads it: names, changes while it runs, and files that cannot be used."""

import math
import os
import time

import pytest

from device.errors import UsageError
from host.credentials import tokens
from host.credentials.tokens import Tokens, parse_tokens
from host.serving import file_watcher

OLD, NEW, OTHER = "a" * 16, "new-token_.~+/=0123", "Other" * 5


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tokens"
    path.touch(0o600)
    path.write_text(f"# the fleet\n\ncam-1: {OLD}\ncam-1 : {NEW}\ncam-2 {OTHER}\n")
    return path


@pytest.fixture
def clock(monkeypatch):
    """For the reader of the file a second passes with each call. The age of the file does not matter."""
    monkeypatch.setattr(file_watcher, "REST_S", math.inf)
    now = [time.monotonic()]
    monkeypatch.setattr(tokens.time, "monotonic", lambda: now[0])

    def tick(seconds=1.01):
        now[0] += seconds

    return tick


def bearer(token):
    return "Bearer " + token


def test_names_and_rotation_within_one_file(file):
    known = Tokens(file)
    assert [known.client_of(bearer(each)) for each in (OLD, NEW, OTHER)] == ["cam-1", "cam-1", "cam-2"]
    assert known.client_of("bearer  " + OLD) == "cam-1"  # the scheme in any case (RFC 9110, section 11.1)


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", OLD, "Basic " + OLD, bearer(OLD[:-1]), bearer(OLD + "a"), bearer(OLD.upper()), bearer("cam-1"),
     bearer(OLD + "," + NEW), bearer("cam-1: " + OLD), bearer("\xe9" * 16), bearer("\udc80" * 16), bearer("\0")],
)  # fmt: skip
def test_anything_else_is_nobody(file, header):
    assert Tokens(file).client_of(header) is None


def test_a_token_without_a_name_is_named_by_its_hash(file):
    file.write_text(OLD + "\n" + OTHER + "\n")
    known = Tokens(file)
    names = [known.client_of(bearer(each)) for each in (OLD, OTHER)]
    assert [len(name) for name in names] == [8, 8]
    assert names[0] != names[1]
    assert not set(names) & {OLD[:8], OTHER[:8]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "found no token"),
        ("# nothing\n\n", "found no token"),
        ("cam-1: " + "a" * 15, "found a token of 15 characters in line 1"),
        ("\n" + "a" * 513, "found a token of 513 characters in line 2"),
        ("cam-1: " + OLD + " " + NEW, "in line 1"),
        ("cam 1: " + OLD, "in line 1"),
        ("cam-1:\n", "in line 1"),
        ("cam-\xe9: " + OLD, "in line 1"),
        ('{"cam-1": "' + OLD + '"}', "in line 1"),
        (f"cam-1: {OTHER}\ncam-2: {OLD}", "found no end of the last line"),
    ],
)
def test_a_file_that_cannot_be_used_says_why_and_shows_no_token(file, content, words):
    file.write_text(content)
    with pytest.raises(UsageError) as raised:
        Tokens(file)
    sentence = str(raised.value)
    assert words in sentence
    assert str(file) in sentence
    assert "defq keys" in sentence
    assert OLD not in sentence


def test_a_file_that_is_too_large_or_absent(file):
    with pytest.raises(UsageError, match="found more than"):
        parse_tokens(b"#" * (tokens.MAX_FILE_BYTES + 1), "tokens")
    file.unlink()
    with pytest.raises(UsageError, match="could not read the tokens in .*No such file"):
        Tokens(file)


def test_a_changed_file_is_read_once_it_rests(file, clock):
    said = []
    known = Tokens(file, said.append)
    file.write_text(f"cam-3: {OTHER}\n")
    assert known.client_of(bearer(OLD)) == "cam-1"  # looked at once a second, not with each request
    clock()
    assert known.client_of(bearer(OLD)) == "cam-1"  # it has changed: perhaps somebody writes it still
    clock()
    assert known.client_of(bearer(OLD)) is None
    assert known.client_of(bearer(OTHER)) == "cam-3"
    new = file.with_name("new")
    new.touch(0o600)
    new.write_text(f"cam-4: {OTHER}\n")
    os.utime(new, ns=(os.stat(file).st_atime_ns, os.stat(file).st_mtime_ns))
    new.replace(file)  # the same size and time: another inode
    for _ in range(2):
        clock()
        known.client_of("")
    assert known.client_of(bearer(OTHER)) == "cam-4"
    assert said == []


def test_the_first_look_after_a_long_time_finds_what_rests(file, clock, monkeypatch):
    """The file is read only when a request comes. A token that was revoked last week must not work for that first request."""
    known = Tokens(file)
    file.write_text(f"cam-3: {OTHER}\n")
    monkeypatch.setattr(file_watcher, "REST_S", 0.0)
    clock()
    assert known.client_of(bearer(OLD)) is None


@pytest.mark.parametrize("looks", [1, 3])  # of each state: a writer that never rests, and one that rests everywhere
def test_no_part_of_a_file_counts(file, clock, looks):
    """While a file is overwritten byte by byte, the beginning of a token is never accepted as a token."""
    said = []
    known = Tokens(file, said.append)
    whole = f"cam-1: {'n' * 40}\ncam-2: {OTHER}\n"
    names = set()
    for size in range(len(whole)):
        file.write_text(whole[:size])
        for _ in range(looks):
            clock()
            shown = {bearer("n" * length) for length in range(16, 40)} | {bearer(OTHER[:20])}
            names |= {known.client_of(each) for each in shown}
        assert known.client_of(bearer("n" * 40)) == ("cam-1" if size >= 48 and looks > 1 else None)
    assert names == {None}
    file.write_text(whole)
    for _ in range(3):
        clock()
        known.client_of("")
    assert [known.client_of(bearer(each)) for each in ("n" * 40, OTHER, OLD)] == ["cam-1", "cam-2", None]
    assert all("the tokens from before stay valid" in each for each in said)
    assert bool(said) == (looks > 1)


def test_a_broken_file_keeps_the_tokens_and_warns_once(file, clock):
    said = []
    known = Tokens(file, said.append)

    def after(change):
        change()
        for _ in range(4):
            clock()
            assert known.client_of(bearer(OLD)) == "cam-1"
        return [said.pop(0) for _ in range(len(said))]

    for change, words in (
        (lambda: file.write_text(""), "found no token"),
        (lambda: file.write_text("cam-9: short\n"), "found a token of 5 characters"),
        (file.unlink, "No such file"),
        (file.mkdir, "Is a directory"),
    ):
        sentences = after(change)
        assert len(sentences) == 1, sentences
        assert words in sentences[0]
        assert "the tokens from before stay valid" in sentences[0]
    file.rmdir()
    file.touch(0o600)
    file.write_text(f"cam-9: {NEW}\n")
    for _ in range(2):
        clock()
        known.client_of("")
    assert known.client_of(bearer(NEW)) == "cam-9"
    assert known.client_of(bearer(OLD)) is None
    assert said == []


@pytest.mark.skipif(os.name != "posix", reason="needs permissions of files")
def test_a_file_that_others_may_read_gets_a_warning(file, capsys):
    file.chmod(0o640)
    Tokens(file)
    assert capsys.readouterr().err == ""
    file.chmod(0o644)
    assert Tokens(file).client_of(bearer(OLD)) == "cam-1"
    assert capsys.readouterr().err.startswith("warning: found that every user of this machine may read or change ")


def test_ten_thousand_tokens_cost_as_much_as_one(file):
    many = file.with_name("many")
    many.touch(0o600)
    many.write_text("".join(f"cam-{i}: {i:032x}\n" for i in range(10000)))
    one, all_ = Tokens(file), Tokens(many)
    header = bearer(f"{9999:032x}")
    assert all_.client_of(header) == "cam-9999"

    def spent(known):
        started = time.perf_counter()
        for _ in range(300):
            known.client_of(header)
        return time.perf_counter() - started

    assert min(spent(all_) for _ in range(20)) < 3 * min(spent(one) for _ in range(20))
