"""Every target reads the committed corpus, without a fuzzer."""

import gzip
import importlib
import time

import pytest

from device.errors import BundleError, DataError, HostError, WireError
from tests.fuzz import CORPUS, TARGETS, seeds

FILES = [(target, each) for target in TARGETS for each in sorted((CORPUS / target).iterdir())]
WHOLE = 0.9  # s; the readers of the slowest input take a tenth of that


@pytest.mark.parametrize(("target", "file"), FILES, ids=[f"{target}-{each.name[:24]}" for target, each in FILES])
def test_committed_input(target, file):
    check = importlib.import_module(f"tests.fuzz.fuzz_{target}").check
    content = file.read_bytes()
    started = time.process_time()
    check(content)
    assert time.process_time() - started < WHOLE


def test_the_corpus_stays_small():
    assert {target for target, _ in FILES} == set(TARGETS)
    assert len(FILES) < 200
    assert sum(each.stat().st_size for _, each in FILES) < 300_000


def accepts(target, content):
    """Whether the reader behind a target accepts an input. The target's ``check`` does not tell."""
    with pytest.MonkeyPatch.context() as patch:
        for error in (WireError, BundleError, DataError, HostError):
            patch.setattr(error, "__init__", _never)
        importlib.import_module(f"tests.fuzz.fuzz_{target}").check(content)
    return True


def unpacked(content):
    """An input with what follows its first bytes taken out of gzip: how that is packed is up to Python and its zlib."""
    start = content.find(b"\x1f\x8b\x08", 0, 5)
    return content if start < 0 else content[:start] + gzip.decompress(content[start:])


def _never(error, *arguments, **_options):
    raise AssertionError(f"refused with {type(error).__name__} {arguments}")


@pytest.mark.parametrize("target", TARGETS)
def test_the_readers_still_take_real_messages(target):
    """A seed that is refused at its first byte would leave the rest of the reader untried."""
    good = {"wire_request": "binary", "wire_response": "binary", "answer": "right", "manifest": "tiny", "archive": "packed",
            "table_file": "whole", "frame_set": "stored", "encoding": "gzip", "http": "binary"}  # fmt: skip
    content = (CORPUS / target / f"seed-{good[target]}").read_bytes()
    made = seeds.FAMILIES[target]()[good[target]]
    assert unpacked(content) == unpacked(made), "write it anew with: python -m tests.fuzz.seeds"
    assert accepts(target, content)
