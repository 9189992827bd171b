"""A bundle's frame set. Input: ``z`` and the bytes of an .npz; or a digit for the array, and its bytes as .npy."""

import io
import zipfile

import numpy as np

from device.bundle import frame_set
from device.bundle.frame_set import load_frame_set
from device.bundle.reader import Bundle, load_bundle
from device.errors import EdgeError
from tests.fuzz import BUNDLE

frame_set.MAX_BYTES = 1 << 20
NAMES = ("clean", "attacked", "labels", "universal")


class Holder:
    """As much of a bundle as load_frame_set looks at; its one file is ``content``, and its hash is right."""

    def __init__(self, base: Bundle) -> None:
        self.path, self.labels, self.input_shape, self.model = "fuzz", base.labels, base.input_shape, base.model
        self.manifest = {"frames": {"file": "frames.npz", "universal_t3_er": 0.5}}
        self.content = b""

    def read_file(self, _name: str) -> bytes:
        return self.content


HOLDER = Holder(load_bundle(str(BUNDLE)))


def arrays() -> dict[str, np.ndarray]:
    """A small frame set: two images of the tiny bundle's size."""
    ramp = np.arange(2 * 16 * 16 * 3, dtype=np.uint8).reshape(2, 16, 16, 3)
    return {"clean": ramp, "attacked": ramp[::-1], "labels": np.array([0, 2]), "universal": ramp[0].astype(np.int16)}


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


KEPT = {name: npy(array) for name, array in arrays().items()}


def packed(parts: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as archive:
        for name, part in parts.items():
            archive.writestr(zipfile.ZipInfo(name + ".npy"), part, kind)
    return stream.getvalue()


def check(data: bytes) -> None:
    if data[:1] == b"z":
        HOLDER.content = data[1:]
    else:
        HOLDER.content = packed(dict(KEPT, **{NAMES[sum(data[:1]) % 4]: data[1:]}))
    try:
        found = load_frame_set(HOLDER)  # type: ignore[arg-type]
    except EdgeError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 2000
        return
    assert found.clean.shape == found.attacked.shape == (len(found.labels), 16, 16, 3)
    assert found.labels.min() >= 0
    assert found.labels.max() < 3
