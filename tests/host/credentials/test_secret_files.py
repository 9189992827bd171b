"""Secrets are open to nobody else, files are whole or absent, and nothing outside of the folder is touched."""

import fcntl
import os
import stat
from pathlib import Path

import pytest

from device.errors import InputError, OutputError, UsageError
from host.credentials import secret_files
from tests.host.credentials.folders import content, make


def test_modes_do_not_depend_on_the_umask(tmp_path):
    before = os.umask(0)
    try:
        make(tmp_path / "keys", "--name", "localhost", "--device", "cam-1")
    finally:
        os.umask(before)
    folder = tmp_path / "keys"
    found = {str(file.relative_to(folder)): stat.S_IMODE(file.stat().st_mode) for file in folder.rglob("*")}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert found == {
        "ca.pem": 0o644, "ca-key.pem": 0o600, "host.pem": 0o644, "host-key.pem": 0o600, "tokens.txt": 0o600, "devices": 0o700,
        "devices/cam-1.pem": 0o644, "devices/cam-1-key.pem": 0o600, "devices/cam-1-token.txt": 0o600,
    }  # fmt: skip


def test_secrets_are_never_open_to_others(tmp_path, monkeypatch):
    """Not even before their first byte: the mode is that of open, and the final name comes last."""
    opened = []
    plain_open, plain_replace = os.open, os.replace

    def spy(path, flags, mode=0o777, **options):
        if flags & os.O_CREAT and str(path).startswith(str(tmp_path)):
            opened.append((Path(path).name, mode, flags))
        return plain_open(path, flags, mode, **options)

    def replace(source, target):
        assert not Path(target).exists() or Path(target).name == "tokens.txt"
        plain_replace(source, target)

    monkeypatch.setattr(os, "open", spy)
    monkeypatch.setattr(os, "replace", replace)
    make(tmp_path / "keys", "--name", "localhost", "--device", "cam-1")
    assert len(opened) == 8
    for name, mode, flags in opened:
        assert flags & os.O_EXCL
        assert mode == (0o600 if "key" in name or "token" in name else 0o644)


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OutputError, match=r"could not write .*ca-key.pem \(No space left on device\); expected a folder"
    ):
        make(tmp_path / "keys", "--name", "localhost")
    assert content(tmp_path / "keys") == {}


def test_a_file_system_without_modes(tmp_path, monkeypatch):
    plain = os.fstat
    monkeypatch.setattr(secret_files.os, "fstat", lambda number: os.stat_result((plain(number).st_mode | 0o077, *plain(number)[1:])))  # fmt: skip
    with pytest.raises(OutputError, match="keeps nothing from other users"):
        make(tmp_path / "keys", "--name", "localhost")
    assert content(tmp_path / "keys") == {}


def test_folders_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="found a file at .*file; expected a folder"):
        make(tmp_path / "file", "--name", "localhost")
    with pytest.raises(OutputError, match="could not write .*; expected a folder"):
        make(tmp_path / "file" / "keys", "--name", "localhost")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(OutputError, match="found that other users may write into .*; run: chmod 700"):
        make(tmp_path / "open", "--name", "localhost")
    assert content(tmp_path / "open") == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_ours(tmp_path):
    (tmp_path / "keys").mkdir(mode=0o500)
    with pytest.raises(OutputError, match=r"could not write .* \(Permission denied\)"):
        make(tmp_path / "keys", "--name", "localhost")


def test_a_link_in_the_place_of_a_file_is_not_followed(own, tmp_path):
    (tmp_path / "aim").write_text("untouched")
    (own / "devices" / "cam-3-token.txt").symlink_to(tmp_path / "aim")
    with pytest.raises((InputError, OutputError), match="cam-3"):
        make(own, "--device", "cam-3")
    assert (tmp_path / "aim").read_text() == "untouched"


def test_a_second_defq_keys_in_one_folder_is_refused(own):
    before = content(own)
    descriptor = os.open(own, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="found another defq keys at work"):
            make(own, "--device", "cam-3")
    finally:
        os.close(descriptor)
    assert content(own) == before
    assert make(own, "--device", "cam-3") == 0
