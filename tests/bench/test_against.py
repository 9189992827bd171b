"""The check of the plan, on rows that were measured (tests/bench/against.json)."""

import json
from pathlib import Path

import pytest

from bench.against import contenders
from bench.against.check import ENOUGH, placement_means, verdicts
from bench.against.report import cells, table
from bench.against.slower import Pace
from bench.against.why import parts

FILE = Path(__file__).with_name("against.json")


@pytest.fixture(scope="module")
def results():
    return json.loads(FILE.read_text())


def test_the_plan_names_the_best_placement_in_nine_of_ten_cells(results):
    found = verdicts(results)
    assert len(found) == sum(len(cells(network)) for network in results["networks"].values())
    assert sum(each.right for each in found) >= ENOUGH * len(found)


def test_a_wrong_plan_is_found(results):
    """A plan that takes the network for a thousand times as heavy as it is sends the frames of slow devices to the host."""
    heavy = json.loads(FILE.read_text())
    for network in heavy["networks"].values():
        network["costs"]["head_ms"] = [1000 * each for each in network["costs"]["head_ms"]]
    found = verdicts(heavy)
    assert {each.named.where for each in found} > {"device"}
    assert sum(each.right for each in found) < ENOUGH * len(found)


def test_on_clean_frames_both_rows_of_a_placement_measure_the_same():
    rows = {
        contenders.EXITS.name: {"mean_ms": 2.0},
        contenders.EXITS_DEFQ.name: {"mean_ms": 4.0},
        contenders.WHOLE.name: {"mean_ms": 9.0},
    }
    assert placement_means(rows, False) == {contenders.EXITS_DEFQ.name: 3.0, contenders.WHOLE.name: 9.0}
    assert placement_means(rows, True) == {name: row["mean_ms"] for name, row in rows.items()}


def test_what_an_attack_behind_defq_costs_is_split_into_its_parts(results):
    for name, network in results["networks"].items():
        found = parts(network, name, 1.0)
        assert found.total == pytest.approx(1 + found.defq + found.not_restored + found.rest)
        assert found.defq > 0
    vgg16, lite0 = (parts(results["networks"][name], name, 1.0) for name in ("vgg16", "lite0_96"))
    assert vgg16.not_restored > 0.8 > 0.1 > vgg16.defq
    assert lite0.defq > lite0.not_restored


def test_the_table_shows_every_contender(results):
    text = table(results)
    assert all(each.name in text for each in contenders.CONTENDERS)


def test_a_slower_device_waits_for_what_it_computed(monkeypatch):
    now = {"cpu": 1.0, "clock": 0.0}
    monkeypatch.setattr("bench.against.slower.time.process_time", lambda: now["cpu"])
    monkeypatch.setattr("bench.against.slower.time.perf_counter", lambda: now["clock"])

    def sleep(seconds):
        now["clock"] += seconds + 0.001

    monkeypatch.setattr("bench.against.slower.time.sleep", sleep)
    pace = Pace()
    pace.share = 1 / 6
    pace.start()
    now["cpu"] += 0.01
    pace.catch_up()
    assert now["clock"] == pytest.approx(0.05, abs=0.002)
    pace.catch_up()  # nothing more is owed
    assert now["clock"] == pytest.approx(0.05, abs=0.002)
