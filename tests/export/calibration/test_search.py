"""The search for a table that is better than that of Algorithm 1."""

import numpy as np
import pytest

from export.attacks.linf import DeepSlothLinf
from export.calibration import attacked_images
from export.calibration import search as table_search
from export.calibration.cost import score
from export.calibration.search import BOUND, TableSearch, search_table, whole
from export.calibration.table_reader import shipped_table
from export.data.images import Dataset, Images
from tests import tiny


@pytest.fixture
def case(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFQ_ATTACKS", str(tmp_path / "attacks"))
    monkeypatch.setitem(attacked_images.PER_SAMPLE, "linf", DeepSlothLinf(iterations=5))
    network = tiny.network()
    pixels = tiny.frames(60)
    images = Images(pixels, score(network, pixels).classes[-1])
    data = Dataset(images, images, images, ("circle", "square", "star"), "made up")
    return tiny.calibrated(network, table=shipped_table("vgg16")), data


def test_the_table_found_is_no_worse_than_scaled_q_def_and_keeps_the_bound(case):
    search = TableSearch(*case)
    scaled = [search.trial(whole(case[0].table.steps * scale)) for scale in table_search.SCALES]
    within = [each.merit for each in scaled if each.clean_loss <= 0.1]
    table, best = search.run(bound=0.1, passes=1)
    assert table.shape == (8, 8)
    assert table.min() >= 1
    assert best == search.trial(table)
    assert best.clean_loss <= 0.1
    assert best.merit >= max(within)


def test_what_is_kept_says_how_it_was_made(case, monkeypatch):
    monkeypatch.setattr(table_search, "SCALES", (0.5, 1.0))
    content = search_table(*case).as_json()
    assert np.array(content["table"]).shape == (8, 8)
    assert content["bound"] == BOUND
    assert content["images"] == {"clean": 60, "linf": 60}
    assert content["weights_sha256"] == "tiny"


def test_steps_stay_whole_and_in_range():
    assert whole(np.array([0.2, 3.6, 900.0])).tolist() == [1, 4, 255]
