"""Cards that are calibrated on photographs as they were taken and before other backgrounds."""

import json

import numpy as np
import pytest

from device.errors import UsageError
from export.calibration import calibrate as module
from export.calibration.calibrate import calibrate
from export.calibration.card import card_from_json
from export.calibration.card_page import card_page
from export.commands import cli
from export.data import datasets
from export.data.cifar10 import CLASSES as CIFAR10_CLASSES
from export.networks.model_files import beside
from export.networks.weights import save_network
from tests import tiny


@pytest.fixture
def files(tmp_path):
    save_network(tiny.network(), tmp_path / "w.safetensors", classes=tiny.CLASSES)
    return beside("mobilenet", tmp_path / "w.safetensors")


def test_thresholds_are_chosen_on_both_and_the_card_says_so(files, data, monkeypatch):
    asked = []

    def with_others(images, backgrounds):
        asked.append(len(backgrounds))
        return images._replace(
            pixels=np.concatenate([images.pixels] * 2), labels=np.concatenate([images.labels, images.labels])
        )

    monkeypatch.setattr(module, "with_others", with_others)
    card = calibrate(files, tiny.network(), data, np.zeros((3, 24, 24, 3), np.uint8))
    assert asked == [3]
    assert (card.images.calibration, card.images.pasted) == (120, 60)
    assert card_from_json(json.loads(json.dumps(card.as_json()))).images == card.images
    page = card_page(card, files)
    assert "measured on the calibration images, 60 as they were taken and 60 before other backgrounds:" in page
    assert "60 to calibrate" in page


def test_without_backgrounds_a_card_is_as_it_was(files, data):
    card = calibrate(files, tiny.network(), data)
    assert "pasted" not in card.as_json()["images"]
    assert "other backgrounds" not in card_page(card, files)


def test_images_of_cifar10_cannot_be_cut_out(data, monkeypatch, capsys):
    monkeypatch.setattr(datasets, "load", lambda *_, **__: data._replace(classes=CIFAR10_CLASSES, name="CIFAR-10"))
    assert cli.main(["train", "--model", "resnet56", "--backgrounds", "drawn"]) == UsageError.exit_code
    assert "found --backgrounds with CIFAR-10; expected photographs" in capsys.readouterr().err
