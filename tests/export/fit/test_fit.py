import pytest

from tests.export.fit import small


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.delenv("DEFQ_ATTACKS")
    monkeypatch.chdir(tmp_path)
    small.prepare(tmp_path)
    return tmp_path


def test_a_fit(place, capsys):
    assert small.run(small.photographs(place / "photographs"), place / "out") == 0
    print(capsys.readouterr().out)
