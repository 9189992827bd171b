"""What the options of a command name: a model's files, its calibration and its data."""

import argparse
import shlex
from dataclasses import replace
from pathlib import Path

from device.errors import DataError
from export.calibration.model import CalibratedModel, calibrated_model
from export.data import datasets
from export.data.cifar10 import CLASSES as CIFAR10_CLASSES
from export.data.classes import named as class_names
from export.data.images import PHOTOGRAPHS, SIGNS, Dataset
from export.data.output import check_writable
from export.networks.model_files import ModelFiles, destination, find, find_own, shown
from export.networks.model_folder import ModelDescription, Photographs, write_description
from export.networks.user_code import named


def find_files(arguments: argparse.Namespace) -> ModelFiles:
    """The files of the model that ``--model`` or ``--network``, and ``--weights`` name."""
    weights: Path | None = getattr(arguments, "weights", None)
    return find_own(named(arguments.network), weights) if arguments.network else find(arguments.model, weights)


def model_files(arguments: argparse.Namespace) -> ModelFiles:
    """The same; prints which they are."""
    files = find_files(arguments)
    print(files.told(), flush=True)
    return files


def data_for(arguments: argparse.Namespace, files: ModelFiles) -> Dataset:
    """As ``data_of``, for the folder of ``--data``."""
    return data_of(arguments.data, files)


def data_of(named: str | None, files: ModelFiles, download_limit_s: float = 1800) -> Dataset:
    """The data set of the folder ``named``, else the photographs that a model folder was made from, fitted to the network as its
    training images were. Where ``named`` are the same photographs in another place, the model folder remembers it.

    Args:
        named: the folder of ``--data``, if it was given.
        download_limit_s: give a download up after this many seconds.

    Raises:
        DataError: there is none, or it cannot be read, or the photographs have moved or changed.
    """
    description = files.description
    photographs = description.photographs
    if photographs is None:
        check_data_named(named, files)
        source = description.data_source
        return datasets.load(
            named, description.input_size, description.fit, source=source, download_limit_s=download_limit_s
        )
    if named:
        data = datasets.load(named, description.input_size, description.fit, photographs.group)
        if data.sha256() == description.data_sha256:
            _remember(replace(description, photographs=replace(photographs, folder=_absolute(named))), files)
        return data
    data = photographs_to_train(photographs, files, description.input_size, description.fit)
    if data.sha256() != description.data_sha256:
        counts = f"{len(data.train.labels)} to train with and {len(data.calibration.labels)} to calibrate with"
        raise DataError(
            f"found other photographs in {photographs.folder} than {shown(files.weights.parent)} was made from ({counts}; "
            f"{description.train} and {description.calibration} then); expected the same ones, since a network must not be "
            "calibrated on what it was trained with; train it again, or take them as they are with --data "
            + shlex.quote(photographs.folder)
        )
    return data


def check_data_named(data: str | None, files: ModelFiles) -> None:
    """Check that a data set is named for a model that was trained neither on CIFAR-10, which is what commands take by default,
    nor on the hand-sign digits, which are found as well.

    Args:
        data: the folder of ``--data``.

    Raises:
        DataError: there is none.
    """
    classes = files.description.classes
    if files.description.data_source == SIGNS:
        return
    if not datasets.named(data) and classes and classes != CIFAR10_CLASSES:
        raise DataError(
            f"found no --data for {files.model}, whose classes are not those of CIFAR-10 ({class_names(classes)}); expected a "
            "folder of images of its classes; name it with --data DIR"
        )


def _remember(description: ModelDescription, files: ModelFiles) -> None:
    if files.folder is not None and description != files.description:
        write_description(description, files.described_in)


def photographs_to_train(photographs: Photographs, files: ModelFiles, size: tuple[int, int], fit: str) -> Dataset:
    """The photographs that a model folder remembers, whether they have changed or not.

    Raises:
        DataError: they have moved, or cannot be read.
    """
    folder = Path(photographs.folder)
    if not folder.is_dir():
        raise DataError(
            f"found no folder {folder}, where the photographs of {shown(files.weights.parent)} were; expected them there; name "
            "the folder that they have moved to with --data"
        )
    return datasets.load(folder, size, fit, photographs.group)


def photographs_named(arguments: argparse.Namespace, data: Dataset) -> Photographs | None:
    """Where the photographs of ``--data`` lie; None for another data set."""
    named = datasets.named(arguments.data)
    return Photographs(_absolute(named), data.group) if named and data.name == PHOTOGRAPHS else None


def _absolute(folder: str | Path) -> str:
    return str(Path(folder).resolve())


def table_out(arguments: argparse.Namespace, files: ModelFiles) -> Path:
    """The table file that a command writes.

    Raises:
        OutputError: it cannot be written.
    """
    return check_writable(destination(files).table if arguments.out is None else arguments.out)


def calibrated(arguments: argparse.Namespace, without: str) -> tuple[CalibratedModel, Dataset, Path]:
    """A network with its card and table, its data, and the table file that the command writes.

    Args:
        without: the part of the table that the command makes anew.
    """
    files = model_files(arguments)
    out = table_out(arguments, files)
    data = data_for(arguments, files)
    return calibrated_model(files, data, without), data, out
