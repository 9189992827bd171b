"""The tail in stages answers what the flat tail answers, whoever leaves where."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from device.bundle.reader import load_bundle
from export.bundle.settings import BundleSettings
from export.bundle.writer import write_bundle
from export.calibration.cost import early_exit, relative_costs, score
from export.networks.sdn import SDN, InternalClassifier
from export.networks.weights import to_tensor
from export.onnx import graphs, parts
from export.onnx.parity import session
from host.app.staged_tail import StagedTail, exits_by_stage
from host.app.tail import FRAMES_SEEN, Tail, work_to_exits
from tests import tiny

SHAPE = (3, 8, 8)
FRAMES = 50


@pytest.fixture(scope="module")
def network():
    """A network with 8 exits and the final classifier, whose frames leave at all of them."""
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()) for _ in range(8)]
    ics = [InternalClassifier(3, 8, 3) for _ in blocks]
    deep = SDN(nn.Identity(), blocks, ics, nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), SHAPE)
    with torch.no_grad():
        for layer in deep.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None
        deep.train()(torch.rand(60, *SHAPE))
        for parameter in deep.ics.parameters():
            parameter.mul_(3)
    return deep.eval()


@pytest.fixture(scope="module")
def exported(network):
    return parts.export_blocks(network)


def both(exported, split):
    """The flat tail's session and its stages."""
    model = graphs.tail(exported, split)
    return session(model), StagedTail(model.SerializeToString(), lambda stage: session(onnx.load_from_string(stage)))


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.8, 0.99, 1.01, "mixed"])
@pytest.mark.parametrize("split", [1, 2, 5, 8])
def test_answers_are_those_of_the_flat_tail(exported, split, threshold):
    flat, stages = both(exported, split)
    generator = np.random.default_rng(split)
    activation = generator.random((FRAMES, *SHAPE), np.float32)
    limits = np.full((FRAMES, 1), 0 if threshold == "mixed" else threshold, np.float32)
    if threshold == "mixed":
        limits = generator.uniform(0.7, 1.01, (FRAMES, 1)).astype(np.float32)
    label, confidence, exit_ = flat.run(
        ["label", "confidence", "exit"], {"activation": activation, "threshold": limits}
    )
    for batch in (1, 7, FRAMES):
        for start in range(0, FRAMES, batch):
            rows = slice(start, start + batch)
            found = stages.run(activation[rows], limits[rows])
            assert [each.dtype for each in found] == [np.int64, np.float32, np.int64]
            assert found[0].tolist() == label[rows].tolist()
            np.testing.assert_allclose(found[1], confidence[rows], atol=1e-6)
            assert found[2].tolist() == exit_[rows].tolist()
    if threshold == "mixed" and split == 1:
        assert len(set(exit_)) > 5  # frames did leave in every stage


def test_later_stages_see_only_the_frames_that_stay(exported, monkeypatch):
    seen = []

    def watched(stage):
        real = session(onnx.load_from_string(stage))

        class Session:
            def run(self, names, feed):
                seen.extend(len(array) for array in feed.values())
                return real.run(names, feed)

        return Session()

    stages = StagedTail(graphs.tail(exported, 1).SerializeToString(), watched)
    activation = np.random.default_rng(1).random((FRAMES, *SHAPE), np.float32)
    exit_ = stages.run(activation, np.full((FRAMES, 1), 0.8, np.float32))[2]
    assert stages.ends == [3, 5, 7, 9]
    left_by = [int((exit_ <= end).sum()) for end in (0, 3, 5, 7)]
    assert seen == [FRAMES - left for left in left_by]
    assert len(set(seen)) > 2
    seen.clear()
    stages.run(activation, np.zeros((FRAMES, 1), np.float32))
    assert seen == [FRAMES]  # nobody is left after the first


def test_values_that_overflow_leave_as_in_the_flat_tail(exported):
    flat, stages = both(exported, 2)
    activation = np.full((2, *SHAPE), 3e38, np.float32)
    limits = np.full((2, 1), 0.5, np.float32)
    exit_ = flat.run(["exit"], {"activation": activation, "threshold": limits})[0]
    assert stages.run(activation, limits)[2].tolist() == exit_.tolist()


