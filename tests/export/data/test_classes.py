"""Networks, data, labels and graphs of different classes are told apart before anything takes long."""

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from device.errors import DataError
from export.calibration.calibrate import calibrate
from export.commands import cli
from export.commands import evaluate as evaluation_cli
from export.data import datasets
from export.data.cifar10 import CLASSES as CIFAR10_CLASSES
from export.data.classes import check_classes, check_labels, logit_count
from export.data.images import Dataset, Images
from export.networks.model_files import beside, find
from export.networks.sdn import SDN, InternalClassifier
from export.networks.weights import save_network
from tests import tiny


def data_of(*classes, order="mixed"):
    images = Images(np.zeros((20, 32, 32, 3), np.uint8), np.arange(20) % len(classes))
    return Dataset(images, images, images, classes, "made up", order)


@pytest.mark.parametrize("classes", [("bolt", "nut"), (*CIFAR10_CLASSES[1:], CIFAR10_CLASSES[0])])
@pytest.mark.parametrize(
    "command",
    [
        ["calibrate"], ["table"], ["gate"], ["monitor"], ["search"], ["evaluate"], ["attack", "--out", "frames"],
        ["bundle", "--out", "bundle", "--frames", "2"], ["train", "--start", "{weights}"],
        *(["evaluate", f"--{name}", "--quick"] for name in evaluation_cli.REPORTS),
    ],
    ids=" ".join,
)  # fmt: skip
def test_data_of_other_classes_is_refused_by_every_command(command, classes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load", lambda *_, **__: data_of(*classes))
    weights = str(find("resnet56").weights)
    if command == ["calibrate"]:  # which makes the card that has the names; these weights do not say them
        classes = classes[:2]
    options = [option.format(weights=weights) for option in command[1:]]
    assert cli.main([command[0], "--model", "resnet56", *options]) == 3
    error = capsys.readouterr().err
    assert f"found {len(classes)} classes ({', '.join(classes)[:20]}" in error
    assert "expected the 10 classes" in error
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_names_that_the_weights_were_trained_with_count(tmp_path):
    save_network(tiny.network(), tmp_path / "w.safetensors", classes=("a", "b", "c"))
    files = beside("mobilenet", tmp_path / "w.safetensors")
    with pytest.raises(DataError, match=r"found 3 classes \(b, a, c\) .*expected the 3 classes \(a, b, c\)"):
        calibrate(files, tiny.network(), data_of("b", "a", "c"))


def test_the_number_of_classes_is_that_of_the_logits():
    network = tiny.network()
    assert logit_count(network) == 3
    check_classes(network, data_of("a", "b", "c"))
    with pytest.raises(DataError, match=r"found 2 classes \(a, b\) in the data; expected the 3 classes that"):
        check_classes(network, data_of("a", "b"))
    ics = [*network.ics]
    ics[1] = InternalClassifier(6, 8, 5)
    mixed = SDN(network.stem, [*network.blocks], ics, network.end, network.input_shape)
    with pytest.raises(DataError, match="found exits of 3, 5, 3, 3, 3 classes"):
        logit_count(mixed)
    assert isinstance(network.end, nn.Module)


@pytest.mark.parametrize("labels", [["a", "b"], ["a", "b", "c", "d"]])
def test_a_bundle_names_as_many_classes_as_it_has_logits(labels, tmp_path):
    network = tiny.network()
    with pytest.raises(DataError, match=f"found {len(labels)} class names .* for a network of 3 classes"):
        check_labels(network, labels)
    card = replace(tiny.card(network), classes=tuple(labels))
    settings = tiny.BundleSettings(split=2)
    with pytest.raises(DataError, match="class names"):
        tiny.write_bundle("tiny", network, card, tiny.TABLE, tmp_path / "bundle", settings, tiny.frames())
    assert not (tmp_path / "bundle").exists()
