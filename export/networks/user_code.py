"""Networks of the user's own: a function in a Python file, as ``--network FILE.py:build`` names it.

The function is called as ``build(classes, (height, width))`` and gives an SDN. Training copies the file into the model folder, and
model.json keeps its SHA-256.

The file is a program, and whoever sends a model folder could send any program. It is therefore run only if the user has named it:
the SHA-256 of each file that was named with ``--network`` is kept in the user's cache, and a file that is not among them is refused
in one sentence. A file that was changed since is another file.
"""

import contextlib
import hashlib
import re
import types
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch

from device.errors import DataError, EdgeError, UsageError
from device.system.files import read_bounded, user_cache
from export.data.output import write_output
from export.networks.find import model_names, network_spec
from export.networks.sdn import SDN
from export.networks.spec import NetworkSpec

FUNCTION = "build"
INPUT_SIZE = (96, 96)
"""Of the images, where neither ``--size`` nor a model folder says another size."""
MAX_BYTES = 1 << 20
Build = Callable[[int, tuple[int, int]], object]
EXPECTED = "expected FILE.py:FUNCTION, a function of (number of classes, (height, width)) that gives an export.networks.sdn.SDN"


class UserCode(NamedTuple):
    """Where a network of the user's own is defined.

    file: the Python file. function: its name in it. content: of the file when it was read. origin: the file that it was trained
    from, as the user named it.
    """

    file: Path
    function: str
    content: bytes
    origin: str

    @property
    def sha256(self) -> str:
        """Of the file."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def name(self) -> str:
        """What the network is called, after the file that it was trained from."""
        return Path(self.origin).stem

    @property
    def reference(self) -> str:
        """What names it on the command line, after ``--network``."""
        return f"{self.file}:{self.function}"


def named(text: str) -> UserCode:
    """The network that the user names with ``--network``, whose file may be run from now on.

    Args:
        text: FILE.py:FUNCTION, or FILE.py for the function ``build``.

    Raises:
        UsageError: it is not of this form, or the file has the name of another model.
        DataError: the file cannot be read.
    """
    found = re.fullmatch(r"(.*\.py)(?::([A-Za-z_]\w*))?", text)
    if not found:
        raise UsageError(f"found --network {text}; {EXPECTED}; name such a function")
    file = Path(found[1])
    if file.stem in model_names():
        raise UsageError(
            f"found --network {text}, whose file has the name of another model; expected a name of its own; rename the file"
        )
    code = UserCode(file, found[2] or FUNCTION, _read(file), str(file))
    _allow(code)
    return code


def kept(file: Path, function: str, sha256: str, origin: str) -> UserCode:
    """The network of a model folder.

    Args:
        sha256: what the file has to have.

    Raises:
        DataError: the file is absent, or has another content.
    """
    code = UserCode(file, function, _read(file), origin)
    if code.sha256 != sha256:
        raise DataError(
            f"found another content in {file} (SHA-256 {code.sha256[:12]}) than the model was trained with ({sha256[:12]}); expected "
            "that one; put it back, or train the network anew"
        )
    return code


def spec_of(family: str, code: UserCode | None) -> NetworkSpec:
    """The spec of a network: of defq's own, or of the user's. The number of exits of the latter is not known before it is built; it
    is 0.

    Raises:
        UsageError: there is no such network.
        DataError: the user's file was never named by the user, or does not work.
    """
    if code is None:
        return network_spec(family)
    if not _is_allowed(code):
        raise DataError(
            f"found code in {code.file} that nobody has named on this machine; expected code that you trust, because it is run; read "
            f"it, and then name it once: --network {code.reference}"
        )
    function = _function(code)
    return NetworkSpec(
        family, lambda classes, input_size: _built(code, function, classes, input_size), INPUT_SIZE, exits=0
    )


def _built(code: UserCode, function: Build, classes: int, input_size: tuple[int, int]) -> SDN:
    """What the user's function gives.

    Raises:
        DataError: it fails, or gives something other than an SDN for these classes and this size.
    """
    asked = f"for {classes} classes and {input_size[1]} x {input_size[0]} pixels"
    try:
        network = function(classes, input_size)
        if not isinstance(network, SDN):
            raise TypeError(f"it gave {type(network).__name__}")
        with torch.no_grad():
            found = tuple(network.eval()(torch.zeros(2, 3, *input_size)).shape)
    except EdgeError:
        raise
    except Exception as error:
        raise DataError(
            f"could not build {code.reference} {asked} ({_told(error)}); {EXPECTED}; mend the function"
        ) from error
    wanted = (len(network.ics) + 1, 2, classes)
    if found != wanted or network.input_shape != (3, *input_size):
        raise DataError(
            f"found an input of {network.input_shape} and logits of {found} in {code.reference} {asked}; expected {(3, *input_size)} and "
            f"{wanted} for two images; mend the function"
        )
    return network.train()


def keep(code: UserCode, file: Path) -> UserCode:
    """Write the code to another place, beside its weights, as it was when the training began.

    Raises:
        OutputError: it cannot be written.
    """
    write_output(file, code.content)
    return code._replace(file=file)


@lru_cache
def _function(code: UserCode) -> Build:
    """Run the file, and take the function out of it. The folder of the file is not put on the path of imports: what it imports has
    to be installed."""
    module = types.ModuleType(f"defq_network_{code.sha256[:12]}")
    module.__file__ = str(code.file)
    try:
        exec(compile(code.content, str(code.file), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        raise DataError(f"could not run {code.file} ({_told(error)}); {EXPECTED}; mend the file") from error
    function = getattr(module, code.function, None)
    if not callable(function):
        raise DataError(f"found no function {code.function} in {code.file}; {EXPECTED}; name another function")
    build: Build = function
    return build


def _told(error: BaseException) -> str:
    """An error of other people's code, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _read(file: Path) -> bytes:
    try:
        return read_bounded(str(file), MAX_BYTES)
    except (OSError, ValueError) as error:
        raise DataError(f"could not read {file} ({error}); {EXPECTED}; check the path") from error


_allowed: set[str] = set()
"""Of this process: where the user has no home, each command has to name the file anew."""


def _allow(code: UserCode) -> None:
    _allowed.add(code.sha256)
    if place := _place(code):
        with contextlib.suppress(OSError):  # the next command then has to name it anew, and says so
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()


def _is_allowed(code: UserCode) -> bool:
    place = _place(code)
    return code.sha256 in _allowed or (place is not None and place.is_file())


def _place(code: UserCode) -> Path | None:
    cache = user_cache()
    return Path(cache) / "networks" / code.sha256 if cache else None
