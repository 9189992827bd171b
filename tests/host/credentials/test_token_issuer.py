"""The token file of ``defq keys``: tokens are made, rotated, retired and revoked; other lines stay."""

import os
import stat

import pytest

from device.errors import UsageError
from device.link.credentials import read_token
from host.credentials.tokens import Tokens
from tests.host.credentials.folders import content, make


def test_the_token_of_each_device_is_its_own(made):
    tokens = Tokens(made / "tokens.txt", warn=pytest.fail)
    own = [read_token(str(made / "devices" / f"{name}-token.txt")) for name in ("cam-1", "cam-2")]
    assert [tokens.client_of(f"Bearer {token}") for token in own] == ["cam-1", "cam-2"]
    assert all(len(token) == 43 for token in own)


def look(tokens):
    """A file that has changed is read at the second look, if it rests by then."""
    for _ in range(2):
        tokens.client_of("")


def test_a_token_is_rotated_then_retired(own, monkeypatch):
    monkeypatch.setattr("host.credentials.tokens.CHECK_S", 0.0)
    tokens = Tokens(own / "tokens.txt", warn=pytest.fail)
    old, other = (read_token(str(own / "devices" / f"{name}-token.txt")) for name in ("cam-1", "cam-2"))
    make(own, "--rotate", "cam-1")
    new = read_token(str(own / "devices" / "cam-1-token.txt"))
    look(tokens)
    assert [tokens.client_of(f"Bearer {token}") for token in (old, new, other)] == ["cam-1", "cam-1", "cam-2"]
    make(own, "--retire", "cam-1")
    look(tokens)
    assert [tokens.client_of(f"Bearer {token}") for token in (old, new, other)] == [None, "cam-1", "cam-2"]


def test_revoked_tokens_are_refused_the_last_one_too(own, monkeypatch):
    monkeypatch.setattr("host.credentials.tokens.CHECK_S", 0.0)
    tokens = Tokens(own / "tokens.txt", warn=pytest.fail)
    both = [read_token(str(own / "devices" / f"{name}-token.txt")) for name in ("cam-1", "cam-2")]
    make(own, "--revoke", "cam-1")
    look(tokens)
    assert [tokens.client_of(f"Bearer {token}") for token in both] == [None, "cam-2"]
    make(own, "--revoke", "cam-2")
    look(tokens)
    assert [tokens.client_of(f"Bearer {token}") for token in both] == [None, None]
    make(own, "--rotate", "cam-2")
    again = read_token(str(own / "devices" / "cam-2-token.txt"))
    look(tokens)
    assert tokens.client_of(f"Bearer {again}") == "cam-2"
    assert len((own / "tokens.txt").read_text().splitlines()) == 1


def test_tokens_change_without_the_authority(own):
    for name in ("ca.pem", "ca-key.pem"):
        (own / name).unlink()
    make(own, "--rotate", "cam-1", "--retire", "cam-1", "--revoke", "cam-2")
    assert len((own / "tokens.txt").read_text().splitlines()) == 1


def test_other_lines_mode_and_owner_of_the_token_file_stay(own):
    file = own / "tokens.txt"
    file.write_bytes(b"# cam\xc3\xa9ras\n\n" + file.read_bytes() + b"a-token-without-a-name\n")
    file.chmod(0o640)
    owner = 0
    if os.geteuid() == 0:
        owner = 4321
        os.chown(file, owner, owner)
    make(own, "--revoke", "cam-1")
    lines = file.read_bytes().splitlines()
    assert (lines[:2], lines[3], len(lines)) == ([b"# cam\xc3\xa9ras", b""], b"a-token-without-a-name", 4)
    assert lines[2].startswith(b"cam-2: ")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    if owner:
        assert (file.stat().st_uid, file.stat().st_gid) == (owner, owner)


@pytest.mark.parametrize("option", ["--rotate", "--retire", "--revoke"])
def test_tokens_of_a_stranger(own, option):
    before = content(own)
    with pytest.raises(UsageError, match="found no (device|token of) cam-9"):
        make(own, option, "cam-9")
    assert content(own) == before


def test_a_damaged_token_file(own):
    (own / "tokens.txt").write_bytes(b"cam-1: short\n")
    with pytest.raises(UsageError, match="found a token of 5 characters in line 1"):
        make(own, "--rotate", "cam-1")
    assert (own / "tokens.txt").read_bytes() == b"cam-1: short\n"
