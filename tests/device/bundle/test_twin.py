"""The hardened twin that a bundle carries."""

import json
import os

import pytest

from device.bundle.reader import load_bundle
from device.bundle.twin import read_twin
from device.engines.onnx_runtime import OnnxRuntimeEngine
from device.errors import BundleError


def test_a_twin_is_read_as_a_bundle_of_its_own(twin_folder, bundle):
    carrier = load_bundle(twin_folder)
    twin = read_twin(carrier)
    assert twin.quantised
    assert (twin.bundle.split, twin.bundle.has_tail, twin.bundle.gate) == (5, False, None)
    assert twin.bundle.thresholds == {5: 0.5, 10: 0.4}
    assert set(twin.bundle.monitor) == {5, 10}
    assert (twin.bundle.labels, twin.bundle.input_shape) == (bundle.labels, bundle.input_shape)
    assert (carrier.split, carrier.thresholds) == (bundle.split, bundle.thresholds)


def test_its_head_decides_on_the_device(twin_folder, frames, expected):
    twin = read_twin(load_bundle(twin_folder)).bundle
    engine = OnnxRuntimeEngine(twin, 1)
    for pixels in frames[:10]:
        image = (pixels.transpose(2, 0, 1)[None] / 255).astype("float32")
        assert engine.run(image, 2.0).exit == 5
        assert engine.run(image, 2.0).activation is None


def test_bundles_without_one_have_none(bundle):
    assert read_twin(bundle) is None


def test_a_twin_with_a_part_for_a_host_is_left_alone(twin_folder):
    assert read_twin(changed(twin_folder, lambda twin: twin["graphs"].update(tail={"file": "twin_tail.onnx"}))) is None


def changed(folder, change):
    name = os.path.join(folder, "manifest.json")
    with open(name) as file:
        manifest = json.load(file)
    change(manifest["twin"])
    with open(name, "w") as file:
        json.dump(manifest, file)
    return load_bundle(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda twin: twin.clear(),
        lambda twin: twin.update(split=3),
        lambda twin: twin.update(exits=[]),
        lambda twin: twin["exits"].reverse(),
        lambda twin: twin.update(thresholds={"5": 0.5}),
        lambda twin: twin["thresholds"].update({"5": 1.5}),
        lambda twin: twin["defq"].update(before="yes"),
        lambda twin: twin["defq"].update(file="labels.txt"),
        lambda twin: twin["defq"].update(file="../table.json"),
        lambda twin: twin["graphs"].pop("head_flat"),
        lambda twin: twin.update(graphs=[1]),
    ],
)
def test_a_damaged_twin_is_one_sentence(twin_folder, change):
    with pytest.raises(BundleError, match="^(the hardened twin in|found no .* in the manifest)"):
        read_twin(changed(twin_folder, change))
