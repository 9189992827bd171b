"""The number of connections that the limit of open files allows."""

import pytest

from device.errors import UsageError
from host.serving.limits import ConnectionLimits, fitted


@pytest.mark.parametrize(
    ("soft_hard", "most", "raised"),
    [
        ((1024, 2048), 1920, (2048, 2048)),
        ((1024, -1), 4096, (4224, -1)),
        ((-1, -1), 4096, None),
        ((100, 100), 50, (100, 100)),  # ulimit -n 100: a host of few connections, not one of none
        ((64, 64), 32, (64, 64)),
    ],
)
def test_fewer_open_files_than_connections_lower_the_limit(monkeypatch, soft_hard, most, raised):
    resource = pytest.importorskip("resource")
    set_, said = [], []
    monkeypatch.setattr(resource, "setrlimit", lambda _which, values: set_.append(values))
    monkeypatch.setattr(resource, "getrlimit", lambda _which: soft_hard)
    assert fitted(ConnectionLimits(), said.append).most == most
    assert set_ == ([raised] if raised else [])
    assert [f"at most {most} connections" in each for each in said] == ([True] if most < 4096 else [])


def test_too_few_open_files_for_any_use(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (63, 63))
    with pytest.raises(
        UsageError, match="may open 63 files; expected at least 64; start the host behind: ulimit -n 4224"
    ):
        fitted(ConnectionLimits(), [].append)
