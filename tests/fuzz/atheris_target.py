"""Runs one target under atheris: python -m tests.fuzz.atheris_target NAME [libFuzzer's options and folders]."""

import importlib
import shlex
import sys
from random import Random

import atheris

from tests.fuzz.mutation import mutated

# The readers, and of the standard library what takes archives apart. atheris 2.3 breaks a coroutine of host.batching.
PACKAGES = ["device", "host", "tarfile", "zipfile"]
BROKEN = ["host.app.batching"]


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Half of the time within the JSON of an input, else libFuzzer's own changes of bytes."""
    random = Random(seed)
    changed = mutated(data, random) if random.randrange(2) else None
    if changed is None or len(changed) > max_size:
        changed = atheris.Mutate(data, max_size)
    return changed


def main() -> None:
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=PACKAGES, exclude=BROKEN, enable_loader_override=False):
        target = importlib.import_module(f"tests.fuzz.fuzz_{name}")
    # a merge hands the program's name and the options to a shell, once more for each input that breaks
    command = f"{shlex.quote(sys.executable)} -m tests.fuzz.atheris_target {name}"
    atheris.Setup([command, *options], target.check, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
