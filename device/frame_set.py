"""The frame set of a bundle: clean images, the same ones under attack, and their labels, for bench and preview.

``python -m export bundle --frames N`` puts it there, from the user's own CIFAR-10.
"""

import io
import os
import re
import zipfile
import zlib
from typing import Dict, NamedTuple, Optional

import numpy as np

from device.bundle import Bundle
from device.errors import BundleError, UsageError

HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([|<][iu][1248])', 'fortran_order': (True|False), 'shape': \(([0-9, ]{1,100})\), \} *\n",
    re.DOTALL,
)  # what numpy.save writes
MAX_BYTES = 256 << 20  # unpacked; an .npz may be a small file of large arrays


class FrameSet(NamedTuple):
    """Frames at the network's size, n of each kind."""

    clean: np.ndarray
    """uint8 (n, height, width, channels), RGB."""
    attacked: np.ndarray
    """The same frames under DeepSloth L-inf, uint8 of the same shape."""
    labels: np.ndarray
    """int64 (n,), index into the bundle's labels."""
    universal: Optional[np.ndarray]
    """One perturbation for all frames, int16 (height, width, channels) in levels of pixels; None where there is none."""
    universal_t3_er: Optional[float]
    """Share of frames that leave at exits 1..3 under ``universal``, measured on the clean frames of this set."""


def load_frame_set(bundle: Bundle) -> FrameSet:
    """Read and check it.

    Raises:
        UsageError: the bundle has none.
        BundleError: it was changed, or holds other arrays than these.
    """
    facts = bundle.manifest.get("frames")
    if not isinstance(facts, dict):
        raise UsageError("found no frame set in bundle {}; expected clean and attacked frames in it; export it again with: "
                         "python -m export bundle --frames 300".format(bundle.path))  # fmt: skip
    content = bundle.read_file(str(facts.get("file")))
    channels, height, width = bundle.input_shape
    shape = (height, width, channels)
    try:
        arrays = _arrays(content)
        clean, attacked, labels, universal = (
            arrays["clean"],
            arrays["attacked"],
            arrays["labels"],
            arrays.get("universal"),
        )
        for name, array in (("clean", clean), ("attacked", attacked)):
            if array.dtype != np.uint8 or array.shape != (len(labels), *shape) or not len(array):
                raise ValueError("{} of type {} and shape {}".format(name, array.dtype, array.shape))
        if (
            labels.dtype.kind not in "iu"
            or labels.ndim != 1
            or not 0 <= labels.min() <= labels.max() < len(bundle.labels)
        ):
            raise ValueError("labels of type {} and shape {}".format(labels.dtype, labels.shape))
        if universal is not None and (universal.dtype != np.int16 or universal.shape != shape):
            raise ValueError("universal of type {} and shape {}".format(universal.dtype, universal.shape))
        strength = facts.get("universal_t3_er")
        if strength is not None and not 0 <= float(strength) <= 1:
            raise ValueError("universal_t3_er {}".format(strength))
        return FrameSet(clean, attacked, labels, universal, None if strength is None else float(strength))
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        TypeError,
        OverflowError,
        RuntimeError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise BundleError("found no usable frame set in bundle {} ({}); expected clean and attacked frames uint8 (n, {}, {}, {}) "
                          "and n labels; export it again with: python -m export bundle --frames 300".format(
                              bundle.path, str(error)[:200], *shape)) from error  # fmt: skip


def _arrays(content: bytes) -> Dict[str, np.ndarray]:
    """The arrays of whole numbers in an .npz.

    Not by numpy.load: it evaluates the header as Python, and makes an array of whatever size the header claims before it
    looks for its bytes.
    """
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        size = sum(member.file_size for member in members)
        if size > MAX_BYTES:
            raise ValueError("{} bytes unpacked; expected at most {}".format(size, MAX_BYTES))
        for member in members:
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # the others unpack unboundedly
                raise ValueError("compression {}".format(member.compress_type))
            raw = archive.read(member)
            found = HEADER.match(raw)
            if found is None:
                raise ValueError("{!r}, no array of whole numbers".format(member.filename[:80]))
            shape = tuple(int(each) for each in found.group(3).split(b",") if each.strip())
            flat = np.frombuffer(raw, found.group(1).decode("ascii"), offset=found.end())
            array = flat.reshape(shape, order="F" if found.group(2) == b"True" else "C")
            arrays[os.path.splitext(member.filename)[0]] = array
    return arrays
