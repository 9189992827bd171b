"""A fit that is stopped at any moment, or whose disk is full, loses nothing that was finished and leaves no half of a file."""

import contextlib
import errno
import hashlib
import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from export.fit.runner import LOCK
from tests.export.fit import small

SAME = ("weights.safetensors", "model.json", "card.json", "table.json", "measures.csv", "bundle/manifest.json")
"""Files that do not depend on how long anything took."""


def in_child(place: Path, kill_at: int, before: bool) -> None:
    """Run a fit in a process that kills itself at its rename number ``kill_at``. Every file is written under another name and then renamed."""
    import matplotlib.pyplot as plt
    import torch

    from export.fit import pictures

    torch.set_num_threads(1)
    os.environ.pop("DEFQ_ATTACKS", None)
    os.chdir(place)
    small.prepare(place)
    pictures.png_of = lambda figure: plt.close(figure) or b"\x89PNG"  # type: ignore[assignment]
    count = 0

    def counted(call):
        def rename(*names, **options):
            nonlocal count
            count += 1
            if count == kill_at and before:
                os.kill(os.getpid(), signal.SIGKILL)
            call(*names, **options)
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        return rename

    os.replace, os.rename = counted(os.replace), counted(os.rename)  # type: ignore[assignment]
    with open("said.txt", "a") as said, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = small.run(Path("photographs"), Path("out"))
    os._exit(code)


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """Starts a process in which everything is imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.export.fit.preloaded"])

    def start(*arguments) -> int:
        process = context.Process(target=in_child, args=arguments)
        process.start()
        process.join(120)
        assert process.exitcode is not None
        return process.exitcode

    return start


def hashes(folder: Path) -> dict[str, str]:
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in SAME}
    model = json.loads((folder / "model.json").read_text())
    return {**found, "model.json": str({**model, "data": None})}


def leftovers(folder: Path) -> list[str]:
    """Drafts of files, which no command would remove."""
    hidden = [each for each in folder.rglob(".*") if each.name != LOCK]
    return [str(each) for each in [*hidden, *folder.rglob("*.partial"), *folder.rglob("*.earlier")]]


@pytest.mark.slow
def test_a_fit_that_is_killed_at_every_file_ends_as_one_that_is_not(processes, tmp_path):
    places = {name: tmp_path / name for name in ("whole", "killed")}
    for place in places.values():
        small.photographs(place / "photographs")
    assert processes(places["whole"], 0, False) == 0
    kills = 0
    for kill_at in (number for _ in range(40) for number in (5, 2, 12, 4, 3, 7)):
        code = processes(places["killed"], kill_at, kills % 2 == 0)
        if code == 0:
            break
        assert code == -signal.SIGKILL, (places["killed"] / "said.txt").read_text()[-2000:]
        kills += 1
    assert code == 0
    assert kills > 5
    assert hashes(places["killed"] / "out") == hashes(places["whole"] / "out")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.delenv("DEFQ_ATTACKS", raising=False)
    monkeypatch.chdir(tmp_path)
    small.prepare(tmp_path)
    small.photographs(tmp_path / "photographs")
    return tmp_path


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(place, monkeypatch, capsys):
    replace, out = os.replace, place / "out"

    def full_after(files):
        left = iter(range(files))

        def rename(*names):
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            replace(*names)

        return rename

    stopped = []
    for files in (0, 3, 7, 11, 17, 22):
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", full_after(files))
            code = small.run(Path("photographs"), out)
        said = capsys.readouterr()
        if code == 0:
            break
        assert code == 3
        assert said.err.count("error: ") == 1
        assert "found no space left on the disk in the step" in said.err
        assert "free some space and run the same command again" in said.err
        stopped.append(said.err.partition("in the step ")[2].partition(";")[0])
        assert leftovers(out) == []
    assert len(set(stopped)) > 2
    assert small.run(Path("photographs"), out) == 0
    assert leftovers(out) == []
