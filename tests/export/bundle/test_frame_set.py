"""The frame set that a bundle carries: how it is made, and what is refused before the attack begins."""

import os
import re

import cv2
import numpy as np
import pytest

from device.bundle.frame_set import FrameSet, load_frame_set
from device.bundle.reader import load_bundle
from device.errors import DataError
from export.attacks.linf import DeepSlothLinf
from export.attacks.universal import UniversalLinf
from export.bundle import frame_set
from export.bundle.frame_set import MadeFrames, make_frames, pack_frames
from export.bundle.settings import BundleSettings
from export.calibration.cost import early_exit, score
from export.commands import cli
from export.data.cifar10 import CLASSES as CIFAR10_CLASSES
from export.data.images import Images
from tests import tiny

THRESHOLD = 0.62
LEVELS = 8  # of eps 8/256


@pytest.fixture(autouse=True)
def quick_attacks(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFQ_ATTACKS", str(tmp_path / "attacks"))
    monkeypatch.setattr(frame_set, "_LINF", DeepSlothLinf(iterations=5))
    monkeypatch.setattr(frame_set, "_UNIVERSAL", UniversalLinf(epochs=1))


@pytest.fixture
def network():
    return tiny.network()


@pytest.fixture
def images(network):
    pixels = tiny.frames(30)
    return Images(pixels, score(network, pixels).classes[-1])


@pytest.fixture
def made(network, images):
    return make_frames(network, images.take(12), images, THRESHOLD)


def write(network, folder, made, **settings):
    about = (tiny.card(network), tiny.TABLE, folder, BundleSettings(split=2, **settings), tiny.frames(), "frames", made)
    return load_bundle(str(tiny.write_bundle("tiny", network, *about)))


@pytest.mark.parametrize("archive", [False, True])
def test_what_was_made_comes_back_on_the_device(archive, network, made, images, tmp_path):
    bundle = write(network, tmp_path / "bundle", made, archive=archive)
    if archive:
        bundle = load_bundle(str(tmp_path / "bundle.tar.gz"))
    found = load_frame_set(bundle)
    np.testing.assert_array_equal(found.clean, images.pixels[:12])
    np.testing.assert_array_equal(found.labels, images.labels[:12])
    np.testing.assert_array_equal(found.attacked, made.frames.attacked)
    np.testing.assert_array_equal(found.universal, made.frames.universal)
    change = found.attacked.astype(int) - found.clean
    assert (np.abs(change).max(axis=(1, 2, 3)) > 0).all()
    assert np.abs(change).max() <= LEVELS
    assert 0 < np.abs(found.universal).max() <= LEVELS
    about = bundle.manifest["frames"]
    assert about["count"] == 12
    assert about["attack"]["iterations"] == 5
    assert about["universal"]["images"] == 30


def test_the_strength_is_that_of_the_frames_in_the_set(network, made):
    frames = made.frames
    pushed = np.clip(frames.clean.astype(int) + frames.universal, 0, 255).astype(np.uint8)
    kinds = {"clean": frames.clean, "attacked": frames.attacked, "universal": pushed}
    for name, pixels in kinds.items():
        exits, _ = early_exit(score(network, pixels), THRESHOLD)
        assert made.about["t3_er"][name] == pytest.approx(np.mean(exits < 3), abs=1e-4), name
    assert frames.universal_t3_er == made.about["t3_er"]["universal"]
    assert made.about["t3_er"]["attacked"] < made.about["t3_er"]["clean"]


def test_the_same_network_finds_what_was_made_before_and_another_does_not(network, made, images, monkeypatch):
    def must_not_run(*_arguments, **_options):
        raise AssertionError

    other = tiny.network()
    other.end[2].bias.data += 1
    changed = make_frames(other, images.take(12), images, THRESHOLD)
    for module in ("base", "universal"):
        monkeypatch.setattr(f"export.attacks.{module}.slowdown_gradient", must_not_run)
    again = make_frames(tiny.network(), images.take(12), images, THRESHOLD)
    np.testing.assert_array_equal(again.frames.attacked, made.frames.attacked)
    assert (changed.frames.attacked != made.frames.attacked).any()  # another seed at the least


def test_a_bundle_without_a_frame_set_says_nothing_of_one(network, tmp_path):
    bundle = write(network, tmp_path / "bundle", None)
    assert "frames" not in bundle.manifest
    assert "frames.npz" not in bundle.manifest["files"]


def test_images_of_another_size_are_refused_before_the_attack(network, images, monkeypatch):
    monkeypatch.setattr(frame_set, "craft", None)
    large = Images(np.zeros((3, 32, 32, 3), np.uint8), np.zeros(3, np.int64))
    for pair in ((large, images), (images, large), (images.take(0), images)):
        with pytest.raises(DataError, match=r"found images uint8 .*expected uint8 \(n, 16, 16, 3\).*resize them"):
            make_frames(network, *pair, THRESHOLD)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"attacked": np.zeros((11, 16, 16, 3), np.uint8)}, "found 12 clean and 11 attacked frames"),
        ({"attacked": np.zeros((12, 16, 16, 3), np.float32)}, "found images float32"),
        ({"labels": np.zeros(11, np.int64)}, r"found 12 clean and 12 attacked frames and labels \(11,\)"),
        ({"labels": np.full(12, 3)}, "found labels int64 from 3 to 3; expected whole numbers from 0 to 2"),
        ({"labels": np.zeros(12)}, "found labels float64"),
        ({"universal": np.zeros((16, 16, 3))}, "found a perturbation float64"),
        ({"universal": np.zeros((8, 8, 3), np.int16)}, "found a perturbation int16"),
    ],
)
def test_a_set_of_ones_own_is_checked_before_a_bundle_is_written(changed, message, network, made, tmp_path):
    own = MadeFrames(made.frames._replace(**changed), {})
    with pytest.raises(DataError, match=message):
        write(network, tmp_path / "bundle", own)
    assert not (tmp_path / "bundle").exists()


