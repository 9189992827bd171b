"""Files are written whole or not at all, and read within bounds."""

import errno
import os
import stat
import tracemalloc

import pytest

from device.bundle.reader import load_bundle, pack_bundle
from device.cameras.open import open_camera
from device.errors import BundleError, DataError, OutputError, UsageError
from device.system import files
from device.system.files import read_bounded, user_cache, write_file


@pytest.fixture
def full(monkeypatch):
    """A disk that becomes full after a part of the file was written."""

    def fill(descriptor, content, sync):
        os.write(descriptor, content[: len(content) // 2])
        os.close(descriptor)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "_fill", fill)


def test_a_file_is_there_whole_with_the_mode_that_it_had(tmp_path):
    name = tmp_path / "out.json"
    write_file(str(name), b"first\n", "--json")
    assert name.read_bytes() == b"first\n"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(name.stat().st_mode) == 0o666 & ~umask
    name.chmod(0o640)
    (tmp_path / "link.json").symlink_to(name)
    write_file(str(tmp_path / "link.json"), b"second\n", "--json")
    assert (name.read_bytes(), stat.S_IMODE(name.stat().st_mode)) == (b"second\n", 0o640)
    assert (tmp_path / "link.json").is_symlink()
    assert sorted(os.listdir(str(tmp_path))) == ["link.json", "out.json"]


def test_a_full_disk_leaves_what_was_there(tmp_path, full):
    name = tmp_path / "out.json"
    name.write_bytes(b"before")
    for each in (name, tmp_path / "new.json"):
        with pytest.raises(
            OutputError, match=r"could not write .*\(No space left on device\); expected .*; choose another --json"
        ):
            write_file(str(each), b"x" * 100, "--json")
    assert os.listdir(str(tmp_path)) == ["out.json"]
    assert name.read_bytes() == b"before"


def test_an_archive_that_cannot_be_written_leaves_the_old_one(bundle_folder, tmp_path, full):
    archive = tmp_path / "bundle.tar.gz"
    archive.write_bytes(b"before")
    with pytest.raises(OutputError, match="No space left"):
        pack_bundle(bundle_folder, str(archive))
    assert archive.read_bytes() == b"before"


def test_a_folder_that_takes_no_second_file_is_written_in_place(tmp_path, monkeypatch):
    name = tmp_path / "mounted.json"  # as a single file that is mounted into a container
    name.write_bytes(b"a longer text than the next")

    def busy(source, target):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(os, "replace", busy)
    write_file(str(name), b"short", "--json")
    assert name.read_bytes() == b"short"
    assert os.listdir(str(tmp_path)) == ["mounted.json"]


@pytest.mark.parametrize("make", ["pipe", "folder", "absent folder", "zero byte"])
def test_what_cannot_be_written_is_one_sentence_and_never_waits(tmp_path, make):
    name = {"folder": str(tmp_path), "absent folder": str(tmp_path / "no" / "x"), "zero byte": str(tmp_path / "a\0b")}
    if make == "pipe":
        os.mkfifo(str(tmp_path / "pipe"))
    with pytest.raises(OutputError, match="could not write .*; expected a file that can be written") as raised:
        write_file(name.get(make, str(tmp_path / "pipe")), b"x", "--json")
    assert make != "pipe" or "it is a pipe that nobody reads" in str(raised.value)


def test_memory_follows_the_files_size_and_not_the_bound(tmp_path):
    name = tmp_path / "small"
    name.write_bytes(b"x" * 1000)
    tracemalloc.start()
    try:
        assert read_bounded(str(name), 1 << 30) == b"x" * 1000
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 << 20
    with pytest.raises(OSError, match="of which at most 999 are read"):
        read_bounded(str(name), 999)
    assert len(read_bounded(str(name), 1000)) == 1000


@pytest.mark.parametrize("name", ["labels.txt", "head.onnx", "manifest.json"])
def test_a_pipe_in_a_bundle_is_refused_and_never_waited_for(bundle_folder, name):
    os.remove(os.path.join(bundle_folder, name))
    os.mkfifo(os.path.join(bundle_folder, name))
    with pytest.raises(BundleError, match=r"could not read .* \(it is no regular file\)"):
        load_bundle(bundle_folder).read("head")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_CACHE_HOME": "/cache", "HOME": "/home/a"}, "/cache/defq"),
        ({"XDG_CACHE_HOME": "cache", "HOME": "/home/a"}, "/home/a/.cache/defq"),
        ({"HOME": "/home/a"}, "/home/a/.cache/defq"),
        ({"HOME": "relative"}, None),
        ({}, None),
    ],
)
def test_cache_of_a_user_with_or_without_a_home(monkeypatch, environment, expected):
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "getuid", lambda: 4123456)  # no entry in the user database
    assert user_cache() == expected


NO_NAMES = "a\0b", "tisch-\u0661"
"""A zero character is in no name; the other is none in the encoding ASCII, which Python 3.6 takes where no locale is set."""


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_that_no_file_can_have_is_one_sentence(name):
    try:
        os.fsencode(name)
        name += "\0"
    except UnicodeEncodeError:
        pass
    assert not files.exists(name)
    assert not files.is_file(name)
    assert not files.is_folder(name)
    with pytest.raises(OSError, match="no file can have that name"):
        read_bounded(name, 10)
    with pytest.raises(BundleError, match="found no bundle"):
        load_bundle(name)
    with pytest.raises(DataError, match="found no folder"):
        open_camera("dir:" + name)
    with pytest.raises(DataError, match="could not read frames"):
        open_camera("npz:" + name)
    with pytest.raises(UsageError, match="expected one of"):
        open_camera(name)
