"""Bundles as archives: which files are taken from one, and which archives are refused before memory is taken."""

import gzip
import os
import tarfile
import tracemalloc

import pytest

from device.bundle.archive import LEAST_BYTES, MAX_MEMBERS, read_archive
from device.errors import BundleError

END = b"\0" * 1024
MOST = 1 << 30


def member(name, content=b"", kind=tarfile.REGTYPE, size=None, link=""):
    """One member of a tar; ``size``: what its header claims instead."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT) + content + b"\0" * (-len(content) % 512)


@pytest.fixture
def pack(tmp_path):
    """Write bytes as a .tar.gz; its path."""
    path = str(tmp_path / "bundle.tar.gz")

    def write(content):
        with gzip.open(path, "wb", compresslevel=9) as file:
            file.write(content)
        return path

    yield write
    assert os.listdir(str(tmp_path)) == ["bundle.tar.gz"]  # nothing was unpacked


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_by_base_name_whatever_wrote_the_archive(tmp_path, form):
    path = str(tmp_path / "a.tar.gz")
    (tmp_path / "folder").mkdir()
    for name, content in (("manifest.json", b"{}"), ("head.onnx", b"x" * 1000), ("empty", b"")):
        (tmp_path / "folder" / name).write_bytes(content)
    with tarfile.open(path, "w:gz", format=form) as archive:
        archive.add(str(tmp_path / "folder"), "folder")
    assert read_archive(path, MOST) == {"manifest.json": b"{}", "head.onnx": b"x" * 1000, "empty": b""}


def test_links_devices_and_folders_are_skipped_and_no_name_leads_out(pack):
    kinds = (
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
        tarfile.GNUTYPE_SPARSE,
    )
    others = b"".join(member("manifest.json", kind=kind, link="/etc/passwd") for kind in kinds)
    path = pack(others + member("../../table.json", b"{}") + member("/labels.txt", b"a") + END)
    assert read_archive(path, MOST) == {"table.json": b"{}", "labels.txt": b"a"}


HUGE = 1 << 33
REFUSED = {
    "a file of 8 GB": (member("a", size=HUGE), "found a file of 8589934592 bytes"),
    "a long name of 8 GB": (member("a", kind=tarfile.GNUTYPE_LONGNAME, size=HUGE), "found a file of 8589934592"),
    "extended headers of 8 GB": (member("a", kind=tarfile.XHDTYPE, size=HUGE), "found a file of 8589934592"),
    "a sparse file of 8 GB": (member("a", kind=tarfile.GNUTYPE_SPARSE, size=HUGE), "found a file of 8589934592"),
    "a negative size": (member("a", size=-512), "found a file of -512 bytes"),
    "two of one name": (member("a", b"1") + member("x/a", b"2"), "found 'a' twice"),
    "many members": (member("a", kind=tarfile.DIRTYPE) * (MAX_MEMBERS + 1), "found more than 64 files"),
    "a file cut off": (member("a", b"1" * 2000)[:1500], "ends within a file"),
    "no tar": (b"hello" * 300, "could not read"),
    "an archive within": (gzip.compress(member("a", b"1") + END), "could not read"),
}


def refused(path, words, max_bytes=MOST):
    """Bytes of memory that it took to refuse an archive."""
    tracemalloc.start()
    try:
        with pytest.raises(BundleError, match=words):
            read_archive(path, max_bytes)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_no_bundle_is_one_sentence_before_memory_is_taken(pack, name):
    content, words = REFUSED[name]
    assert refused(pack(content if name.endswith("off") else content + END), words) < 1 << 20


def test_an_archive_may_hold_a_hundred_times_its_size_and_a_megabyte(pack):
    zeros = bytes(LEAST_BYTES // 2)
    assert read_archive(pack(member("a", zeros) + END), MOST) == {"a": zeros}
    bomb = pack(member("a") + member("b", bytes(20 << 20)) + END)
    assert refused(bomb, "found a file of 20971520 bytes in .*expected at most [0-9]{7} in an archive") < 1 << 20
    assert refused(pack(member("a", b"1" * 2000) + END), "expected at most 1000 in", max_bytes=1000) < 1 << 20


def test_damage_is_one_sentence(tmp_path):
    path = tmp_path / "a.tar.gz"
    whole = gzip.compress(member("a", os.urandom(3000)) + END)
    for content in (b"", b"\x1f\x8b", whole[:9], whole[:100], whole[:1500], whole[:20] + b"\xff" * 30 + whole[50:]):
        path.write_bytes(content)
        try:
            assert read_archive(str(path), MOST) == {}  # an empty file is an archive of nothing
            assert content == b""
        except BundleError as error:
            assert "could not read" in str(error)
