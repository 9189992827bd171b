"""Runs the targets under atheris, one after the other: python -m tests.fuzz [NAME ...] [--seconds 60] [--merge]."""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz import CORPUS, FOLDER, TARGETS

OUT = Path("build/fuzz")
MAX_LEN = 1 << 14
MEMORY_MB = 1024  # ONNX Runtime, NumPy and OpenCV take 150 of them
INPUT_SECONDS = 5
COUNTS = (r"#(\d+)\t", r"exec/s: (\d+)", r"cov: (\d+)", r"ft: (\d+)")  # in libFuzzer's lines
FILES_A_TARGET = 20  # that --merge lets the committed corpus of a target grow to


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"targets, all by default: {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("--merge", action="store_true", help="add what was found to the committed corpus, minimised")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(TARGETS))
    if unknown:
        parser.error(f"found target {unknown[0]}; expected one of {', '.join(TARGETS)}")
    print(f"{'target':<15}{'runs':>10}{'runs/s':>8}{'coverage':>10}{'features':>10}{'inputs':>8}  crashes", flush=True)
    crashes = [crash for name in options.names or TARGETS for crash in fuzz(name, options.seconds, options.merge)]
    for crash in crashes:
        print(f"run again with: {sys.executable} -m tests.fuzz.atheris_target {crash.parent.name} {crash}")
    return 1 if crashes else 0


def fuzz(name: str, seconds: int, merge: bool) -> list[Path]:
    """One target, and a row for it on stdout. Returns the inputs that broke it."""
    folder, found = OUT / name, OUT / name / "inputs"
    found.mkdir(parents=True, exist_ok=True)
    seen = set(crashes_in(folder))
    log = run(name, [f"-max_total_time={seconds}", found, CORPUS / name], seconds + 120)
    (folder / "log.txt").write_text(log)
    new = [crash for crash in crashes_in(folder) if crash not in seen]
    counts = [number(pattern, log) for pattern in COUNTS]
    if not counts[0] and not new:
        new = [folder / "log.txt"]  # it did not even start
    inputs = len(list(found.iterdir()))
    told = " ".join(map(str, new)) or "0"
    print(f"{name:<15}{counts[0]:>10}{counts[1]:>8}{counts[2]:>10}{counts[3]:>10}{inputs:>8}  {told}", flush=True)
    if merge and not new:
        print(f"{'':<15}added {merged(name, found)} inputs to {CORPUS / name}")
    return new


def run(name: str, options: list, seconds: int) -> str:
    """What atheris wrote. A process that hangs is ended; its log says so."""
    command = [
        sys.executable, "-m", "tests.fuzz.atheris_target", name, f"-dict={FOLDER / 'dictionary.txt'}", f"-max_len={MAX_LEN}",
        f"-rss_limit_mb={MEMORY_MB}", f"-timeout={INPUT_SECONDS}", f"-artifact_prefix={OUT / name}/", *map(str, options),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, check=False)
        return done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as error:
        return (error.stdout or b"").decode(errors="replace") + f"\nended after {seconds} s\n"


def crashes_in(folder: Path) -> list[Path]:
    return sorted(each for kind in ("crash", "timeout", "oom", "leak") for each in folder.glob(f"{kind}-*"))


def number(pattern: str, log: str) -> int:
    """The last number that the log has there; 0 where it has none."""
    numbers = re.findall(pattern, log)
    return int(numbers[-1]) if numbers else 0


def merged(name: str, found: Path) -> int:
    """Add the smallest new inputs that reach what the committed ones do not; their number."""
    home = CORPUS / name
    with tempfile.TemporaryDirectory() as folder:
        for each in home.iterdir():
            shutil.copy(each, folder)
        old = set(home.iterdir())
        run(name, ["-set_cover_merge=1", folder, found], 600)
        new = sorted(
            (each for each in Path(folder).iterdir() if home / each.name not in old),
            key=lambda each: each.stat().st_size,
        )
        new = new[: max(0, FILES_A_TARGET - len(old))]
        for each in new:
            shutil.copy(each, home / each.name)
    return len(new)


if __name__ == "__main__":
    sys.exit(main())
