"""What the tests of the export share: a tiny network, its data, and a place without data sets."""

import pytest
import torch

from export.calibration.cost import score
from export.calibration.table_reader import shipped_table
from export.data.images import Dataset, Images
from export.networks import model_files
from tests import tiny


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """The networks of the tests are small: waiting for other threads takes longer than their work, much longer where
    other programs run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def own_models(tmp_path, monkeypatch):
    """What the tests make stays in their folder, and they see nothing of what was trained here."""
    monkeypatch.setattr(model_files, "MADE_HERE", tmp_path / "models")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Attacked images stay in the folder of the test."""
    monkeypatch.setenv("DEFQ_ATTACKS", str(tmp_path / "attacks"))


@pytest.fixture
def tiny_model():
    """The tiny network with a card, last exits, and the shipped table of VGG-16."""
    return tiny.calibrated(tiny.network(), {5: 4, 10: 4}, shipped_table("vgg16"))


@pytest.fixture
def data(tiny_model):
    """60 images, which the tiny network classifies without an error, in the place of all three splits."""
    pixels = tiny.frames(60)
    images = Images(pixels, score(tiny_model.network, pixels).classes[-1])
    return Dataset(images, images, images, ("circle", "square", "star"), "made up", name="patches")
