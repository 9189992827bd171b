"""Where a network is cut into head and tail, so that little has to be sent."""

import numpy as np
import pytest
import torch
from torch import nn

from export.calibration.cost import early_exit, score
from export.networks.find import network_spec
from export.networks.sdn import SDN, InternalClassifier
from export.networks.weights import to_tensor
from export.onnx import graphs, parts
from export.onnx.cuts import Traffic, cheapest_handover, cuts_that_pay, macs_per_value
from export.onnx.parity import run_split, session
from tests import tiny

THRESHOLD = 0.5


class Residual(nn.Module):
    """Needs its features twice."""

    def __init__(self) -> None:
        super().__init__()
        self.long = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
        self.short = nn.Conv2d(8, 8, 1, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.long(x) + self.short(x))


def thin(*after: nn.Module) -> nn.Sequential:
    """A block that begins with a depthwise convolution which leaves a quarter of the values."""
    return nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8), *after, nn.Conv2d(8, 8, 1), nn.ReLU())


def network(*blocks: nn.Module) -> SDN:
    """A first block on 3 x 16 x 16 images and ``blocks`` of 8 channels behind it, an internal classifier after each."""
    torch.manual_seed(1)
    ics, pixels = [], 16
    for index in range(len(blocks) + 1):
        ics.append(InternalClassifier(8, pixels, 3))
        if index < len(blocks):
            pixels = blocks[index](torch.zeros(1, 8, pixels, pixels)).shape[-1]
    end = nn.Sequential(nn.AvgPool2d(pixels), nn.Flatten(), nn.Linear(8, 3))
    made = SDN(nn.Identity(), [nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()), *blocks], ics, end, tiny.SHAPE)
    with torch.no_grad():
        for parameter in made.ics.parameters():
            parameter.mul_(4)
    return made.eval()


def before_the_cut(model):
    """Operators that read an image, up to the If, without those of the exit and the rule."""
    return [node.op_type for node in model.graph.node if node.op_type in ("Conv", "Relu", "If")]


@pytest.mark.parametrize("split", [1, 2, 3, 4])
@pytest.mark.parametrize("cuts", [None, [], [1], [2]])
def test_a_head_whose_blocks_start_before_the_cut_agrees_with_pytorch(split, cuts):
    made = network(thin(nn.ReLU()), thin(nn.SiLU()), Residual())
    exported = parts.export_blocks(made)
    cuts = cuts if cuts is None else [cut for cut in cuts if cut < split]
    handover = cheapest_handover(exported, split)
    head = graphs.nested_head(handover.exported, split, tiny.SHAPE, THRESHOLD, cuts, handover.repeat_first_block)
    exits, labels = early_exit(score(made, tiny.frames()), THRESHOLD)
    images = to_tensor(tiny.frames()).numpy()
    found = run_split(session(head), session(graphs.tail(exported, split)), images, THRESHOLD)
    assert found[0].tolist() == (exits + 1).tolist()
    assert found[1].tolist() == labels.tolist()
    assert len(set(found[0].tolist())) > 1


def test_a_block_starts_before_the_cut_where_that_leaves_less_to_hand_over():
    for blocks, expected in (
        ([thin(nn.ReLU())], ["Conv", "Relu", "Conv", "Relu", "If"]),
        ([thin(nn.SiLU())], ["Conv", "Relu", "Conv", "If"]),  # a SiLU is two nodes that read the convolution
        ([Residual()], ["Conv", "Relu", "If"]),  # its features go over the cut in any case
        ([nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())], ["Conv", "Relu", "If"]),  # as many values as before
        ([nn.Sequential(nn.Conv2d(8, 8, 5, 2, 2), nn.ReLU())], ["Conv", "Relu", "If"]),  # fewer, but dear
    ):
        handover = cheapest_handover(parts.export_blocks(network(*blocks)), 2)
        assert before_the_cut(graphs.nested_head(handover.exported, 2, tiny.SHAPE, THRESHOLD)) == expected


def test_nothing_moves_from_the_tail_into_the_head():
    exported = parts.export_blocks(network(thin(nn.ReLU()), thin(nn.ReLU())))
    moved = cheapest_handover(exported, 2).exported
    assert len(moved.blocks[1].nodes) == len(exported.blocks[1].nodes) - 2
    assert moved.blocks[2] is exported.blocks[2]
    whole = [sum(len(part.weights) for part in (*stages.blocks, *stages.exits)) for stages in (exported, moved)]
    assert whole[0] == whole[1]


def test_the_shipped_networks():
    """VGG-16 computes its cheap first block twice; MobileNet's second block begins with a strided depthwise convolution; blocks 2
    and 3 of ResNet-56 read their features twice."""
    found = {}
    for name in ("vgg16", "resnet56", "mobilenet"):
        exported = parts.export_blocks(network_spec(name).network(10))
        handover = cheapest_handover(exported, 3)
        moved = [
            int(np.sum([old is not new for old, new in zip(exported.blocks, handover.exported.blocks, strict=True)]))
        ]
        found[name] = (macs_per_value(exported), handover.repeat_first_block, *moved)
    assert found == {"vgg16": (27, True, 0), "resnet56": (315, False, 2), "mobilenet": (50, False, 1)}


def test_a_residual_block_reads_its_features_through_one_pool():
    handover = cheapest_handover(parts.export_blocks(network(Residual())), 2)
    first, *others = handover.exported.blocks[1].nodes
    assert (first.op_type, list(first.input)) == ("MaxPool", ["features0"])
    assert not any("features0" in node.input for node in others)


MACS = [10_000_000] * 5


@pytest.mark.parametrize(
    ("shares", "split", "expected"),
    [
        ([0.2] * 5, 4, [1, 2, 3]),
        ([0.5, 0, 0, 0.5, 0], 5, [1, 4]),
        ([0, 0, 0, 0, 1], 5, []),
        ([1, 0, 0, 0, 0], 3, [1]),
        ([0.3, 0.01, 0.3, 0.01, 0.38], 4, [1, 3]),
        ([0.5, 0.5, 0, 0, 0], 1, []),
    ],
)
def test_there_is_a_cut_where_enough_frames_leave(shares, split, expected):
    assert cuts_that_pay(Traffic(MACS, shares), [1_000_000] * (split - 1), split) == expected


def test_a_cut_that_hands_much_over_needs_more_frames_that_leave():
    traffic = Traffic(MACS, [0.3, 0, 0, 0, 0.7])
    assert cuts_that_pay(traffic, [1_000_000], 2) == [1]
    assert cuts_that_pay(traffic, [8_000_000], 2) == []


def test_without_known_traffic_there_is_a_cut_behind_every_exit():
    assert cheapest_handover(parts.export_blocks(network(Residual(), Residual())), 3).cuts == [1, 2]
