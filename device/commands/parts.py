"""The three parts of the command ``defq``, each known by the names of its modules alone: device/ imports neither of the others."""

import importlib
import importlib.util
import sys
from typing import Dict, NamedTuple, Optional, Tuple

from device.errors import MissingPartError

Commands = Dict[str, Tuple[str, str]]
"""Name -> module with ``add_arguments(parser)``, ``run(arguments)`` and ``EXAMPLES``, and what the command does."""


class Part(NamedTuple):
    """A folder of this project whose commands ``defq`` offers."""

    name: str
    """Of the folder, and of the extra in pyproject.toml that brings its libraries."""
    place: str
    """Where its commands run, for the help."""
    registry: str
    """The module whose COMMANDS lists them."""
    names: Tuple[str, ...]
    """Of its commands: known even where the folder is not installed, as on a board."""
    libraries: Tuple[str, ...]
    """Modules that come with its extra. Where one of them is absent, the part is not installed."""
    python: Tuple[int, int]
    """The oldest version of Python that it runs on."""

    @property
    def install(self) -> str:
        """The command that brings it, in the folder of the repository."""
        return "pip install " + ("." if self.name == "device" else "'.[{}]'".format(self.name))

    def commands(self) -> Commands:
        """What its registry lists; nothing where the folder is absent or this Python is too old for it."""
        if sys.version_info < self.python or _absent(self.name):
            return {}
        commands: Commands = importlib.import_module(self.registry).COMMANDS
        return commands

    def missing(self) -> str:
        """Why its commands cannot run here, in a few words; empty where they can. Imports none of its libraries."""
        if sys.version_info < self.python:
            return "Python {}.{} or newer".format(*self.python)
        if _absent(self.name):
            return "the folder {}/".format(self.name)
        return ", ".join(name for name in self.libraries if _absent(name))

    def error(self, found: str) -> MissingPartError:
        """The sentence for someone who called one of its commands where it cannot run."""
        needs = "" if self.python < (3, 7) else ", which needs Python {}.{} or newer".format(*self.python)
        return MissingPartError("{}; expected an installation with the part {}{}; in the folder of the repository run: {}".format(
            found, self.name, needs, self.install))  # fmt: skip


PARTS = (
    Part("device", "on the device", "device.commands.cli", ("run", "bench", "plan", "preview", "doctor", "jpeg"),
         ("numpy", "cv2", "onnxruntime"), (3, 6)),
    Part("export", "on a workstation", "export.commands.cli",
         ("fit", "scan", "train", "harden", "calibrate", "table", "gate", "monitor", "search", "attack", "bundle", "evaluate", "triton", "kit", "demo"),
         ("torch", "onnx", "safetensors"), (3, 10)),
    Part("host", "on a server", "host.cli", ("serve", "cluster", "keys"), ("starlette", "uvicorn"), (3, 10)),
)  # fmt: skip


def part_of(command: str) -> Optional[Part]:
    """The part that a command belongs to, whether it is installed or not; None where no part has a command of this name."""
    return next((part for part in PARTS if command in part.names), None)


def missing_library(module: str, error: ImportError) -> Optional[MissingPartError]:
    """The sentence for a library that a command's module could not import.

    Args:
        module: of the command; its first name is that of the part.
        error: of the import.

    Returns:
        None where what could not be imported belongs to this project: that is an error of the project itself.
    """
    library = (error.name or "").split(".")[0]
    own = [part for part in PARTS if module.split(".")[0] == part.name]
    if not own or library in [part.name for part in PARTS]:
        return None
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if isinstance(error, ModuleNotFoundError):
        return own[0].error("found no library {}".format(library))
    return own[0].error("could not import {} ({})".format(library or "a library", lines[0][:200]))


def _absent(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is None
    except (ImportError, ValueError):  # a module that is being replaced, as in tests
        return True
