import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """The networks of the tests are small: waiting for other threads takes longer than their work, much longer where
    other programs run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
