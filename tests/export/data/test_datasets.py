"""Where a data set is looked for when none is named."""

import pytest

from device.errors import DataError
from export.data import cifar10, datasets
from tests.export.data.test_cifar10 import write_binary

SIZE = (32, 32)


def test_the_named_folder_is_read_and_else_that_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("CIFAR10_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="found no folder"):
        datasets.load(tmp_path / "absent", SIZE)
    with pytest.raises(DataError, match="found neither CIFAR-10 nor images"):
        datasets.load(tmp_path, SIZE)
    with pytest.raises(DataError, match="CIFAR10_DIR"):
        datasets.load(None, SIZE, download=False)
    monkeypatch.setattr(cifar10, "TRAIN", slice(0, 6))
    monkeypatch.setattr(cifar10, "CALIBRATION", slice(6, 9))
    write_binary(tmp_path / "named" / "cifar-10-batches-bin")
    monkeypatch.setenv("CIFAR10_DIR", str(tmp_path / "named"))
    assert len(datasets.load(None, SIZE).test.labels) == 5
