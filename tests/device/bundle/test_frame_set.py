"""The frame set of a bundle: clean and attacked frames, labels and the perturbation for all frames, read within bounds."""

import hashlib
import io
import json
import os

import numpy as np
import pytest

from device.bundle import frame_set
from device.bundle.frame_set import load_frame_set
from device.bundle.reader import load_bundle, pack_bundle
from device.errors import BundleError, UsageError

SHAPE = (16, 16, 3)  # of the tiny bundle
COUNT = 4


def arrays(**changed):
    generator = np.random.RandomState(0)
    kept = {
        "clean": generator.randint(0, 256, (COUNT, *SHAPE)).astype(np.uint8),
        "attacked": generator.randint(0, 256, (COUNT, *SHAPE)).astype(np.uint8),
        "labels": np.array([0, 2, 1, 0]),
        "universal": generator.randint(-8, 9, SHAPE).astype(np.int16),
    }
    kept.update(changed)
    return {name: array for name, array in kept.items() if array is not None}


def packed(content):
    stream = io.BytesIO()
    np.savez_compressed(stream, **content)
    return stream.getvalue()


@pytest.fixture
def with_frames(bundle_folder):
    """Put bytes into the bundle as its frame set, with their hash, and load the bundle."""

    def put(content, **facts):
        with open(os.path.join(bundle_folder, "frames.npz"), "wb") as file:
            file.write(content)
        with open(os.path.join(bundle_folder, "manifest.json")) as file:
            manifest = json.load(file)
        manifest["frames"] = dict({"file": "frames.npz", "count": COUNT, "universal_t3_er": 0.5}, **facts)
        listed = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        manifest["files"][str(manifest["frames"]["file"])] = listed
        with open(os.path.join(bundle_folder, "manifest.json"), "w") as file:
            json.dump(manifest, file)
        return load_bundle(bundle_folder)

    return put


def test_what_is_in_the_bundle_comes_out(with_frames, bundle_folder, tmp_path):
    wanted = arrays()
    bundle = with_frames(packed(wanted))
    archive = str(tmp_path / "bundle.tar.gz")
    pack_bundle(bundle_folder, archive)
    for each in (bundle, load_bundle(archive)):
        found = load_frame_set(each)
        for name, array in wanted.items():
            np.testing.assert_array_equal(getattr(found, name), array)
        assert found.universal_t3_er == 0.5


def test_a_perturbation_for_all_frames_and_its_strength_may_be_absent(with_frames):
    found = load_frame_set(with_frames(packed(arrays(universal=None)), universal_t3_er=None))
    assert found.universal is None
    assert found.universal_t3_er is None


def test_a_bundle_without_frames_says_how_to_get_them(bundle):
    with pytest.raises(
        UsageError,
        match=r"found no frame set in bundle .*defq bundle --model tiny --frames 300 --out build/tiny$",
    ):
        load_frame_set(bundle)


BAD = {
    "one kind of frames": {"attacked": None},
    "no labels": {"labels": None},
    "floats": {"clean": np.zeros((COUNT, *SHAPE), np.float32)},
    "another size": {"attacked": np.zeros((COUNT, 32, 32, 3), np.uint8)},
    "channels first": {"clean": np.zeros((COUNT, 3, 16, 16), np.uint8)},
    "fewer twins": {"attacked": np.zeros((COUNT - 1, *SHAPE), np.uint8)},
    "fewer labels": {"labels": np.array([0, 1])},
    "one label": {"labels": np.array(1)},
    "labels of no class": {"labels": np.array([0, 1, 2, 3])},
    "negative labels": {"labels": np.array([0, 1, -1, 2])},
    "labels in floats": {"labels": np.array([0.0, 1.0, 2.0, 0.0])},
    "no frames": {
        "clean": np.zeros((0, *SHAPE), np.uint8),
        "attacked": np.zeros((0, *SHAPE), np.uint8),
        "labels": np.zeros(0, np.int64),
    },
    "pickled objects": {"labels": np.array([{}, {}, {}, {}], dtype=object)},
    "a perturbation in floats": {"universal": np.zeros(SHAPE, np.float32)},
    "a perturbation of another size": {"universal": np.zeros((32, 32, 3), np.int16)},
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_other_arrays_are_one_sentence(name, with_frames):
    with pytest.raises(
        BundleError, match=r"found no usable frame set in bundle .*expected clean and attacked frames"
    ) as caught:
        load_frame_set(with_frames(packed(arrays(**BAD[name]))))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 1, 100, 2000, -1])
def test_a_file_that_was_cut_off_before_it_got_its_hash_is_one_sentence(kept, with_frames):
    with pytest.raises(BundleError, match=r"found no usable frame set in bundle .*export it again"):
        load_frame_set(with_frames(packed(arrays())[:kept]))


def test_a_file_that_was_changed_since_the_export_is_named(with_frames, bundle_folder):
    bundle = with_frames(packed(arrays()))
    with open(os.path.join(bundle_folder, "frames.npz"), "r+b") as file:
        file.truncate(1000)
    with pytest.raises(
        BundleError, match=r"found 1000 bytes with SHA-256 .* in frames.npz of bundle .*copy the whole bundle"
    ):
        load_frame_set(bundle)
    os.remove(os.path.join(bundle_folder, "frames.npz"))
    with pytest.raises(BundleError, match=r"could not read .*frames.npz"):
        load_frame_set(bundle)


def test_small_files_of_large_arrays_are_refused_unread(with_frames, monkeypatch):
    bundle = with_frames(packed(arrays(clean=np.zeros((COUNT, *SHAPE), np.uint8))))
    monkeypatch.setattr(frame_set, "MAX_BYTES", 5000)
    with pytest.raises(BundleError, match=r"bytes unpacked; expected at most 5000"):
        load_frame_set(bundle)


@pytest.mark.parametrize("facts", [{"universal_t3_er": "much"}, {"universal_t3_er": []}])
def test_a_strength_that_is_no_number_is_one_sentence(facts, with_frames):
    with pytest.raises(BundleError, match="found no usable frame set"):
        load_frame_set(with_frames(packed(arrays()), **facts))


@pytest.mark.parametrize("file", ["../frames.npz", "other.npz/.."])
def test_a_file_outside_the_bundle_is_refused(file, with_frames):
    with pytest.raises(BundleError, match="found no "):
        load_frame_set(with_frames(packed(arrays()), file=file))


def test_damage_inside_is_one_sentence(with_frames):
    content = bytearray(packed(arrays()))
    for place in range(200, len(content) - 600, 97):
        content[place] ^= 0x55
    with pytest.raises(BundleError, match="found no usable frame set"):
        load_frame_set(with_frames(bytes(content)))
