"""Images with labels: CIFAR-10 in its two official layouts, or a folder of images.

Splits of CIFAR-10 by training index: 0..42999 train, 43000..46999 calibration (thresholds and tables), the rest is
left alone; the test batch is for evaluation. "The first N images" of any split are a sample of all its classes: CIFAR-10's
files are mixed already, images of a folder are mixed here (export/data/image_folder.py).
"""

import codecs
import hashlib
import importlib
import io
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from device.errors import DataError
from device.pictures import SUFFIXES, read_picture
from device.system.files import read_bounded
from export.data.download import FOLDER, cache_dir, fetch_archive
from export.data.image_folder import SEED, list_images, shown

CIFAR10, PHOTOGRAPHS = "CIFAR-10", "images of a folder"
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN = slice(0, 43_000)
CALIBRATION = slice(43_000, 47_000)

RECORD_BYTES = 1 + 3 * 32 * 32
BAD_SHOWN = 40  # names of unreadable images in one message
MAX_FILE_BYTES = 1 << 30


class Images(NamedTuple):
    """Images with their labels.

    pixels: uint8 (n, height, width, 3), RGB, 0..255. labels: int64 (n,). first_id: index of image 0 in its own file set
    (43000 for the calibration split); files: where each image of a folder lies in it. So a table can name the samples it
    was learned from.
    """

    pixels: np.ndarray
    labels: np.ndarray
    first_id: int = 0
    files: tuple[str, ...] = ()

    def take(self, count: int) -> "Images":
        """The first ``count`` images: a sample of all classes."""
        return self._replace(pixels=self.pixels[:count], labels=self.labels[:count], files=self.files[:count])

    def ids(self, chosen: np.ndarray) -> list[int | str]:
        """The names of the files of some images, int (n,), or their numbers where they have none."""
        return [self.files[each] if self.files else each + self.first_id for each in chosen.tolist()]


class Dataset(NamedTuple):
    """Three splits, the names of the classes and a word on where they came from. order: how the images of a split follow
    one another, and so what the first of them are a sample of."""

    train: Images
    calibration: Images
    test: Images
    classes: tuple[str, ...]
    source: str
    order: str = "in the order of its files"

    def sha256(self) -> str:
        """Of the images that networks, thresholds and tables are made from: those to train and to calibrate."""
        digest = hashlib.sha256("\n".join(self.classes).encode())
        for part in (self.train, self.calibration):
            digest.update(str(part.pixels.shape).encode() + np.ascontiguousarray(part.labels).tobytes())
            digest.update(np.ascontiguousarray(part.pixels).data)
        return digest.hexdigest()

    def facts(self) -> dict[str, Any]:
        """What a model card says of its data, JSON-ready."""
        return {
            "source": CIFAR10 if self.classes == LABELS else PHOTOGRAPHS,
            "sha256": self.sha256(),
            "train": len(self.train.labels),
            "order": self.order,
        }


def load(
    directory: str | Path | None = None,
    size: tuple[int, int] = (32, 32),
    download: bool = True,
    download_limit_s: float = 1800,
) -> Dataset:
    """Find and read the data: ``directory``, else $CIFAR10_DIR, else the cache, else download the official archive.

    Args:
        directory: CIFAR-10 in the binary or python layout, or a folder with one sub-folder of images a class.
        size: (height, width) that images of a folder are resized to; CIFAR-10 is 32 x 32.
        download: fetch the archive (170 MB, once, checked by hash) when nothing else is there.
        download_limit_s: give the download up after this.

    Raises:
        DataError: no data, an incomplete file, a wrong hash.
    """
    if folder := named(directory):
        if not folder.is_dir():
            raise DataError(
                f"found no folder {folder}; expected CIFAR-10 or class sub-folders of images; name another with --data or CIFAR10_DIR"
            )
        return _read(folder, size)
    cached = cache_dir() / FOLDER
    if not cached.is_dir():
        if not download:
            raise DataError("found no CIFAR-10; name its folder with --data DIR or CIFAR10_DIR")
        fetch_archive(cached.parent, limit_s=download_limit_s)
    return _read(cached, size)


