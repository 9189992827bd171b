"""Arrays from an .npz that nobody has checked: every kind of damage is one ValueError, and no claim is believed."""

import io
import os
import struct
import zipfile

import numpy as np
import pytest

from device.system.npz import read_arrays
from device.system.zip_file import open_zip

FRAMES = np.random.RandomState(0).randint(0, 256, (4, 8, 8, 3)).astype(np.uint8)
LABELS = np.array([0, 1, 2, 1])
MOST = 1 << 20


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def packed(frames, method=zipfile.ZIP_STORED):
    """An .npz with the bytes ``frames`` as its array of that name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("frames.npy", frames)
    return stream.getvalue()


def with_header(text, data=b""):
    header = text.encode("latin-1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def encrypted():
    content = bytearray(packed(npy(FRAMES)))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    return bytes(content)


def damaged(method):
    content = bytearray(packed(npy(FRAMES), method))
    content[60:120] = b"\xff" * 60
    return bytes(content)


def claiming(shape, method=zipfile.ZIP_STORED):
    header = "{{'descr': '|u1', 'fortran_order': False, 'shape': {}, }}\n".format(shape)
    return packed(with_header(header), method)


def with_size(size):
    """A directory that claims another size of the file."""
    content = bytearray(packed(npy(FRAMES), zipfile.ZIP_DEFLATED))
    place = content.index(b"PK\x01\x02")
    struct.pack_into("<I", content, place + 24, size)
    return bytes(content)


BAD = {
    "nothing": lambda: b"",
    "no archive": lambda: b"text" * 100,
    "cut off": lambda: packed(npy(FRAMES))[:300],
    "3 TB": lambda: claiming((1000000000, 32, 32, 3)),
    "3 TB, deflated": lambda: claiming((1000000000, 32, 32, 3), zipfile.ZIP_DEFLATED),
    "a product that overflows": lambda: claiming((1 << 62, 1 << 62)),
    "a size in the directory beyond the bound": lambda: with_size(1 << 30),
    "a size in the directory beyond any packing": lambda: with_size(900000),
    "damaged deflate": lambda: damaged(zipfile.ZIP_DEFLATED),
    "damaged bytes": lambda: damaged(zipfile.ZIP_STORED),
    "bzip2": lambda: packed(npy(FRAMES), zipfile.ZIP_BZIP2),
    "lzma": lambda: packed(npy(FRAMES), zipfile.ZIP_LZMA),
    "damaged lzma": lambda: damaged(zipfile.ZIP_LZMA),
    "encrypted": encrypted,
    "more bytes than the header says": lambda: packed(npy(FRAMES) + b"more"),
    "fewer bytes than the header says": lambda: packed(npy(FRAMES)[:-1]),
    "objects": lambda: packed(with_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", b"x" * 8)),
    "code": lambda: packed(with_header("__import__('os').system('true')")),
    "no such type": lambda: packed(with_header("{'descr': '<f3', 'fortran_order': False, 'shape': (1,), }\n", b"xxx")),
    "no header": lambda: packed(b"\x93NUM"),
    "a header without its length": lambda: packed(b"\x93NUMPY\x01\x00"),
    "a long header": lambda: packed(b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 31)),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_damage_is_a_value_error_in_a_few_words(name):
    with pytest.raises(ValueError, match=".") as caught:
        read_arrays(io.BytesIO(BAD[name]()), ["frames"], MOST)
    assert type(caught.value) is ValueError
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "frames", [FRAMES, np.asfortranarray(FRAMES), FRAMES[:0], FRAMES.astype(">f4"), np.array(7), FRAMES > 9]
)
def test_what_numpy_saves_is_read(save, frames, tmp_path):
    path = str(tmp_path / "f.npz")
    save(path, frames=frames, labels=LABELS, others=np.array(["text"]))
    found = read_arrays(path, ["frames", "labels", "absent"], MOST)
    assert sorted(found) == ["frames", "labels"]
    np.testing.assert_array_equal(found["frames"], frames)
    assert found["frames"].dtype == frames.dtype
    np.testing.assert_array_equal(found["labels"], LABELS)


def test_the_bound_holds_for_all_arrays_together(tmp_path):
    path = str(tmp_path / "f.npz")
    np.savez(path, frames=FRAMES, labels=LABELS)
    with pytest.raises(ValueError, match="bytes unpacked; expected at most 1000"):
        read_arrays(path, ["frames", "labels"], 1000)
    assert list(read_arrays(path, ["labels"], 1000)) == ["labels"]


def test_no_memory_for_a_claim_that_fits_is_a_value_error(monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(np, "empty", full)
    with pytest.raises(ValueError, match="MemoryError"):
        read_arrays(io.BytesIO(packed(npy(FRAMES))), ["frames"], MOST)


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(str(tmp_path / "fifo.npz"))
    for name in ("fifo.npz", "absent.npz", "."):
        path = str(tmp_path / name)
        with pytest.raises(ValueError, match="no regular file|No such file|directory"), open_zip(path):
            pass
