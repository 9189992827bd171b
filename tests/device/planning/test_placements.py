"""What the plan computes, on costs that are small enough to be added by hand."""

import json

import numpy as np
import pytest

from device.commands.cli import main
from device.errors import DataError
from device.planning.costs import CONDITIONS, Costs, Form, Leaving, read_costs
from device.planning.placements import (
    ATTACKED,
    CLEAN,
    DEVICE,
    HOST_REQUEST_MS,
    JPEG,
    REFERENCE_MS_PER_VALUE,
    REQUEST_MS,
    SPLIT,
    Link,
    Planner,
)

SHARES = {
    "clean": [0.5, 0.4, 0.1],
    "clean + DefQ": [0.5, 0.3, 0.2],
    "attacked": [0, 0, 1.0],
    "attacked + DefQ": [0.4, 0.4, 0.2],
}


def costs(head_ms=(1.0, 2.0, 10.0), values=(1000, 500)):
    leaving = {name: Leaving(SHARES[name], 0.9) for name in CONDITIONS}
    return Costs(
        list(head_ms), 0.5, 0.1, list(values), REFERENCE_MS_PER_VALUE, Form(0.2, 900.0), Form(0.3, 600.0), {5: leaving}
    )


def test_the_device_alone_is_a_weighed_sum():
    best = Planner(costs(), None).best([5])
    assert (best.where, best.split, best.rad, best.payload) == (DEVICE, 3, 5, "")
    assert best.clean.mean_ms == pytest.approx(0.1 + 0.5 * 1 + 0.4 * 2 + 0.1 * 10)
    assert best.clean.p99_ms == pytest.approx(10.1)
    assert best.attacked.mean_ms == pytest.approx(10.1)
    assert best.defended.mean_ms == pytest.approx(0.5 + 0.4 * 1 + 0.4 * 2 + 0.2 * 10)
    assert best.clean.bytes == 0


def test_a_light_network_on_a_fast_board_needs_no_host():
    assert Planner(costs(), Link(100e6, 0.025), 1.0).best([5]).where == DEVICE


def test_a_heavy_network_on_a_slow_board_is_split_or_sent():
    slow = costs().slower(20)
    planner = Planner(slow, Link(100e6, 0.025), 5.0)
    assert planner.best([5]).where in (SPLIT, JPEG)
    split = next(each for each in planner.placements([5]) if each.where == SPLIT and each.split == 1)
    stay = 0.5
    host_ms = 5.0 / 200 * (0.4 / 0.5 * 20 + 0.1 / 0.5 * 180)
    assert split.clean.mean_ms == pytest.approx(
        2 + 20 + stay * (25 + HOST_REQUEST_MS + 20 * REQUEST_MS + host_ms), abs=1
    )
    assert split.clean.bytes > 0


def test_coefficients_are_for_quantised_frames_alone():
    """On a slow link the smallest form wins; frames that are not quantised do not have it."""
    planner = Planner(costs(values=(60000, 60000)), Link(1e6, 0.025))
    split = next(each for each in planner.placements([5]) if each.where == SPLIT)
    assert split.payload == "uint8"
    assert split.clean.bytes > 0.5 * 60000 * 4 / 7
    assert split.defended.bytes < 0.6 * 1400


def test_an_attack_may_change_the_answer():
    planner = Planner(costs(head_ms=(1.0, 2.0, 100.0)), Link(100e6, 0.012), 3.0)
    assert planner.best([5], CLEAN).expected(CLEAN).mean_ms <= min(
        each.clean.mean_ms for each in planner.placements([5])
    )
    assert planner.best([5], ATTACKED).expected(ATTACKED).mean_ms <= min(
        each.defended.mean_ms for each in planner.placements([5])
    )


def test_costs_come_back_from_json():
    content = json.loads(json.dumps({"costs": costs().to_json()}))
    assert read_costs(content, "board.json") == costs()


@pytest.mark.parametrize(
    "change", [{"head_ms": []}, {"head_ms": [1.0, float("nan"), 2.0]}, {"values": [1]}, {"jpeg": None}, {"leaving": {}}]
)
def test_damaged_costs_are_one_sentence(change):
    with pytest.raises(DataError, match="found no usable costs in board.json .*; measure again"):
        read_costs({"costs": dict(costs().to_json(), **change)}, "board.json")


@pytest.fixture
def report(tmp_path):
    file = tmp_path / "board.json"
    file.write_text(json.dumps({
        "format": "sdn-edge-bench", "format_version": 1, "bundle": "tiny-splitall-1", "rad": 5, "conditions": {}, "machine": {},
        "costs": costs().to_json(),
    }))  # fmt: skip
    return str(file)


def test_the_command_names_a_placement(report, capsys, tmp_path):
    assert main(["plan", "--bench", report, "--link", "10", "--rtt", "25", "--host-ms", "2"]) == 0
    told = capsys.readouterr().out
    assert (
        "best: all on the device, 2.4 ms a frame; export it with: defq bundle --model tiny --split all --rad 5 --out build/tiny"
        in told
    )
    assert "no host is needed" in told
    name = str(tmp_path / "plan.json")
    assert main(["plan", "--bench", report, "--link", "10", "--rtt", "25", "--json", name]) == 0
    with open(name) as file:
        plan = json.load(file)
    assert plan["best"]["where"] == DEVICE
    assert {each["where"] for each in plan["placements"]} == {DEVICE, SPLIT, JPEG}


@pytest.mark.parametrize(("options", "told"), [
    (("--link", "10"), "found --link alone; expected both"),
    (("--link", "10", "--rtt", "25", "--host", "http://127.0.0.1:9"), "found --host with --link or --rtt"),
    (("--rad", "1"), "found --rad 1; expected 5 or more"),
])  # fmt: skip
def test_options_that_do_not_fit(report, capsys, options, told):
    assert main(["plan", "--bench", report, *options]) == 2
    assert told in capsys.readouterr().err


def test_a_report_without_costs_says_how_to_make_one(report, capsys):
    with open(report) as file:
        content = json.load(file)
    del content["costs"]
    with open(report, "w") as file:
        json.dump(content, file)
    assert main(["plan", "--bench", report]) == 3
    assert (
        "found no costs of the exits in {}; expected a report of a bundle with all exits on the device".format(report)
        in capsys.readouterr().err
    )


def test_the_time_to_exits_where_no_frame_left_lies_between_its_neighbours():
    from device.planning.costs import _filled

    assert _filled({1: [1.0], 3: [5.0, 3.0, 4.0]}, [0.1, 0.3, 0.5, 1.0]) == pytest.approx([1.0, 2.5, 4.0, 4.0])
    assert np.all(np.diff(_filled({1: [3.0], 2: [1.0]}, [0.1, 1.0])) >= 0)