@pytest.mark.parametrize(
    ("exits", "expected"),
    [
        ([13], [[13]]),
        ([12, 13], [[12, 13]]),
        ([3, 4, 5], [[3, 4, 5]]),
        ([3, 4, 5, 6], [[3, 4], [5, 6]]),
        ([3, 4, 5, 6, 7], [[3, 4], [5, 6, 7]]),
    ],
)
def test_two_exits_a_stage(exits, expected):
    assert exits_by_stage(exits) == expected


@pytest.fixture(scope="module")
def bundle(network, tmp_path_factory):
    card = replace(tiny.card(tiny.network()), relative_costs=tuple(relative_costs(network)))
    folder = tmp_path_factory.mktemp("stages") / "bundle"
    frames = (np.random.default_rng(3).random((60, 8, 8, 3)) * 255).astype(np.uint8)
    return load_bundle(str(write_bundle("deep", network, card, tiny.TABLE, folder, BundleSettings(split=1), frames)))


def test_a_bundles_tail_equals_pytorch_both_ways(bundle, network):
    frames = (np.random.default_rng(4).random((FRAMES, 8, 8, 3)) * 255).astype(np.uint8)
    scores = score(network, frames)
    exits, labels = early_exit(scores, 0.62)
    head = session(onnx.load_from_string(bundle.read("head_flat")))
    images = to_tensor(frames).numpy()
    activation = head.run(["activation"], {"image": images, "threshold": np.zeros(1, np.float32)})[0]
    sent = exits > 0
    assert sent.sum() > 10
    for tail in (Tail(bundle, 1), Tail(bundle, 1, stages=False)):
        answers = tail.run(activation[sent], np.full((int(sent.sum()), 1), 0.62, np.float32))
        assert answers.exit.tolist() == (exits[sent] + 1).tolist()
        assert answers.label.tolist() == labels[sent].tolist()
        np.testing.assert_allclose(answers.confidence, scores.confidences[exits, np.arange(FRAMES)][sent], atol=1e-5)


def test_the_tail_runs_flat_while_nobody_leaves_and_in_stages_again_after(bundle):
    tail = Tail(bundle, 1)
    activation = np.random.default_rng(5).random((60, *SHAPE), np.float32)

    def staged(threshold, batches, size=8):
        """How many of these batches ran in stages."""
        count = 0
        for _ in range(batches):
            count += tail.runs_in_stages
            tail.run(activation[:size], np.full((size, 1), threshold, np.float32))
        return count

    assert staged(0.0, 4) == 4
    assert 0 < staged(1.01, 40) < 2 * FRAMES_SEEN / 8  # under attack it turns once it has seen enough
    assert staged(1.01, 10) == 0
    assert staged(0.0, 40) > 20
    assert staged(0.0, 4) == 4
    assert staged(1.01, 2, 60) == 1  # a large batch tells at once


def test_both_ways_of_a_tail_that_changes_give_the_same_answers(bundle):
    tail, flat = Tail(bundle, 1), Tail(bundle, 1, stages=False)
    activation = np.random.default_rng(6).random((60, *SHAPE), np.float32)
    for threshold in (0.8, 1.01, 1.01, 0.8):
        limits = np.full((60, 1), threshold, np.float32)
        assert tail.run(activation, limits).exit.tolist() == flat.run(activation, limits).exit.tolist()
    assert not flat.runs_in_stages


def test_work_of_an_exit_is_the_share_of_the_tail_to_the_end_of_its_stage(bundle):
    costs = bundle.relative_costs
    ends = [(costs[index] - costs[0]) / (1 - costs[0]) for index in (2, 4, 6, 8)]
    work = work_to_exits(bundle, Tail(bundle, 1).stage_ends)
    assert list(work) == [*range(2, 10)]
    np.testing.assert_allclose(list(work.values()), np.repeat(ends, 2))
    assert ends[-1] == 1


def test_a_short_tail_is_not_cut():
    bundle = load_bundle(str(tiny.DATA / "tiny_bundle"))
    assert Tail(bundle, 1).stage_ends == []
