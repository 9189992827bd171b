"""Folders with keys."""

import shutil
from pathlib import Path

import pytest

from tests.host.credentials.folders import make


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of keys that tests read and never change."""
    folder = tmp_path_factory.mktemp("made") / "keys"
    make(folder, "--name", "localhost", "--name", "127.0.0.1", "--name", "::1", "--device", "cam-1", "--device", "cam-2")  # fmt: skip
    return folder


@pytest.fixture
def own(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "keys"))
