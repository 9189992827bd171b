"""A table.json: the table, the gate and the monitor's shares. Input: JSON."""

import json

import numpy as np

from device.bundle.calibration import check_gate, check_monitor, check_table_file
from device.errors import DataError

RADS = (5, 10)


def check(data: bytes) -> None:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return  # load_bundle's to refuse: fuzz_manifest
    for read in (_table, _gate, _monitor) if isinstance(content, dict) else (_table,):
        try:
            read(content)
        except DataError as error:
            assert str(error).isprintable()
            assert len(str(error)) < 1000


def _table(content: dict) -> None:
    table = check_table_file(content, "table.json")
    assert table.shape == (8, 8)
    assert table.dtype == np.float32
    assert 1 <= table.min() <= table.max() <= 65535


def _gate(content: dict) -> None:
    gate = check_gate(content, RADS, "table.json")
    for stage in gate.stages if gate else ():
        assert 0 <= stage.level < float("inf")
        assert all(0 <= stage.thresholds[rad] <= 1 for rad in RADS)
        assert stage.table.shape == (8, 8)


def _monitor(content: dict) -> None:
    for shares in check_monitor(content, 5, RADS, "table.json").values():
        for share in shares:
            assert share.shape == (5,)
            assert abs(share.sum() - 1) < 1e-6
