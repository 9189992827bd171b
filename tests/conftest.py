"""What all tests share: which data they see. Also read on Python 3.6, for tests/device."""

import os

import pytest

NEEDS_DATA = "needs CIFAR-10: make test-data CIFAR10_DIR=DIR"
NEEDS_SIGNS = "needs the hand-sign digits: make test-data SIGNS_DIR=DIR"


@pytest.fixture(autouse=True, scope="session")
def no_data_but_what_is_named(tmp_path_factory):
    """Tests see the data sets that CIFAR10_DIR and SIGNS_DIR name, and no others: they find none in the user's cache, write nothing to it, and download
    nothing, nor do the programs that they start: where these would put a download, there is a file."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "defq").write_text("A download would go here, but no test may start one.\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setenv("DEFQ_ATTACKS", str(folder / "attacks"))
        patch.setenv("DEFQ_ENGINES", str(folder / "engines"))
        patch.setenv("DEFQ_PHOTOGRAPHS", str(folder / "photographs"))
        try:
            from export.data import download, signs
        except (ImportError, SyntaxError):  # Python 3.6, or the device's packages alone
            pass
        else:  # for tests that name a cache of their own
            patch.setattr(download.fetch_archive, "__defaults__", ("http://127.0.0.1:1/absent", "", 1))
            patch.setattr(signs.fetch_signs, "__defaults__", ("http://127.0.0.1:1/absent", 1))
        yield


@pytest.fixture(scope="session")
def cifar10():
    """CIFAR-10 where CIFAR10_DIR names it. A test that asks for it has the mark data."""
    if not os.environ.get("CIFAR10_DIR"):
        pytest.skip(NEEDS_DATA)
    from export.data import datasets

    return datasets.load(None, (32, 32))


@pytest.fixture(scope="session")
def signs():
    """The hand-sign digits at 96 x 96 pixels where SIGNS_DIR names them. A test that asks for them has the mark data."""
    if not os.environ.get("SIGNS_DIR"):
        pytest.skip(NEEDS_SIGNS)
    from export.data import datasets

    return datasets.load("signs", (96, 96), "crop")


@pytest.fixture
def no_data(tmp_path, monkeypatch):
    """A machine without data sets and without a network."""
    monkeypatch.delenv("CIFAR10_DIR", raising=False)
    monkeypatch.delenv("SIGNS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if {"cifar10", "signs"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("data")
