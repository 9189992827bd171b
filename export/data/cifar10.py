"""CIFAR-10 in its two official layouts, binary and python.

Splits by training index: 0..42999 train, 43000..46999 calibration (thresholds and tables), the rest is left alone; the
test batch is for evaluation.
"""

import codecs
import importlib
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from device.errors import DataError
from device.pictures.fit import fit_picture
from device.system.files import read_bounded
from export.data.download import FOLDER
from export.data.images import Dataset, Images

NAME = "CIFAR-10"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
"""Pixels of an image's side."""
TRAIN = slice(0, 43_000)
CALIBRATION = slice(43_000, 47_000)
FOLDERS = (FOLDER, "cifar-10-batches-py")
"""What the folder in each of the two official archives is called."""
RECORD_BYTES = 1 + 3 * SIDE * SIDE
MAX_FILE_BYTES = 1 << 30


class Layout(NamedTuple):
    """Where the files lie, how their names end and what reads one of them: pixels uint8 (n, 32, 32, 3), labels (n,)."""

    folder: Path
    suffix: str
    reader: Callable[[Path], tuple[np.ndarray, np.ndarray]]


def find_layout(folder: Path) -> Layout | None:
    """The layout in which a folder, or the folder of an archive in it, holds CIFAR-10; None where it holds other files."""
    for inner in (folder, *(folder / name for name in FOLDERS)):
        for suffix, reader in ((".bin", _read_binary), ("", _read_python)):
            if (inner / f"data_batch_1{suffix}").is_file():
                return Layout(inner, suffix, reader)
    return None


def read_cifar10(layout: Layout, size: tuple[int, int], fit: str) -> Dataset:
    """The whole data set.

    Args:
        size: (height, width) that the images are brought to.
        fit: how (device/pictures/fit.py).

    Raises:
        DataError: a file is absent, incomplete or holds something else.
    """
    folder, suffix, reader = layout
    batches = sorted(folder.glob(f"data_batch_[0-9]{suffix}"))
    parts = [reader(path) for path in batches]
    pixels = np.concatenate([part[0] for part in parts])
    labels = np.concatenate([part[1] for part in parts])
    if len(labels) < CALIBRATION.stop:
        raise DataError(
            f"found {len(labels)} training images in {folder}; expected at least {CALIBRATION.stop} "
            f"({TRAIN.stop} to train, {CALIBRATION.stop - CALIBRATION.start} to calibrate); name the full data set with --data or CIFAR10_DIR"
        )
    test_file = folder / f"test_batch{suffix}"
    if not test_file.is_file():
        raise DataError(f"found no {test_file.name} in {folder}; expected the whole official archive; unpack it again")
    test = reader(test_file)
    return Dataset(
        Images(_at(size, fit, pixels[TRAIN]), labels[TRAIN]),
        Images(_at(size, fit, pixels[CALIBRATION]), labels[CALIBRATION], CALIBRATION.start),
        Images(_at(size, fit, test[0]), test[1]),
        CLASSES,
        f"{NAME} in {folder}",
        name=NAME,
        fit=fit,
    )


def _at(size: tuple[int, int], fit: str, pixels: np.ndarray) -> np.ndarray:
    """Images uint8 (n, 32, 32, 3) at another size."""
    return pixels if size == (SIDE, SIDE) else np.stack([fit_picture(each, size, fit) for each in pixels])


def _read_binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """One file of the binary layout: records of a label byte and 3 x 1024 bytes of red, green and blue."""
    raw = np.frombuffer(_read_file(path), np.uint8)
    if raw.size == 0 or raw.size % RECORD_BYTES:
        raise DataError(
            f"found {raw.size} bytes in {path}; expected a multiple of {RECORD_BYTES} (a label and 3 x {SIDE} x {SIDE} pixels); the file is cut off: copy it again"
        )
    records = raw.reshape(-1, RECORD_BYTES)
    return _checked(records[:, 1:], records[:, 0], path)


class _ArrayUnpickler(pickle.Unpickler):
    """Reads the pickled dictionaries of the python layout and nothing but plain NumPy arrays in them."""

    # numpy.core became numpy._core in NumPy 2; Python 3 writes bytes of protocol 2 as _codecs.encode of text
    MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if module in self.MODULES and name == "_reconstruct":
            return importlib.import_module(self.MODULES[np.__version__[0] != "1"])._reconstruct
        if (module, name) == ("_codecs", "encode"):
            return codecs.encode
        raise pickle.UnpicklingError(f"the file asks for {module}.{name}")


def _read_python(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """One file of the python layout, read without running anything the file might carry."""
    raw = _read_file(path)
    try:
        content = _ArrayUnpickler(io.BytesIO(raw), encoding="bytes").load()
        pixels, labels = np.asarray(content[b"data"]), np.asarray(content[b"labels"])
    except Exception as error:
        raise DataError(
            f"could not read {path} ({error}); expected a file of the official CIFAR-10 python archive; unpack it again"
        ) from error
    if (
        pixels.dtype != np.uint8
        or pixels.ndim != 2
        or pixels.shape[1] != RECORD_BYTES - 1
        or not len(pixels)
        or labels.dtype.kind not in "iu"
        or labels.shape != (len(pixels),)
    ):
        raise DataError(
            f"found {pixels.dtype} {pixels.shape} and labels {labels.dtype} {labels.shape} in {path}; expected uint8 (n, 3072) and n whole numbers; unpack the official archive again"
        )
    return _checked(pixels, labels, path)


def _read_file(path: Path) -> bytes:
    try:
        return read_bounded(str(path), MAX_FILE_BYTES)
    except OSError as error:
        raise DataError(
            f"could not read {path} ({error.strerror}); expected a file of the official CIFAR-10 archive; unpack it again"
        ) from error


def _checked(planes: np.ndarray, labels: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    if labels.max() >= len(CLASSES) or labels.min() < 0:
        wrong = labels.max() if labels.max() >= len(CLASSES) else labels.min()
        raise DataError(f"found label {wrong} in {path}; expected 0..9; is this CIFAR-100?")
    pixels = np.ascontiguousarray(planes.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))
    return pixels, labels.astype(np.int64)
