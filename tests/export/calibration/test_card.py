"""Model cards: those that are shipped, those of early releases, and those with a wrong value."""

import json
from dataclasses import replace

import pytest

from device.errors import DataError
from device.loop.exits import efcy
from export.calibration.card import card_from_json, read_card, write_card
from export.calibration.card_page import write_card_page
from export.calibration.last_exit import LOSS
from export.evaluation.paper import MODELS
from export.networks.model_files import shipped


def shipped_content():
    return json.loads(shipped("mobilenet").card.read_text())


@pytest.mark.parametrize("model", MODELS)
def test_a_shipped_card_is_written_as_it_was_read(model, tmp_path):
    files = shipped(model)
    card = read_card(files)
    write_card(card, tmp_path / "card.json")
    write_card_page(card, tmp_path / "card.md", files)
    assert (tmp_path / "card.json").read_bytes() == files.card.read_bytes()
    assert (tmp_path / "card.md").read_bytes() == files.card.with_suffix(".md").read_bytes()


@pytest.mark.parametrize("model", MODELS)
def test_the_last_exits_of_shipped_cards_agree_with_their_costs(model):
    card = read_card(shipped(model))
    for rad, last in card.last_exits.items():
        assert last.relative_cost == pytest.approx(card.relative_costs[last.exit - 1], abs=1e-4)
        assert last.least_efcy == pytest.approx(efcy([last.exit - 1], card.relative_costs[: last.exit]), abs=1e-4)
        assert last.thresholds[rad].accuracy >= card.thresholds[rad].accuracy - LOSS[rad] - 1e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": "cat"}, "found 'cat' under classes; expected a list of texts"),
        ({"classes": []}, "expected two or more"),
        ({"relative_costs": [0.5, 0.1, 1.0]}, "costs that rise"),
        ({"relative_costs": [0.5, True]}, "under relative_costs; expected 2 numbers from 0"),
        ({"relative_costs": None}, "under relative_costs"),
        ({"thresholds": {}}, "found no thresholds"),
        ({"thresholds": {"five": {}}}, "found the key 'five' at thresholds; expected a RAD"),
        (
            {"thresholds": {"5": {"threshold": 1.5}}},
            "found 1.5 under thresholds.5.threshold; expected a number from 0 to 1",
        ),
        ({"thresholds": {"5": {"threshold": 0.5}}}, "found no thresholds.5.accuracy"),
        ({"accuracy_test": [1, 2]}, "under accuracy_test; expected 14 numbers from 0 to 1"),
        ({"images": {"calibration": -1, "test": 2}}, "found -1 under images.calibration"),
        ({"shares": {"5": [1.0]}}, "under shares.5; expected 14 numbers"),
        ({"last_exit": {"5": {"exit": 99}}}, "found 99 under last_exit.5.exit; expected a whole number from 2 to 14"),
        ({"data": []}, "found .* at data; expected a JSON object"),
        ({"weights_sha256": 7}, "found 7 under weights_sha256; expected a text"),
    ],
)
def test_a_card_with_a_wrong_value_is_refused_by_its_name(change, message, tmp_path):
    files = replace(shipped("mobilenet"), card=tmp_path / "card.json")
    files.card.write_text(json.dumps({**shipped_content(), **change}))
    with pytest.raises(DataError, match=f"could not read the calibration .*card.json .*{message}.* defq calibrate"):
        read_card(files)


def test_a_card_of_an_early_release_has_neither_data_nor_last_exits():
    content = {**shipped_content(), "last_exit": {"exit": 4, "thresholds": {"5": {}}}}
    card = card_from_json(content)
    assert card.data is None
    assert card.last_exits == {}
