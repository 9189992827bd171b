"""python -m bench: what it measures is imported when it is asked for, and every part can be imported."""

import importlib
import sys

import numpy as np
import pytest

import bench.__main__ as bench_main
from bench import board, defq, defq_worker
from device.bundle.reader import load_bundle
from tests.tiny import DATA

BUNDLE = DATA / "tiny_bundle"


@pytest.mark.parametrize("module", bench_main.PARTS.values())
def test_every_part_measures_and_reports(module):
    part = importlib.import_module(module)
    assert callable(part.run)
    assert callable(part.report)


def test_only_what_is_asked_for_is_imported(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_main, "subject", lambda name, *_: name)
    monkeypatch.setattr(bench_main, "PARTS", {"defq": "tests.bench.part", "other": "tests.bench.absent"})
    monkeypatch.setitem(sys.modules, "tests.bench.part", sys.modules[__name__])
    assert bench_main.main(["--only", "defq", "--models", "vgg16", "--out", str(tmp_path / "bench.json")]) == 0
    assert "a table of vgg16" in capsys.readouterr().out
    assert '"defq"' in (tmp_path / "bench.json").read_text()


def run(subjects):
    return {"models": subjects}


def report(results):
    return "a table of " + ", ".join(results["models"])


def test_defq_is_measured_without_simplejpeg(monkeypatch):
    monkeypatch.setattr(defq_worker.importlib.util, "find_spec", lambda name: None)
    frame = np.zeros((32, 32, 3), np.uint8)
    calls = defq_worker.contenders(frame, np.full((8, 8), 20, np.float32))
    assert "libjpeg-turbo, quality 50" not in calls
    assert all(np.asarray(call()).size == frame.size for call in calls.values())


def test_the_memory_of_a_run_is_read():
    assert board.peak_mb(BUNDLE, DATA / "frames.npz") > 10


def test_both_widths_of_vectors_are_measured(monkeypatch):
    monkeypatch.setattr(defq, "SIZES", ((16, 24),))
    monkeypatch.setattr(defq, "ROUNDS", 1)

    class Tiny:
        bundle = load_bundle(str(BUNDLE))

    found = defq.run([Tiny()])
    assert set(found) == {"24x16x3"}
    assert all(found["24x16x3"][vectors]["DefQ"] > 0 for vectors in (defq.OWN, defq.NARROW))
    assert defq.report(found).count("24x16x3") == 2
