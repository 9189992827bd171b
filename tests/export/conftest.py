import pytest
import torch

from export.networks import model_files


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
