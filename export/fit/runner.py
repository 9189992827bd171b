"""Does the steps of a fit: those whose inputs have changed since they were done, and no others."""

import contextlib
import errno
import fcntl
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from device.errors import DataError, EdgeError, OutputError, UsageError
from export.data.output import make_folder
from export.fit.job import FitJob
from export.fit.progress import Progress, indented
from export.fit.settings import FitSettings
from export.fit.state import FILE, Hashes, StepRecord, read_state
from export.fit.step import Step

LOCK = ".fit.lock"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def fit(photographs: Path, folder: Path, settings: FitSettings, steps: Sequence[Step]) -> FitJob:
    """Make a model folder from photographs, as far as it is not made yet.

    Args:
        photographs: a folder of class folders.
        folder: new, empty, or that of an earlier fit.

    Raises:
        UsageError: ``folder`` holds something else, or another fit is at work in it.
        DataError: photographs or files of the folder cannot be used.
        OutputError: a file cannot be written. All finished steps are kept.
    """
    check_places(photographs, folder)
    new = not folder.exists()
    make_folder(folder)
    with _locked(folder), _removed_again(folder, new):
        state = read_state(folder, settings)
        state.settings = settings
        job = FitJob(photographs, folder, state)
        progress = Progress(steps)
        for step in steps:
            try:
                _do(step, job, progress)
            except (EdgeError, OSError) as error:
                if _is_full(error):
                    raise _full(folder, step) from error
                raise
            except KeyboardInterrupt:
                print(f"stopped in the step {step.name}; the same command goes on there", file=sys.stderr, flush=True)
                raise
        job.remember_photographs()
    return job


def check_places(photographs: Path, folder: Path) -> None:
    """Check that a fit can be written to ``folder``.

    Raises:
        UsageError: there is no folder of photographs, one of both lies in the other, or ``folder`` holds something else.
    """
    if not photographs.is_dir():
        what = "a file" if photographs.exists() else "nothing"
        raise UsageError(
            f"found {what} at {photographs}; expected a folder of photographs, with a folder for each class in it; name it"
        )
    inside, outside = folder.resolve(), photographs.resolve()
    if inside == outside or outside in inside.parents or inside in outside.parents:
        raise UsageError(
            f"found --out {folder} and the photographs {photographs}, one in the other; expected two places, since what is written "
            "would be taken for photographs; choose another --out"
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"found a file at {folder}; expected a folder to write to; choose another --out")
    others = [each for each in folder.iterdir() if each.name != LOCK] if folder.is_dir() else []
    if others and not (folder / FILE).is_file():
        raise UsageError(
            f"found {len(others)} other files in {folder}, such as {others[0].name}, and no {FILE}; expected a new or empty folder, or "
            "that of an earlier fit; choose another --out"
        )


def _do(step: Step, job: FitJob, progress: Progress) -> None:
    """Do one step, unless it is done already."""
    inputs = step.inputs(job)
    before = job.state.steps.get(step.name)
    why = ""
    if before is not None:
        why = _changed(before.inputs, inputs)
        if not why:
            try:
                outputs = step.outputs(job)
            except DataError:
                why = "what it made before is gone or cannot be read"
            else:
                progress.skipped(
                    step, "as before" if outputs == before.outputs else "was made anew since by another command; kept"
                )
                if outputs != before.outputs:
                    result = f"{before.result}, then made anew by another command"
                    job.state.steps[step.name] = StepRecord(inputs, outputs, before.seconds, result)
                    job.state.write(job.folder)
                return
        del job.state.steps[step.name]  # from now on what lies there counts for nothing
        job.state.write(job.folder)
    progress.begins(step, job, why)
    started = time.monotonic()
    with indented():
        done = step.run(job)
    seconds = time.monotonic() - started
    job.state.steps[step.name] = StepRecord(inputs, step.outputs(job), seconds, done.result, done.left_out)
    job.state.write(job.folder)
    progress.ends(step, job, seconds, done)


def _changed(before: Hashes, now: Hashes) -> str:
    """Why a step has to be done again; "" where its inputs are the same."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return f"again, because of other {', '.join(names)}" if names else ""


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder. The system takes it from a process that ends, however it ends.

    Raises:
        UsageError: another process holds it. OutputError: the folder cannot be written.
    """
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise OutputError(
            f"could not write to the folder {folder} ({error.strerror}); expected one that can be written; choose another --out"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"found another defq fit at work in {folder}; expected one at a time; wait for it, or choose another --out"
            ) from error
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _removed_again(folder: Path, new: bool) -> Iterator[None]:
    """Remove the folder where a fit has made it and then refused to put anything into it."""
    try:
        yield
    except EdgeError:
        if new and {each.name for each in folder.iterdir()} <= {LOCK}:
            with contextlib.suppress(OSError):
                (folder / LOCK).unlink()
                folder.rmdir()
        raise


def _is_full(error: BaseException) -> bool:
    """Whether a full disk is behind an error. PyTorch and NumPy do not say why they could not write a file."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            return cause.errno in FULL
        cause = cause.__cause__
    return isinstance(error, OutputError)


def _full(folder: Path, step: Step) -> OutputError:
    return OutputError(
        f"found no space left on the disk in the step {step.name}; expected room for what it writes to {folder}; free some space "
        "and run the same command again: it goes on where it stopped"
    )
