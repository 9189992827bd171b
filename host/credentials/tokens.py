"""Bearer tokens (RFC 6750) from a file that may change while the host runs."""

import hashlib
import hmac
import os
import re
import secrets
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from device.errors import UsageError
from host.serving.file_watcher import FileWatcher

LINE = re.compile(r"(?:([\w.-]{1,64})(?:\s*:\s*|\s+))?([A-Za-z0-9._~+/=-]+)", re.ASCII)
SHORTEST, LONGEST = 16, 512  # characters of a token, as in device/link/credentials.py
CHECK_S = 1.0  # seconds between two looks at the file, at least
MAX_FILE_BYTES = 4 << 20


class _Known(NamedTuple):
    name: str
    token: bytes


class Tokens:
    """The tokens in a file with one token a line: ``NAME: TOKEN`` (the colon may be left out), or the token alone.

    Blank lines and lines that begin with # do not count. Two lines may have the same name, so that a client can have an old
    and a new token at the same time.

    The host looks at the file once a second and reads it again when it has changed and is completely written
    (host/serving/file_watcher.py). The last line must end with a line break like the others: in a file that is half written, the
    beginning of a token would otherwise be taken for a token. If the file cannot be used, or holds no token, the tokens from
    before stay valid and ``warn`` is called once.

    Args:
        file: path of the file. If other users may read it, ``warn`` is called.
        warn: called with a sentence for the operator; the default prints it on stderr.

    Raises:
        UsageError: the file cannot be read, ends within a line, holds no token, or holds one of fewer than 16 characters.
    """

    def __init__(self, file: Path, warn: Callable[[str], None] | None = None) -> None:
        self._file = file
        self._warn = warn or _print
        # Tokens are looked up by a hash under a key that no client knows. So the time of a look-up tells nothing about the
        # tokens, and it is the same for one token and for ten thousand.
        self._key = secrets.token_bytes(32)
        self._nobody = _Known("", secrets.token_bytes(32))
        self._problem = ""  # the problem that was reported last
        try:
            self._watcher = FileWatcher([file])  # before the file is read, so that a change meanwhile is noticed
        except OSError as error:
            raise UsageError(_unreadable(file, error)) from error
        self._known = self._read()
        self._look_at = time.monotonic() + CHECK_S

    def client_of(self, authorization: str) -> str | None:
        """Name of the client whose token is in an Authorization header; None if no known token is in it. A token without a name
        is named by 8 digits of its SHA-256."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + CHECK_S
            self._refresh()
        scheme, _, shown = authorization.partition(" ")
        token = shown.strip(" ").encode("utf-8", "replace")
        known = self._known.get(self._hash(token), self._nobody)
        if hmac.compare_digest(known.token, token) and scheme.lower() == "bearer":
            return known.name
        return None

    def _hash(self, token: bytes) -> bytes:
        return hashlib.blake2b(token, digest_size=32, key=self._key).digest()

    def _refresh(self) -> None:
        try:
            if not self._watcher.have_changed():
                return
            self._known = self._read()
            self._problem = ""
        except (UsageError, OSError) as error:
            problem = _unreadable(self._file, error) if isinstance(error, OSError) else str(error)
            if problem != self._problem:
                self._problem = problem
                self._warn(f"{problem}; the tokens from before stay valid")

    def _read(self) -> dict[bytes, _Known]:
        try:
            with open(self._file, "rb") as file:
                status = os.fstat(file.fileno())
                content = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise UsageError(_unreadable(self._file, error)) from error
        known = {self._hash(each.token): each for each in parse_tokens(content, str(self._file))}
        if status.st_mode & 0o006 and os.name == "posix":
            self._warn(f"found that every user of this machine may read or change {self._file}; expected its owner alone; "
                       f"run: chmod o-rw {self._file}")  # fmt: skip
        return known


def parse_tokens(content: bytes, source: str) -> list[_Known]:
    """The tokens in the bytes of a file. ``source`` is the name of the file for errors, which never show a token.

    Raises:
        UsageError: a line holds no token or does not end, a token has fewer than 16 or more than 512 characters, or there is no
            token at all.
    """
    if len(content) > MAX_FILE_BYTES:
        raise UsageError(f"found more than {MAX_FILE_BYTES} bytes in {source}; expected a file of tokens, one a line")
    found = []
    for number, raw in enumerate(content.decode("ascii", "replace").splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        if not match:
            raise UsageError(f"found something else than a token in line {number} of {source}; expected NAME: TOKEN, or a token "
                             "alone, of letters, digits and . _ ~ + / = -; make one, as in: defq keys --out keys --name edge.example --device cam-1")  # fmt: skip
        name, token = match.groups()
        if not SHORTEST <= len(token) <= LONGEST:
            raise UsageError(f"found a token of {len(token)} characters in line {number} of {source}; expected {SHORTEST} to {LONGEST}; "
                             "make one, as in: defq keys --out keys --name edge.example --device cam-1")  # fmt: skip
        found.append(_Known(name or hashlib.sha256(token.encode()).hexdigest()[:8], token.encode()))
    if found and not content.endswith((b"\n", b"\r")):
        raise UsageError(f"found no end of the last line of {source}; expected a whole file, whose last line ends as the others do; "
                         f"copy it again as defq keys made it, or add that end with: echo >> {shlex.quote(source)}")  # fmt: skip
    if not found:
        raise UsageError(
            f"found no token in {source}; expected one a line; make one, as in: defq keys --out keys --name edge.example --device cam-1"
        )
    return found


def _unreadable(file: Path, error: OSError) -> str:
    return f"could not read the tokens in {file} ({error.strerror}); expected a file with one token a line; make one, as in: defq keys --out keys --name edge.example --device cam-1"


def _print(sentence: str) -> None:
    print(f"warning: {sentence}", file=sys.stderr, flush=True)
