"""The ceiling that a bundle gives to cameras: how its share is found, and what the manifest says of it."""

import numpy as np
import pytest

from device.bundle.reader import load_bundle
from device.defence.ceiling import CeilingSettings
from export.bundle.ceiling import MOST_LOST, PASSES, Stays, lost_by, smallest_share
from export.bundle.settings import BundleSettings
from export.bundle.writer import write_bundle
from tests import tiny


def stays(share, count=2000, threshold=0.77):
    """Images of which a share stays, with confidences spread evenly from 0.3 to the threshold."""
    generator = np.random.default_rng(1)
    stay = generator.random(count) < share
    confidences = np.where(stay, generator.uniform(0.3, threshold, count), 1.0)
    return Stays(stay, confidences, np.full(count, threshold))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_the_smallest_share_that_costs_clean_frames_little(share):
    images = stays(share)
    found = smallest_share(images, 0.77, 10)
    assert found["stays"] == pytest.approx(images.stays.mean(), abs=1e-4)
    assert found["lost"] <= MOST_LOST < found["lost_in_scenes"]
    assert found["share"] >= found["stays"] + 2 * (found["stays"] * (1 - found["stays"]) / 2000) ** 0.5
    less = CeilingSettings({"": found["share"] - 0.02})
    assert lost_by(images, less, 0.77, 10) > MOST_LOST


def test_a_few_images_ask_for_a_wide_margin():
    none = stays(0.0, 60)
    found = smallest_share(none, 0.77, 10)
    assert (found["stays"], found["lost"]) == (0.0, 0.0)
    assert found["share"] == 0.08


def test_a_network_of_which_nearly_all_frames_stay_gets_no_ceiling():
    assert smallest_share(stays(0.99), 0.77, 10) is None


def test_what_is_lost_is_counted_over_all_frames():
    """Nothing is sent with next to no share: all frames that stay are lost."""
    images = stays(0.25, 400)
    assert lost_by(images, CeilingSettings({"": 1e-6}, 1.0), 0.77, 10) == pytest.approx(
        images.stays.mean(), abs=2 / 400 / PASSES
    )


def bundle_of(folder, settings=BundleSettings(split=2), images=True, table=tiny.TABLE):  # noqa: B008 (immutable)
    network = tiny.network()
    calibration = tiny.calibration(network) if images else None
    written = write_bundle(
        "tiny", network, tiny.card(network), table, folder, settings, tiny.frames(), calibration=calibration
    )
    return load_bundle(str(written))


def test_a_bundle_carries_what_its_own_head_was_measured_to_need(tmp_path, capsys):
    bundle = bundle_of(tmp_path / "b")
    about = bundle.manifest["ceiling"]
    assert about["images"] == 60
    modes = about["modes"][str(bundle.default_rad)]
    assert modes["auto"] == modes["twin"] == modes["off"]
    assert set(modes) <= {"off", "on", "auto", "twin"}  # it has no gate
    for facts in modes.values():
        assert facts["stays"] < facts["share"] < 1
        assert facts["lost"] <= MOST_LOST
    assert bundle.ceiling[bundle.default_rad].shares == {mode: facts["share"] for mode, facts in modes.items()}
    assert f"off {modes['off']['share']:.2f}" in capsys.readouterr().out


def test_without_calibration_images_there_is_no_ceiling(tmp_path, capsys):
    bundle = bundle_of(tmp_path / "b", images=False)
    assert "ceiling" not in bundle.manifest
    assert bundle.ceiling == {}
    assert "no ceiling" in capsys.readouterr().out


def test_a_bundle_without_a_tail_has_none(tmp_path):
    assert "ceiling" not in bundle_of(tmp_path / "b", BundleSettings(split=None)).manifest
