"""Networks at the size that is asked for, and what a model says of itself."""

import json

import pytest
import torch

from device.errors import DataError, UsageError
from export.data.shipped import shipped_names
from export.networks.find import network_spec
from export.networks.loading import load_network, planned
from export.networks.model_files import beside, shipped
from export.networks.model_folder import write_description
from export.networks.weights import metadata, save_network

PLANNED = [
    ("mobilenet", 64),
    ("mobilenet", 96),
    ("mobilenet", 224),
    ("resnet56", 64),
    ("resnet56", 144),
    ("efficientnet_lite0", 128),
]


@pytest.mark.parametrize(("model", "size"), PLANNED)
def test_photographs_halve_in_the_stem(model, size):
    network = network_spec(model).build(3, (size, size)).eval()
    with torch.no_grad():
        images = torch.zeros(1, 3, size, size)
        assert network(images).shape == (network_spec(model).exits, 1, 3)
        assert network.stem(images).shape[-1] == size // {"resnet56": 4}.get(model, 2)


@pytest.mark.parametrize("model", ["vgg16", "resnet56", "mobilenet"])
def test_networks_of_the_paper_keep_their_size_and_their_weights(model):
    description = shipped(model).description
    assert description.input_size == (32, 32)
    assert description.fit == "stretch"
    assert description.family == model
    assert len(description.classes) == 10
    assert len(description.exits) + 1 == network_spec(model).exits
    network = load_network(shipped(model))
    assert network.input_shape == (3, 32, 32)
    assert network.stem(torch.zeros(1, 3, 32, 32)).shape[-1] == 32


def test_every_shipped_model_describes_itself():
    for name in shipped_names():
        description = shipped(name).description
        assert load_network(shipped(name)).input_shape[1:] == description.input_size


@pytest.mark.parametrize(
    ("model", "size"),
    [("mobilenet", 72), ("resnet56", 100), ("resnet56", 66), ("vgg16", 100), ("efficientnet_lite0", 100)],
)
def test_a_size_that_the_network_cannot_take_is_one_sentence(model, size):
    with pytest.raises(
        UsageError, match=f"^found images of {size} x {size} pixels; expected square ones whose side is a multiple of "
    ):
        planned(model, (size, size), "crop")


@pytest.fixture
def files(tmp_path):
    """A model folder of MobileNet for 64 x 64 pixels and three classes."""
    files = beside("mobilenet", tmp_path / "m" / "weights.safetensors")
    network = network_spec("mobilenet").build(3, (64, 64))
    save_network(network, files.weights, classes=["a", "b", "c"])
    write_description(planned("mobilenet", (64, 64), "crop"), files.described_in)
    return files


def again(files):
    return beside(files.model, files.weights)


def test_weights_and_description_name_the_size(files):
    assert metadata(files.weights)["input_size"] == "64x64"
    assert load_network(files).input_shape == (3, 64, 64)
    files.described_in.unlink()
    assert again(files).description.input_size == (64, 64)
    assert again(files).description.classes == ("a", "b", "c")
    assert load_network(again(files)).input_shape == (3, 64, 64)


def test_weights_of_another_size_are_one_sentence(files):
    write_description(planned("mobilenet", (96, 96), "crop"), files.described_in)
    with pytest.raises(
        DataError, match="found weights for images of 64 x 64 pixels in .*; expected 96 x 96, as .*model.json says"
    ):
        load_network(again(files))


def test_weights_of_other_classes_are_one_sentence(files):
    content = json.loads(files.described_in.read_text())
    files.described_in.write_text(json.dumps({**content, "classes": ["a", "b"]}))
    with pytest.raises(DataError, match=r"found weights for 3 classes in .*; expected 2 \(a, b\)"):
        load_network(again(files))


def test_weights_of_another_size_that_do_not_say_so_are_one_sentence(tmp_path):
    """Weights of earlier releases do not name their size. Here the shapes of the classifiers behind small maps tell it."""
    file = tmp_path / "w.safetensors"
    network = network_spec("mobilenet").build(3, (64, 64))
    network.input_shape = (3, 32, 32)
    save_network(network_spec("vgg16").build(3, (64, 64)), tmp_path / "v.safetensors")
    save_network(network, file)
    assert load_network(beside("mobilenet", file)).input_shape == (3, 32, 32)  # the shapes are the same
    network = network_spec("efficientnet_lite0").build(3, (64, 64))
    network.input_shape = (3, 96, 96)
    save_network(network, file)
    with pytest.raises(DataError, match="of another shape: ics.11.fc.weight.* for images of 96 x 96 pixels"):
        load_network(beside("efficientnet_lite0", file))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"format_version": 2},
            "found format 'defq-model' in version 2 in .*; expected 'defq-model' in version 1; use the release",
        ),
        ({"format": "other"}, "found format 'other'"),
        ({"exits": []}, r"found \[\] under exits; expected the numbers of blocks"),
        ({"exits": [2, 1]}, r"found \[2, 1\] under exits"),
        ({"exits": [True]}, r"found \[True\] under exits"),
        (
            {"input": {"height": 64, "width": 64, "fit": "tile"}},
            "found 'tile' under input.fit; expected crop, letterbox or stretch",
        ),
        ({"family": "resnet56"}, "found the network resnet56 in .*; expected mobilenet"),
    ],
)
def test_a_description_that_cannot_be_used_is_one_sentence(files, change, words):
    content = json.loads(files.described_in.read_text())
    files.described_in.write_text(json.dumps({**content, **change}))
    with pytest.raises(DataError, match=words):
        load_network(again(files))


def test_folders_that_were_written_before_exits_could_be_left_out_have_all(files):
    content = json.loads(files.described_in.read_text())
    del content["exits"]
    files.described_in.write_text(json.dumps(content))
    assert again(files).description.exits == tuple(range(1, 14))
