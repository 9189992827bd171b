"""Attacked images by the name of the attack: in range, the same each time, and refused where they cannot be made."""

import numpy as np
import pytest
import torch

from device.errors import UsageError
from export.calibration import attacked_images
from export.calibration.attacked_images import attacked
from export.calibration.table_reader import shipped_table
from export.data.images import Images
from export.defences import defence_named
from export.networks.weights import to_tensor
from tests import tiny

VGG16 = shipped_table("vgg16")


@pytest.mark.parametrize(
    "attack", ["linf", "l2", "l1", "grey", "universal", "class-universal", "adaptive", "adaptive:2"]
)
def test_every_attack_changes_every_image_within_the_range(attack, tiny_model, data, monkeypatch):
    monkeypatch.setattr(attacked_images, "PER_SAMPLE", tiny.QUICK_ATTACKS)
    few = data.test.take(5)
    shown = attacked(attack, tiny_model, data, few, defence_named("defq", VGG16))
    clean = to_tensor(few.pixels)
    assert shown.shape == clean.shape
    assert 0 <= shown.min() <= shown.max() <= 1
    assert ((shown - clean).abs().flatten(1).amax(1) > 1e-3).all()
    assert torch.equal(shown, attacked(attack, tiny_model, data, few, defence_named("defq", VGG16)))


def test_universal_perturbations_are_the_same_for_all_or_for_a_class(tiny_model, data):
    middle = Images(np.full((6, 16, 16, 3), 128, np.uint8), np.array([0, 0, 1, 1, 2, 2]))
    none = defence_named("none")
    one = attacked("universal", tiny_model, data, middle, none)
    each = attacked("class-universal", tiny_model, data, middle, none)
    assert torch.allclose(one, one[:1].expand_as(one))
    assert torch.equal(each[0], each[1])
    present = set(data.calibration.labels.tolist())
    assert all(
        (each[2 * label] - each[2 * other]).abs().max() > 0 for label in present for other in present if label < other
    )


@pytest.mark.parametrize(("attack", "defence"), [("linf2", "none"), ("adaptive", "median"), ("adaptive:", "defq")])
def test_what_cannot_be_run_is_one_sentence(attack, defence, tiny_model, data):
    with pytest.raises(UsageError, match=r"found (attack|an adaptive attack) .*expected"):
        attacked(attack, tiny_model, data, data.test.take(2), defence_named(defence, VGG16))
