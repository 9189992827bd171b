"""The frame set of a bundle: clean images, the same ones under attack, and their labels, for bench and preview.

``defq bundle --frames N`` puts it there, from the user's own CIFAR-10.
"""

import io
import shlex
from typing import NamedTuple, Optional

import numpy as np

from device.bundle.reader import Bundle
from device.errors import BundleError, UsageError
from device.system.npz import read_arrays

ARRAYS = ("clean", "attacked", "labels", "universal")
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
        raise UsageError("found no frame set in bundle {}; expected clean and attacked frames in it; export it again with: {}".format(
            bundle.path, export_with_frames(bundle.model)))  # fmt: skip
    content = bundle.read_file(str(facts.get("file")))
    channels, height, width = bundle.input_shape
    shape = (height, width, channels)
    try:
        arrays = read_arrays(io.BytesIO(content), ARRAYS, MAX_BYTES)
        clean, attacked, labels = (arrays[name] for name in ARRAYS[:3])
        universal = arrays.get(ARRAYS[3])
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
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise BundleError("found no usable frame set in bundle {} ({}); expected clean and attacked frames uint8 (n, {}, {}, {}) "
                          "and n labels; export it again with: {}".format(
                              bundle.path, str(error)[:200], *shape, export_with_frames(bundle.model))) from error  # fmt: skip


def export_with_frames(model: str) -> str:
    """The command that exports a bundle of ``model`` with a frame set."""
    return "defq bundle --model {0} --frames 300 --out build/{0}".format(shlex.quote(model))
