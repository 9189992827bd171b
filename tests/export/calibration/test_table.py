"""Algorithm 1: from clean and attacked images to a quantisation table."""

import json

import numpy as np
import pytest

from device.errors import DataError
from export.attacks.linf import DeepSlothLinf
from export.calibration.table import (
    Kept,
    TableSettings,
    block_spectrum,
    learn_table,
    mean_ratios,
    table_from_ratios,
)
from export.data.images import Images
from export.data.shipped import TABLES
from export.networks.weights import file_sha256, weights_file
from tests import tiny


def test_the_papers_printed_example():
    ratios = np.array([1.01, 1.08, 1.18, 1.21, 1.28, 2.12])
    assert table_from_ratios(ratios, 20, 60).tolist() == [20, 22, 26, 27, 29, 60]


def test_ratios_by_hand():
    # a flat block of 100 has one coefficient, DC = 800; one of 101 has 808; the others are 0 in both
    clean, attacked = np.full((2, 3, 8, 8), 100.0), np.full((2, 3, 8, 8), 101.0)
    ratios = mean_ratios(clean, attacked)
    assert ratios[0, 0] == pytest.approx(809 / 801)
    np.testing.assert_allclose(ratios.ravel()[1:], 1, atol=1e-9)
    table = table_from_ratios(np.round(ratios, 9), 20, 60)
    assert table[0, 0] == 60
    assert set(table.ravel()[1:].tolist()) == {20}


def test_the_mean_is_over_blocks_not_of_sums():
    clean = np.concatenate([np.full((1, 1, 8, 8), 1.0), np.full((1, 1, 8, 8), 10.0)])
    attacked = np.concatenate([np.full((1, 1, 8, 8), 2.0), np.full((1, 1, 8, 8), 10.0)])
    assert mean_ratios(clean, attacked)[0, 0] == pytest.approx((17 / 9 + 1) / 2)


def test_spectrum_equals_scipy():
    fft = pytest.importorskip("scipy.fft")
    images = np.random.default_rng(0).uniform(0, 255, (2, 3, 16, 24))
    spectrum = block_spectrum(images).reshape(2, 3, 2, 3, 8, 8)
    block = images[1, 2, 8:16, 16:24]
    np.testing.assert_allclose(spectrum[1, 2, 1, 2], fft.dctn(block, norm="ortho"), atol=1e-9)


def test_images_that_were_not_changed():
    with pytest.raises(DataError, match="expected an attack that changes"):
        table_from_ratios(np.ones((8, 8)), 20, 60)
    with pytest.raises(DataError, match="multiples of 8"):
        block_spectrum(np.zeros((1, 3, 12, 12)))


def test_learned_tables_are_repeatable_and_name_their_samples():
    images = Images(tiny.frames(), np.zeros(60, np.int64), first_id=43000)
    attack = DeepSlothLinf(iterations=3)
    first = learn_table(tiny.network(), images, TableSettings(samples=10), attack)
    again = learn_table(tiny.network(), images, TableSettings(samples=10), attack)
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[0].min(), first[0].max()) == (20, 60)
    assert len(set(first[2])) == 10
    assert all(43000 <= each < 43060 for each in first[2])


@pytest.mark.parametrize("model", ["vgg16", "resnet56", "mobilenet"])
def test_committed_tables_belong_to_the_committed_weights(model):
    content = json.loads((TABLES / f"{model}.json").read_text())
    assert content["weights_sha256"] == file_sha256(weights_file(model))
    ratios = np.array(content["mean_ratios"])
    np.testing.assert_allclose(table_from_ratios(ratios, 20, 60), content["table"], atol=1)  # the ratios are rounded
    assert len(content["sample_ids"]) == 1000
    assert all(43000 <= each < 47000 for each in content["sample_ids"])


def test_a_model_folder_attacks_the_first_images_and_keeps_them(tmp_path, monkeypatch):
    network, images = tiny.network(), Images(tiny.frames(60), np.arange(60) % 3)
    attack = DeepSlothLinf(iterations=2)
    kept = Kept("tiny", tmp_path / "attacks")
    learned = learn_table(network, images, TableSettings(20), attack, kept)
    assert learned.sample_ids == list(range(20))
    assert list(kept.folder.iterdir())
    monkeypatch.setattr(DeepSlothLinf, "__call__", None)  # the second time nothing is attacked
    again = learn_table(network, images, TableSettings(20), attack, kept)
    assert again.steps.tolist() == learned.steps.tolist()
