"""What the options of a command name: a model's files, its calibration and its data."""

import argparse
from pathlib import Path

from export.calibration.model import CalibratedModel, calibrated_model
from export.data import datasets
from export.data.images import Dataset
from export.data.output import check_writable
from export.networks.find import network_spec
from export.networks.model_files import ModelFiles, destination, find


def model_files(arguments: argparse.Namespace) -> ModelFiles:
    """The files of the model that a command is about. Prints which they are."""
    files = find(arguments.model, arguments.weights)
    print(files.told(), flush=True)
    return files


def data_for(arguments: argparse.Namespace, files: ModelFiles) -> Dataset:
    """The data set that ``--data`` names, fitted to a network and split as when it was trained.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    return datasets.load(arguments.data, network_spec(files.model).input_size, files.fit, files.group)


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
