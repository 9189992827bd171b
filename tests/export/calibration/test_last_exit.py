"""The last exit: how it is chosen, what a network that ends there answers, and what an attacker who knows it can do."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from device.bundle.reader import load_bundle
from device.defence.monitor import ExitShares
from device.errors import DataError, UsageError
from export.bundle.settings import BundleSettings
from export.bundle.writer import write_bundle
from export.calibration.attacked_images import attacked
from export.calibration.cost import ExitScores, early_exit, operating_point, relative_costs, score
from export.calibration.gate_file import GateFile, GateStage
from export.calibration.last_exit import earliest_last_exit, measured_last_exits, up_to
from export.calibration.monitor_file import MonitorFile
from export.calibration.shortened import shortened
from export.data.images import Dataset, Images
from export.defences import defence_named
from export.evaluation import conditions
from export.evaluation.conditions import evaluate
from export.networks.weights import to_tensor
from export.onnx.parity import session
from host.app.tail import Tail
from tests import tiny

THRESHOLD = 0.62
THRESHOLDS = {5: THRESHOLD, 10: 0.55}


@pytest.fixture
def network():
    return tiny.network()


@pytest.fixture
def scores(network):
    return score(network, tiny.frames(60))


@pytest.fixture
def card(network, scores):
    """A card as defq calibrate writes it, with a last exit that the test has set."""
    labels = scores.classes[3]
    found = measured_last_exits(scores, labels, relative_costs(network), THRESHOLDS)
    accuracies = (0.5, 0.6, 0.7, 1.0, 0.9)
    return replace(
        tiny.card(network),
        accuracy_calibration=accuracies,
        accuracy_test=accuracies,
        shares={5: (0.4, 0.2, 0.1, 0.1, 0.2), 10: (0.5, 0.2, 0.1, 0.1, 0.1)},
        last_exits={rad: replace(each, exit=4) for rad, each in found.items()},
    )


def scores_right_at(*right, images=1000):
    """Scores with one number for each exit: how many images it gets right. Only the first classifier is ever sure."""
    classes = np.stack([np.arange(images) >= count for count in right]).astype(np.int64)
    return ExitScores(np.full((len(right), images), 0.5), classes), np.zeros(images, np.int64)


@pytest.mark.parametrize(
    ("right", "last"),
    [
        ((500, 800, 900, 900), 3),  # as good as the final classifier
        ((500, 800, 889, 900), 3),  # as much worse as is allowed
        ((500, 800, 888, 900), 4),  # one image more
        ((500, 910, 905, 900), 2),  # better: the network overthinks
        ((900, 900, 900, 900), 2),  # one exit is left to the device
    ],
)
def test_the_first_exit_that_costs_next_to_nothing(right, last):
    scores, labels = scores_right_at(*right)
    assert earliest_last_exit(scores, labels, 0.9, 5) == last
    assert earliest_last_exit(scores, labels, 0.4, 5) == 2  # all leave at the first exit in any case


def test_each_rad_has_a_bound_of_its_own():
    scores, labels = scores_right_at(500, 800, 890, 900)
    assert [earliest_last_exit(scores, labels, 0.9, rad) for rad in (5, 10)] == [3, 4]


def test_what_the_last_exit_gives_is_measured(scores):
    labels, costs = scores.classes[3], relative_costs(tiny.network())
    measured = measured_last_exits(scores, labels, costs, THRESHOLDS)
    assert set(measured) == set(THRESHOLDS)
    for rad, threshold in THRESHOLDS.items():
        found = measured[rad]
        last = found.exit
        assert last == earliest_last_exit(scores, labels, threshold, rad)
        for other, value in THRESHOLDS.items():
            point = operating_point(up_to(scores, last), labels, costs[:last], value)
            assert found.thresholds[other].accuracy == pytest.approx(point.accuracy, abs=1e-4)
            assert found.thresholds[other].threshold == value
        assert found.relative_cost == pytest.approx(costs[last - 1], abs=1e-4)
        # where all leave at one exit the curve rises between the one before it and that one, and is 1 from there on
        below = costs[last - 2] / 2 + costs[last - 1] / 2
        assert found.least_efcy == pytest.approx(1 - below, abs=1e-4)
        assert all(found.least_efcy <= each.efcy for each in found.thresholds.values())


def test_a_shortened_network_computes_the_same_and_costs_the_same(network, card):
    images = to_tensor(tiny.frames(8))
    shares = ExitShares(*[np.array([0.5, 0.2, 0.1, 0.1, 0.1])] * 4)
    table = replace(tiny.TABLE, monitor=MonitorFile({5: shares}, images={"clean": 7}))
    short, short_card, short_table = shortened(network, card, table, 5)
    with torch.no_grad():
        assert torch.equal(short(images), network(images)[:4])
    assert short_card.relative_costs == card.relative_costs[:4]
    assert short_card.accuracy_test == (0.5, 0.6, 0.7, 1.0)
    assert short_card.shares[5] == (0.4, 0.2, 0.1, 0.3)
    assert short_card.thresholds == card.last_exits[5].thresholds
    assert short_table.monitor.images == {"clean": 7}
    for each in short_table.monitor.shares[5]:
        assert each.tolist() == [0.5, 0.2, 0.1, 0.2]
    assert shares.clean.tolist() == [0.5, 0.2, 0.1, 0.1, 0.1]  # what came in stays as it is


def test_a_gate_for_the_last_exit_takes_the_place_of_the_other(network, card):
    gate = GateFile(GateStage(1.0, THRESHOLDS, tiny.TABLE.steps))
    gates = {rad: replace(gate, strong=replace(gate.strong, level=2.0 + rad), last_exit=4) for rad in (5, 10)}
    table = replace(tiny.TABLE, gate=gate, last_exit_gates=gates)
    for rad in (5, 10):
        short = shortened(network, card, table, rad)[2]
        assert short.gate is gates[rad]
        assert not short.last_exit_gates
    assert table.ending_at(5, 3).gate is gate  # the other gate is for another exit
    assert tiny.TABLE.ending_at(5, 4).as_json() == tiny.TABLE.as_json()


def test_a_network_whose_last_exit_is_the_final_classifier_stays(network, card):
    whole = replace(card, last_exits={5: replace(card.last_exits[5], exit=5)})
    assert shortened(network, whole, tiny.TABLE, 5) == (network, whole, tiny.TABLE)


def test_a_card_without_a_last_exit_for_the_rad_is_refused(network, card):
    card = replace(card, last_exits={5: card.last_exits[5]})
    with pytest.raises(DataError, match="without a last exit for RAD 10; expected one; make it again with: defq "):
        shortened(network, card, tiny.TABLE, 10)


def test_a_bundle_for_another_rad_ends_at_its_last_exit(network, card):
    card = replace(card, last_exits={5: card.last_exits[5], 10: replace(card.last_exits[10], exit=3)})
    assert len(shortened(network, card, tiny.TABLE, 10)[0].blocks) == 2
    assert len(shortened(network, card, tiny.TABLE, 5)[0].blocks) == 3


def test_a_bundle_ends_there_and_answers_as_pytorch_does(network, scores, card, tmp_path):
    short, short_card, table = shortened(network, card, tiny.TABLE, 5)
    settings = BundleSettings(split=2, last_exit=True)
    bundle = load_bundle(str(write_bundle("tiny", short, short_card, table, tmp_path / "b", settings, tiny.frames())))
    assert bundle.relative_costs == list(card.relative_costs[:4])
    assert bundle.relative_costs[-1] < 1
    exits, labels = early_exit(up_to(scores, 4), THRESHOLD)
    sent = exits > 1
    assert (exits[sent] == 3).sum() > 5
    head = session(onnx.load_from_string(bundle.read("head_flat")))
    images = {"image": to_tensor(tiny.frames(60)).numpy(), "threshold": np.zeros(1, np.float32)}
    activation = head.run(["activation"], images)[0][sent]
    answers = Tail(bundle, 1).run(activation, np.full((int(sent.sum()), 1), THRESHOLD, np.float32))
    assert answers.exit.tolist() == (exits[sent] + 1).tolist()
    assert answers.label.tolist() == labels[sent].tolist()


def test_a_split_beyond_the_last_exit_is_refused(network, card, tmp_path):
    short, short_card, table = shortened(network, card, tiny.TABLE, 5)
    settings = BundleSettings(split=4, last_exit=True)
    with pytest.raises(UsageError, match="found --split 4; expected 1 to 3, .* of tiny before its last exit"):
        write_bundle("tiny", short, short_card, table, tmp_path / "b", settings, tiny.frames())


def test_evaluation_lets_nobody_beyond_it(network, scores, tmp_path, monkeypatch):
    monkeypatch.setenv("DEFQ_ATTACKS", str(tmp_path))
    images = Images(tiny.frames(60), scores.classes[3])
    data = Dataset(images, images, images, tuple(tiny.CLASSES), "made up")
    model = tiny.calibrated(network, {5: 3, 10: 2})
    rows = evaluate(model, data, images, ("clean", "linf"), ("none", "none@last", "flat:40@loop@last"), (5,))
    found = {(each.attack, each.defence): each for each in rows}
    for attack in ("clean", "linf"):
        plain, last = (found[attack, name] for name in ("none", "none@last"))
        assert last.exit_histogram == (*plain.exit_histogram[:2], sum(plain.exit_histogram[2:]), 0, 0)
        assert last.efcy > plain.efcy
        assert last.t3_er == 1.0
        assert found[attack, "flat:40@loop@last"].exit_histogram[3:] == (0, 0)


def test_each_rad_has_its_own_in_the_evaluation(network, scores, tmp_path, monkeypatch):
    monkeypatch.setenv("DEFQ_ATTACKS", str(tmp_path))
    images = Images(tiny.frames(60), scores.classes[3])
    data = Dataset(images, images, images, tuple(tiny.CLASSES), "made up")
    model = tiny.calibrated(network, {5: 3, 10: 2})
    rows = evaluate(model, data, images, ("clean", "adaptive:1"), ("none@last",))
    assert [(row.attack, row.rad) for row in rows] == [
        ("clean", 5),
        ("clean", 10),
        ("adaptive:1", 5),
        ("adaptive:1", 10),
    ]
    for row in rows:
        last = model.last_exit(row.rad)
        assert sum(row.exit_histogram[:last]) == 60
        assert row.exit_histogram[last - 1] > 0


def test_an_adaptive_attacker_knows_of_it(network, scores, tmp_path, monkeypatch):
    monkeypatch.setenv("DEFQ_ATTACKS", str(tmp_path))
    seen = {}

    def watched(attack, model, *others):
        seen[attack] = len(model.network.blocks), model.identity
        return attacked(attack, model, *others)

    monkeypatch.setattr(conditions, "attacked", watched)
    images = Images(tiny.frames(10), scores.classes[3][:10])
    data = Dataset(images, images, images, tuple(tiny.CLASSES), "made up")
    model = tiny.calibrated(network, {5: 3, 10: 2})
    evaluate(model, data, images, ("adaptive:1", "linf"), ("flat:40@last",), (5,))
    assert seen == {"adaptive:1": (2, "tiny to exit 3"), "linf": (4, "tiny")}  # two classifiers before the last exit


def test_an_attacker_may_aim_at_the_exits_before_one_alone(network, scores, tmp_path, monkeypatch):
    monkeypatch.setenv("DEFQ_ATTACKS", str(tmp_path))
    images = Images(tiny.frames(10), scores.classes[3][:10])
    data = Dataset(images, images, images, tuple(tiny.CLASSES), "made up")
    model = tiny.calibrated(network)
    none = defence_named("none")
    aimed = attacked("adaptive:2@3", model, data, images, none)
    assert torch.equal(aimed, attacked("adaptive:2", model.up_to_exit(3), data, images, none))
    assert not torch.equal(aimed, attacked("adaptive:2", model, data, images, none))
    assert torch.equal(
        attacked("adaptive:2@5", model, data, images, none), attacked("adaptive:2", model, data, images, none)
    )
    rows = evaluate(model, data, images, ("adaptive:2@3",), ("none",), (5,))
    assert sum(rows[0].exit_histogram) == 10  # of the whole network
    for exit_ in (1, 6):
        with pytest.raises(
            UsageError, match=f"found exit {exit_} to attack up to; expected 2 to 5, the exits of vgg16"
        ):
            attacked(f"adaptive:2@{exit_}", model, data, images, none)


def test_evaluation_of_a_calibration_of_before(network, scores):
    images = Images(tiny.frames(4), scores.classes[3][:4])
    data = Dataset(images, images, images, tuple(tiny.CLASSES), "made up")
    model = tiny.calibrated(network)
    with pytest.raises(UsageError, match="found a calibration of vgg16 without a last exit for RAD 5"):
        evaluate(model, data, images, ("clean",), ("none@last",), (5,))