def test_a_set_of_ones_own_needs_no_perturbation_for_all(network, images, tmp_path):
    own = FrameSet(images.pixels, images.pixels, images.labels, None, None)
    found = load_frame_set(write(network, tmp_path / "bundle", MadeFrames(own, {"by": "hand"})))
    assert found.universal is None
    assert found.universal_t3_er is None


def test_more_than_a_device_would_read_is_refused(made, monkeypatch):
    monkeypatch.setattr(frame_set, "MAX_BYTES", 10_000)
    with pytest.raises(DataError, match="found 12 frames of each kind.*take fewer"):
        pack_frames(made, tiny.SHAPE, 3)


def test_without_data_the_command_says_one_sentence_and_writes_nothing(no_data, tmp_path, capsys):
    out = tmp_path / "bundle"
    assert cli.main(["bundle", "--model", "mobilenet", "--frames", "3", "--out", str(out)]) == 3
    error = capsys.readouterr().err
    assert error.startswith("error: could not download CIFAR-10")
    assert "--data DIR or CIFAR10_DIR" in error
    assert error.count("\n") == 1
    assert not out.exists()
    assert cli.main(["bundle", "--model", "mobilenet", "--frames", "0", "--out", str(out)]) == 2
    assert "found --frames 0; expected a whole number of at least 1" in capsys.readouterr().err


def class_folders(folder, classes):
    """Ten photographs a class, 48 x 40: one or more of each are for the test."""
    generator = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(10):
            coarse = generator.integers(0, 256, (6, 5, 3)).astype(np.uint8)
            cv2.imwrite(str(folder / name / f"{number}.png"), cv2.resize(coarse, (48, 40)))
    return str(folder)


def test_images_of_class_folders_are_resized_to_the_network(no_data, tmp_path, capsys):
    data, out = class_folders(tmp_path / "images", CIFAR10_CLASSES), tmp_path / "bundle"
    assert cli.main(["bundle", "--model", "mobilenet", "--frames", "300", "--data", data, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    count = int(re.search(r"frame set: (\d+) of \1 test images", said)[1])
    assert "T3-ER without a defence: clean" in said
    bundle = load_bundle(str(out))
    found = load_frame_set(bundle)
    assert found.clean.shape == (count, 32, 32, 3)
    assert found.labels[:10].tolist() == list(range(10))
    assert bundle.manifest["frames"]["rad"] == 5
    assert not any(str(value).startswith(os.sep) for value in bundle.manifest["frames"].values())  # no path of ours


def test_images_of_other_classes_are_refused(no_data, tmp_path, capsys):
    data = class_folders(tmp_path / "images", ("bolt", "nut"))
    options = ["--frames", "3", "--data", data, "--out", str(tmp_path / "bundle")]
    assert cli.main(["bundle", "--model", "mobilenet", *options]) == 3
    assert "found 2 classes (bolt, nut) in the data; expected the 10 classes (airplane, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"), [([], "found a file at"), (["--split", "99"], "found --split 99; expected 1 to 13")]
)
def test_what_stands_against_a_bundle_is_said_before_the_attack(option, message, no_data, tmp_path, capsys):
    (tmp_path / "bundle").write_text("a file")
    options = ["--frames", "3", "--out", str(tmp_path / "bundle"), *option]
    assert cli.main(["bundle", "--model", "mobilenet", *options]) == 2
    assert message in capsys.readouterr().err
