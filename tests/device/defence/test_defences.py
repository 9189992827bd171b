"""What each defence makes of a frame."""

import numpy as np
import pytest

from device.defence.base import Defence
from device.defence.controller import DEFENCES
from device.defence.defq import DefQ
from device.defence.gate import Gate, noise_level
from device.defence.gated import Gated
from device.defence.quantised import Quantised
from device.defence.undefended import Undefended
from device.errors import UsageError


def scaled(planes):
    """uint8 (channels, height, width) -> what a head is given."""
    return planes.astype(np.float32)[None] / np.float32(255)


def quantised(pixels, table):
    return scaled(DefQ(table).planes(pixels))


@pytest.mark.parametrize("mode", sorted(DEFENCES))
def test_every_defence_gives_the_head_what_it_takes(gated_bundle, clean_and_noisy, mode):
    defence = DEFENCES[mode](gated_bundle, 5)
    images = set()
    for pixels in clean_and_noisy:
        before = pixels.copy()
        treatment = defence.treat(pixels)
        assert (treatment.image.shape, treatment.image.dtype) == ((1, 3, 16, 16), np.float32)
        assert 0 <= treatment.image.min() <= treatment.image.max() <= 1
        assert 0 <= treatment.threshold <= 1
        assert treatment.quantised == (treatment.table is not None)
        assert treatment.table is None or treatment.table.shape == (8, 8)
        assert not treatment.fused  # the bundle's head cannot
        np.testing.assert_array_equal(pixels, before)
        images.add(id(treatment.image))
    assert len(images) == 1  # the loop allocates nothing


def test_undefended_frames_stay_as_they_are(bundle, frames):
    treatment = Undefended(bundle, 5).treat(frames[0])
    np.testing.assert_array_equal(treatment.image, scaled(frames[0].transpose(2, 0, 1)))
    assert (treatment.threshold, treatment.quantised, treatment.found) == (bundle.thresholds[5], False, None)


def test_quantised_frames_have_the_table_of_the_bundle(bundle, frames):
    treatment = Quantised(bundle, 5).treat(frames[0])
    np.testing.assert_array_equal(treatment.image, quantised(frames[0], bundle.table))
    np.testing.assert_array_equal(treatment.table, bundle.table)
    assert (treatment.threshold, treatment.fused, treatment.found) == (bundle.thresholds[5], False, None)
    assert 0.001 < np.abs(treatment.image - scaled(frames[0].transpose(2, 0, 1))).mean() < 0.2


def test_a_head_with_defq_inside_is_told_to_apply_it(bundle, frames):
    treatment = Quantised(bundle._replace(defq_fused=True), 5).treat(frames[0])
    np.testing.assert_array_equal(treatment.image, scaled(frames[0].transpose(2, 0, 1)))
    assert (treatment.fused, treatment.quantised) == (True, True)
    np.testing.assert_array_equal(treatment.table, bundle.table)


def test_grey_networks_have_one_plane(bundle):
    grey = bundle._replace(input_shape=(1, 16, 16))
    for kind in (Undefended, Quantised):
        assert kind(grey, 5).treat(np.full((16, 16, 1), 50, np.uint8)).image.shape == (1, 1, 16, 16)


@pytest.mark.parametrize("kind", [Undefended, Quantised, Gated])
def test_another_threshold_may_be_given(gated_bundle, clean_and_noisy, kind):
    assert kind(gated_bundle, 5, 0.123).treat(clean_and_noisy[0]).threshold == 0.123


@pytest.mark.parametrize(("rad", "lower"), [(5, 0.5), (10, 0.4)])
def test_the_gate_quantises_noisy_frames_alone_and_lowers_their_threshold(gated_bundle, clean_and_noisy, rad, lower):
    clean, noisy = clean_and_noisy
    defence, (stage,) = Gated(gated_bundle, rad), gated_bundle.gate.stages
    passed = defence.treat(clean)
    np.testing.assert_array_equal(passed.image, scaled(clean.transpose(2, 0, 1)))
    assert (passed.threshold, passed.found, passed.quantised) == (gated_bundle.thresholds[rad], False, False)
    found = defence.treat(noisy)
    np.testing.assert_array_equal(found.image, quantised(noisy, stage.table))
    assert not np.array_equal(found.image, quantised(noisy, gated_bundle.table))
    np.testing.assert_array_equal(found.table, stage.table)
    assert (found.threshold, found.found, found.quantised) == (lower, True, True)


def test_each_stage_has_its_table_and_its_threshold(gated_bundle, clean_and_noisy):
    clean, noisy = clean_and_noisy
    louder = np.clip(clean + np.random.RandomState(1).normal(0, 40, clean.shape), 0, 255).astype(np.uint8)
    (stage,) = gated_bundle.gate.stages
    weak = stage._replace(thresholds={5: 0.3}, table=np.full((8, 8), 12, np.float32))
    strong = stage._replace(level=noise_level(noisy) + 0.1)
    defence = Gated(gated_bundle._replace(gate=Gate([strong, weak])), 5)
    for pixels, expected in ((louder, strong), (noisy, weak)):
        treatment = defence.treat(pixels)
        np.testing.assert_array_equal(treatment.image, quantised(pixels, expected.table))
        assert (treatment.threshold, treatment.found) == (expected.thresholds[5], True)
    assert defence.treat(clean).found is False


def test_the_gate_leaves_the_table_inside_a_head_alone(gated_bundle, clean_and_noisy):
    """It is Q_def, not the table of a stage."""
    fused, plain = Gated(gated_bundle._replace(defq_fused=True), 5), Gated(gated_bundle, 5)
    for pixels in clean_and_noisy:
        treatment = fused.treat(pixels)
        assert not treatment.fused
        np.testing.assert_array_equal(treatment.image, plain.treat(pixels).image)


def test_a_bundle_without_a_gate_is_one_sentence(bundle, gated_bundle):
    assert Gated.missing(gated_bundle) == Quantised.missing(bundle) == Defence.missing(bundle) == ""
    with pytest.raises(UsageError, match="found --defq gated, but no gate in bundle .*; calibrate it with"):
        Gated(bundle, 5)
    assert "no gate in bundle" in Gated.missing(bundle)


def test_settings_are_told_at_the_start_of_a_run(gated_bundle):
    assert Gated(gated_bundle, 10).describe() == "noise level 1.50, threshold 0.40"
    assert Quantised(gated_bundle, 10).describe() == Undefended(gated_bundle, 10).describe() == ""
