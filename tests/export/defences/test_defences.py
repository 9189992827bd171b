"""The defences that defq evaluate compares, each on images and on single frames."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from device.defence.defq import DefQ
from device.defence.gate import Gate, GateStage
from device.errors import DataError, UsageError
from export.calibration.table_file import TableFile
from export.calibration.table_reader import shipped_table
from export.data.frames import to_pixels
from export.defences import FORMS, BlockQuantiser, defence_named, gated, table_defence
from export.defences import frames as frame_defences
from export.networks.weights import to_tensor
from tests import tiny

VGG16 = shipped_table("vgg16")
NAMES = (
    "none", "defq", "defq:20-80", "defq*0.5", "flat", "flat:40", "transposed", "distillation", "distillation*2", "moving-grid",
    "moving-grid+scale", "jpeg:75", "bits:4", "median", "gaussian:0.5", "resizing", "resizing:0.9", "gated",
)  # fmt: skip


def photos(count=6, height=32, width=32):
    """Smooth images with some noise."""
    generator = np.random.default_rng(4)
    coarse = generator.integers(0, 256, (count, height // 8, width // 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
    return np.clip(coarse + generator.normal(0, 6, coarse.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_every_defence_gives_frames_of_the_same_kind_and_repeats_itself(name):
    images = photos()
    before = images.copy()
    defence = defence_named(name, VGG16)
    defended = defence.pixels(images)
    assert defended.shape == images.shape
    assert defended.dtype == np.uint8
    assert np.array_equal(images, before)
    assert np.array_equal(defended, defence.pixels(images))
    if name != "none":
        assert not np.array_equal(defended, images)
    assert torch.equal(defence(to_tensor(images)), to_tensor(defended))


NUMBERS = ("-1", "0", "1..2", "nan", "inf", "1e999", "²", "٣", "1_0", "9" * 5000)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("form", [form for form in FORMS.split(", ") if re.search(":|[*]", form)])
def test_a_number_that_cannot_work_is_one_sentence(form, number):
    name = re.sub("[A-Z]+", number, form)
    with pytest.raises(UsageError, match="expected"):
        defence_named(name, VGG16)


@pytest.mark.parametrize(
    "name",
    ["resizing:1.5", "jpeg:101", "bits:8", "flat:256", "defq:60-20", "defq:20-20", "defq:20-256", "gaussian:1e3"],
)
def test_a_number_out_of_range_is_one_sentence(name):
    with pytest.raises(UsageError, match=r"found .*; expected"):
        defence_named(name, VGG16)


@pytest.mark.parametrize("name", ["", "defq:", "jpeg", "bits:x", "unheard of", "defq*"])
def test_an_unknown_defence_is_one_sentence(name):
    with pytest.raises(UsageError, match=r"found defence .*; expected one of: none, defq"):
        defence_named(name, VGG16)


def test_a_defence_that_is_almost_right_is_told_the_right_one():
    with pytest.raises(UsageError, match=r"; did you mean searched\?$"):
        defence_named("serched", VGG16)


@pytest.mark.parametrize("shape", [(32, 32), (24, 40)])
def test_the_form_with_gradients_is_the_devices(shape):
    images, table = photos(4, *shape), shipped_table("resnet56").baked(20, 100)
    expected = np.stack([DefQ(table)(each).copy() for each in images])
    assert np.array_equal(to_pixels(BlockQuantiser(table)(to_tensor(images))), expected)


def test_a_frame_that_is_no_multiple_of_eight_is_padded_as_on_the_device():
    images, table = photos(2)[:, :29, :21], VGG16.steps
    expected = np.stack([DefQ(table)(each).copy() for each in images])
    assert np.array_equal(to_pixels(BlockQuantiser(table)(to_tensor(images))), expected)


def test_rounding_passes_the_gradient_on():
    image = (torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.3).requires_grad_()
    quantised = BlockQuantiser(np.full((8, 8), 20.0))(image)
    weights = torch.rand(1, 3, 16, 16)
    (gradient,) = torch.autograd.grad((quantised * weights).sum(), image)
    assert torch.allclose(gradient, weights, atol=1e-4)  # the two transforms undo each other


def test_luma_and_chroma_can_have_tables_of_their_own():
    grey = torch.full((1, 3, 8, 8), 0.4)
    coloured = grey.clone()
    coloured[:, 0] += 0.02
    tables = np.stack([np.ones((8, 8)), np.full((8, 8), 200.0), np.full((8, 8), 200.0)])
    quantised = BlockQuantiser(tables, ycbcr=True)(coloured)
    assert (quantised - quantised.mean(1, keepdim=True)).abs().max() < 0.005  # the weak colour is gone
    assert (quantised.mean() - coloured.mean()).abs() < 0.01


def test_random_forms_differ_from_frame_to_frame_but_not_from_seed_to_seed():
    images = np.repeat(photos(1), 8, axis=0)
    for name in ("moving-grid", "moving-grid+scale", "resizing"):
        defended = defence_named(name, VGG16).pixels(images, seed=3)
        assert len({each.tobytes() for each in defended}) > 2, name
        assert not np.array_equal(defended, defence_named(name, VGG16).pixels(images, seed=4)), name


def test_a_moving_grid_at_its_origin_is_plain_defq():
    class Origin:
        def integers(self, low, high=None, size=None):
            return np.zeros(size, np.int64) if size else 0

    table, frame = VGG16.steps, photos(1)[0]
    moving = frame_defences.random_quantisation(table, 0.0)
    assert np.array_equal(moving(frame, Origin()), DefQ(table)(frame))


def test_jpeg_loses_what_pillow_loses():
    frame = photos(1, 64, 64)[0]
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=50)
    pillow = np.asarray(Image.open(buffer)).astype(int)
    ours = defence_named("jpeg:50", VGG16).pixels(frame[None])[0].astype(int)
    assert np.abs(ours - pillow).mean() < 1.5
    assert np.abs(ours - frame).mean() > 2


def test_bit_depth_keeps_black_white_and_few_levels():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    reduced = defence_named("bits:3", VGG16).pixels(ramp[None])[0]
    assert sorted(set(reduced.ravel().tolist())) == [0, 36, 73, 109, 146, 182, 219, 255]
    assert np.abs(reduced.astype(int) - ramp).max() <= 19


def test_flat_and_transposed_tables_are_controls_of_the_learned_one():
    mobilenet = shipped_table("mobilenet")
    table = mobilenet.steps
    flat = defence_named("flat", mobilenet).quantiser.tables
    assert flat.min() == flat.max() == pytest.approx(table.mean())
    assert np.array_equal(defence_named("transposed", mobilenet).quantiser.tables, table.T)


def test_without_rounding_only_defq_sees_the_fractions():
    images = to_tensor(photos(2)) + 0.3 / 255
    defq = table_defence("defq", np.full((8, 8), 1.0))
    assert not torch.equal(defq(images, eight_bit=False), defq(images.add(0.4 / 255).clamp(max=1), eight_bit=False))
    none = defence_named("none", VGG16)
    assert torch.equal(none(images, eight_bit=False), images)
    assert not torch.equal(none(images), images)


def test_a_gate_treats_noisy_frames_alone():
    clean = photos(3, 32, 32) // 2 + 60
    clean[..., 0] = clean[..., 1]  # no red-green detail
    noise = np.random.default_rng(0).normal(0, 6, clean.shape)
    noisy = np.clip(clean + noise, 0, 255).astype(np.uint8)
    gate = Gate([GateStage(1.0, {5: 0.4, 10: 0.3}, np.full((8, 8), 40.0))])
    defence = gated("gated", gate)
    assert np.array_equal(defence.pixels(clean), clean)
    assert np.array_equal(defence.pixels(noisy), table_defence("", np.full((8, 8), 40.0)).pixels(noisy))
    both = np.concatenate([clean, noisy])
    assert defence.thresholds(both, 10, 0.7).tolist() == [0.7] * 3 + [0.3] * 3
    assert table_defence("", np.full((8, 8), 40.0)).thresholds(both, 10, 0.7) == 0.7


def test_tiny_network_frames_are_accepted():
    assert defence_named("defq", VGG16).pixels(tiny.frames(2)).shape == (2, 16, 16, 3)


def test_defq_is_the_table_that_ships_and_not_one_that_is_baked_anew():
    table = replace(VGG16, steps=np.full((8, 8), 7))
    assert (defence_named("defq", table).quantiser.tables == 7).all()
    assert np.array_equal(defence_named("defq:20-60", table).quantiser.tables, VGG16.steps)
    bare = TableFile(np.full((8, 8), 7), file=VGG16.file)
    with pytest.raises(DataError, match="found no mean ratios .* range 20 to 80"):
        defence_named("defq:20-80", bare)


@pytest.mark.parametrize(("part", "name"), [("gate", "gated"), ("searched", "searched")])
def test_a_part_that_was_not_calibrated_is_asked_for(part, name):
    with pytest.raises(UsageError, match=f"found no {part} in .*vgg16.json; expected one; make it with: defq "):
        defence_named(name, replace(VGG16, **{part: None}))