def named(directory: str | Path | None) -> Path | None:
    """The folder that the user names, with an option or in $CIFAR10_DIR."""
    found = directory or os.environ.get("CIFAR10_DIR")
    return Path(found) if found else None


def _read(folder: Path, size: tuple[int, int]) -> Dataset:
    for inner in (folder, folder / FOLDER, folder / "cifar-10-batches-py"):
        for suffix, reader in ((".bin", _read_binary), ("", _read_python)):
            if (inner / f"data_batch_1{suffix}").is_file():
                return _cifar10(inner, suffix, reader)
    return _image_folder(folder, size)


def _cifar10(folder: Path, suffix: str, reader: Callable[[Path], tuple[np.ndarray, np.ndarray]]) -> Dataset:
    batches = sorted(folder.glob(f"data_batch_[0-9]{suffix}"))
    parts = [reader(path) for path in batches]
    pixels = np.concatenate([part[0] for part in parts])
    labels = np.concatenate([part[1] for part in parts])
    if len(labels) < CALIBRATION.stop:
        raise DataError(
            f"found {len(labels)} training images in {folder}; expected at least {CALIBRATION.stop} "
            "(43000 to train, 4000 to calibrate); name the full data set with --data or CIFAR10_DIR"
        )
    test_file = folder / f"test_batch{suffix}"
    if not test_file.is_file():
        raise DataError(f"found no {test_file.name} in {folder}; expected the whole official archive; unpack it again")
    test = reader(test_file)
    return Dataset(
        Images(pixels[TRAIN], labels[TRAIN]),
        Images(pixels[CALIBRATION], labels[CALIBRATION], CALIBRATION.start),
        Images(*test),
        LABELS,
        f"CIFAR-10 in {folder}",
    )


def _read_binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """One file of the binary layout: records of a label byte and 3 x 1024 bytes of red, green and blue."""
    raw = np.frombuffer(_read_file(path), np.uint8)
    if raw.size == 0 or raw.size % RECORD_BYTES:
        raise DataError(
            f"found {raw.size} bytes in {path}; expected a multiple of {RECORD_BYTES} (a label and 3 x 32 x 32 pixels); the file is cut off: copy it again"
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
    if labels.max() >= len(LABELS) or labels.min() < 0:
        wrong = labels.max() if labels.max() >= len(LABELS) else labels.min()
        raise DataError(f"found label {wrong} in {path}; expected 0..9; is this CIFAR-100?")
    pixels = np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return pixels, labels.astype(np.int64)


def _image_folder(folder: Path, size: tuple[int, int]) -> Dataset:
    """A folder of photographs (export/data/image_folder.py says in which layouts).

    Raises:
        DataError: another layout, or images that cannot be read, all of which are named.
    """
    found = list_images(folder, SUFFIXES)
    if found.ignored:
        print(f"passed over in {folder}: {'; '.join(found.ignored)}", file=sys.stderr)
    bad: list[str] = []
    parts = []
    for listed in found.files:
        pixels = []
        for path, _ in listed:
            try:
                pixels.append(_read_image(path, size))
            except DataError as error:
                bad.append(f"{shown(path, folder)} ({_reason(error) if path.stat().st_size else 'empty'})")
        names = tuple(path.relative_to(folder).as_posix() for path, _ in listed)
        if not bad:
            parts.append(Images(np.stack(pixels), np.array([label for _, label in listed], np.int64), 0, names))
    if bad:
        more = f" and {len(bad) - BAD_SHOWN} more" if len(bad) > BAD_SHOWN else ""
        raise DataError(
            f"could not read {len(bad)} of {sum(map(len, found.files))} images in {folder}: "
            f"{', '.join(sorted(bad)[:BAD_SHOWN])}{more}; expected whole images; remove or replace them"
        )
    train, calibration, test = parts
    order = f"images of a split are mixed over all classes with seed {SEED}"
    return Dataset(train, calibration, test, found.classes, f"images in {folder}", order)


def _reason(error: DataError) -> str:
    """Why an image cannot be read, as the library or the system says."""
    cause = error.__cause__
    return (cause.strerror if isinstance(cause, OSError) else str(cause or "")) or type(cause or error).__name__


def _read_image(path: Path, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(read_picture(str(path)), (size[1], size[0]), interpolation=cv2.INTER_AREA)
