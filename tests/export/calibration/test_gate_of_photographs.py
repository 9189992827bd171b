"""The noise gate of photographs: it must not take clean ones for attacked."""

import numpy as np
import pytest

from device.errors import DataError
from export.calibration import gate
from export.calibration.attacked_images import Samples
from export.calibration.cost import score
from export.calibration.gate import calibrate_gate
from export.calibration.table_reader import shipped_table
from export.data.images import PHOTOGRAPHS, Dataset, Images
from tests import tiny


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFQ_ATTACKS", str(tmp_path / "attacks"))
    monkeypatch.setattr(gate, "STRONG_RANGES", ((20, 60),))
    monkeypatch.setattr(gate, "WEAK_RANGES", ((5, 20),))


@pytest.fixture
def tiny_model():
    return tiny.calibrated(tiny.network(), {5: 4, 10: 4}, shipped_table("vgg16"))


@pytest.fixture
def data(tiny_model):
    pixels = tiny.frames(40)
    images = Images(pixels, score(tiny_model.network, pixels).classes[-1])
    return Dataset(images, images, images, tuple(tiny.CLASSES), "made up", name=PHOTOGRAPHS)


def test_a_gate_that_takes_clean_photographs_for_attacked_is_refused_in_a_sentence(tiny_model, data):
    with pytest.raises(
        DataError, match=r"found 100% of the clean photographs above the noise level 2.0, .*leave the gate out"
    ):
        calibrate_gate(tiny_model, data)


def test_a_gate_of_photographs_is_quiet_on_clean_ones(tiny_model, data, monkeypatch):
    calm = data._replace(
        calibration=data.calibration._replace(pixels=np.repeat(data.calibration.pixels[..., :1], 3, axis=-1)),
    )
    monkeypatch.setattr(gate, "LEAST_FOUND", 0.0)
    found = calibrate_gate(tiny_model, calm, samples=Samples(12, 6, 6))
    assert found.strong.clean_found <= 0.05
    assert found.images["linf"] == 12
    assert found.images["adaptive"] == 6
    monkeypatch.setattr(gate, "LEAST_FOUND", 1.1)
    with pytest.raises(DataError, match="of the attacked photographs above the noise level"):
        calibrate_gate(tiny_model, calm, samples=Samples(12, 6, 6))
