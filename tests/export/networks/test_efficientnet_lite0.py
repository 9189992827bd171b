"""EfficientNet-Lite0: its costs, its sizes, and its graphs."""

import pytest
import torch
from torch import nn

from device.bundle.reader import load_bundle
from device.engines.onnx_runtime import OnnxRuntimeEngine
from device.errors import UsageError
from export.bundle.settings import BundleSettings
from export.bundle.writer import write_bundle
from export.calibration.cost import early_exit, relative_costs, score
from export.networks.bfloat16 import slow_depthwise_in_float32
from export.networks.efficientnet_lite0 import MBConv, efficientnet_lite0
from export.networks.halving import HalvingConv2d
from export.networks.sdn import folded
from export.networks.weights import to_tensor
from export.onnx import parts
from tests import tiny

SIZE = 64


@pytest.fixture(scope="module")
def frames():
    """Patches of colour with noise, uint8 (24, 64, 64, 3)."""
    return tiny.frames(24).repeat(4, axis=1).repeat(4, axis=2)


@pytest.fixture(scope="module")
def network(frames):
    """Random weights, scaled so that frames leave at several exits."""
    torch.manual_seed(0)
    network = efficientnet_lite0(3, (SIZE, SIZE))
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None
        network.train()(to_tensor(frames))
        for parameter in network.ics.parameters():
            parameter.mul_(1.5)
    return network.eval()


def multiply_accumulates(network):
    macs = []

    def count(layer, _inputs, output):
        macs.append(output[0].numel() * layer.weight[0].numel() if output.ndim == 4 else layer.weight.numel())

    backbone = [network.stem, *network.blocks, network.end]
    layers = [each for part in backbone for each in part.modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    for layer in layers:
        layer.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, *network.input_shape))
    return sum(macs)


@pytest.mark.parametrize(("size", "millions"), [(96, 72), (128, 127), (160, 197), (224, 385)])
def test_the_backbone_costs_what_is_published(size, millions):
    """With ImageNet's 1,000 classes at the end; 385 to 407 million is what is published for 224 pixels."""
    network = efficientnet_lite0(1000, (size, size)).eval()
    assert multiply_accumulates(network) / 1e6 == pytest.approx(millions, rel=0.02)


def test_the_relative_costs_at_96_pixels():
    expected = [0.05, 0.13, 0.20, 0.24, 0.30, 0.33, 0.37, 0.41, 0.46, 0.55, 0.63, 0.69, 0.75, 0.81, 0.87, 0.95, 1.0]
    assert [round(each, 2) for each in relative_costs(efficientnet_lite0(10, (96, 96)))] == expected


@pytest.mark.parametrize("size", [64, 96, 128, 160, 192, 224])
def test_every_size_that_it_takes(size):
    network = efficientnet_lite0(5, (size, size)).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, size, size)).shape == (17, 1, 5)


@pytest.mark.parametrize("size", [(100, 100), (32, 32), (256, 256), (96, 128), (0, 0)])
def test_other_sizes_are_one_sentence(size):
    words = f"found images of {size[1]} x {size[0]} pixels; expected square ones whose side is a multiple of 32, from 64 to 224"
    with pytest.raises(UsageError, match=words):
        efficientnet_lite0(5, size)


def test_folded_batch_norm_gives_the_same_answers(network, frames):
    with torch.no_grad():
        torch.testing.assert_close(folded(network)(to_tensor(frames)), network(to_tensor(frames)), atol=1e-4, rtol=1e-4)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded(network).blocks.modules())


@pytest.mark.parametrize("kernel", [3, 5])
def test_halving_pads_as_tensorflow_does(kernel):
    """Output pixel o is centred so that the total padding, kernel - 2, is split with the larger part behind."""
    torch.manual_seed(0)
    layer = HalvingConv2d(2, 3, kernel).eval()
    features = torch.randn(1, 2, 8, 8)
    total = max((4 - 1) * 2 + kernel - 8, 0)
    padded = nn.functional.pad(features, (total // 2, total - total // 2) * 2)
    torch.testing.assert_close(layer(features), nn.functional.conv2d(padded, layer.weight, stride=2))


def test_the_patch_for_bfloat16_keeps_the_padding():
    """It replaces the forward pass of depthwise convolutions."""
    torch.manual_seed(0)
    block, features = MBConv(4, 8, 6, 2, 5).eval(), torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        before = block(features)
        slow_depthwise_in_float32(block)
        torch.testing.assert_close(block(features), before)


def test_a_block_is_plain_convolutions_and_clips(network):
    """The convolution that halves a map becomes one Conv with uneven padding, without a Pad and the nodes that compute its arguments."""
    exported = parts.export_blocks(network)
    kinds = {node.op_type for part in exported.blocks for node in part.nodes}
    assert kinds == {"Sub", "Conv", "Clip", "Add", "Constant"}


@pytest.mark.parametrize("split", [1, 3, 16])
def test_a_bundle_decides_as_pytorch_does(network, frames, split, tmp_path, capsys):
    """write_bundle compares heads, tail, DefQ in the head and both payload forms."""
    card = tiny.card(network)
    settings = BundleSettings(split, fuse_defq=split == 3)
    bundle = load_bundle(str(write_bundle("lite", network, card, tiny.TABLE, tmp_path / "b", settings, frames)))
    assert "100.0%" in capsys.readouterr().out
    exits, labels = early_exit(score(network, frames), tiny.THRESHOLDS[5])
    assert len(set(exits.tolist())) > 1
    engine = OnnxRuntimeEngine(bundle, 1)
    for image, number, label in zip(to_tensor(frames).numpy(), exits + 1, labels, strict=True):
        result = engine.run(image[None], tiny.THRESHOLDS[5])
        assert result.exit == (number if number <= split else 0)
        if number <= split:
            assert result.label == label
