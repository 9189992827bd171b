"""Changes the host's token file, and the file with the token of each device. Lines of other devices stay as they are."""

import secrets
import shlex
from pathlib import Path

from device.errors import UsageError
from host.credentials.secret_files import read, write
from host.credentials.tokens import LINE, parse_tokens

NOBODY = "-nobody"  # name of a line that keeps the file from being empty; no device can have it


def add_token(folder: Path, name: str, device_file: Path) -> None:
    """Make a token, add it to the host's tokens, and write it into ``device_file`` in place of the one before."""
    token = secrets.token_urlsafe(32)
    _write_lines(folder, [*_lines(folder), f"{name}: {token}"])
    write(device_file, token.encode() + b"\n", secret=True, replace=True)


def rotate(folder: Path, name: str) -> str:
    """Give a device one more token. The tokens that it had stay valid. Returns a sentence on what to do next.

    Raises:
        UsageError: there is no such device.
    """
    file = folder / "devices" / f"{name}-token.txt"
    if not file.parent.is_dir() or not (file.exists() or name in map(_owner, _lines(folder))):
        raise UsageError(f"found no device {name} in {folder}; expected one that is there; make it with --device {name}")  # fmt: skip
    add_token(folder, name, file)
    return (f"made  {file}, and its line in tokens.txt: copy both; the old token stays valid until: "
            f"defq keys --out {shlex.quote(str(folder))} --retire {name}")  # fmt: skip


def retire(folder: Path, name: str) -> str:
    """Remove all tokens of a device except the newest, which is in its last line. Returns a sentence on what to do next.

    Raises:
        UsageError: the device has no token.
    """
    lines = _lines(folder)
    own = _own(lines, name, folder)
    _write_lines(folder, [line for number, line in enumerate(lines) if number not in own[:-1]])
    return f"took  {len(own) - 1} of the tokens of {name}, all but the newest: copy tokens.txt to the host"


def revoke(folder: Path, name: str) -> str:
    """Remove all tokens of a device. Its certificate stays valid until its end. Returns a sentence on what to do next.

    Raises:
        UsageError: the device has no token.
    """
    lines = _lines(folder)
    own = _own(lines, name, folder)
    _write_lines(folder, [line for number, line in enumerate(lines) if number not in own])
    return (f"took  {len(own)} of the tokens of {name}: copy tokens.txt to the host, which then refuses it; "
            f"--rotate {name} lets it in again")  # fmt: skip


def _lines(folder: Path) -> list[str]:
    file = folder / "tokens.txt"
    if not file.exists():
        return []
    content = read(file)
    parse_tokens(content, str(file))
    return content.decode("ascii", "surrogateescape").splitlines()


def _write_lines(folder: Path, lines: list[str]) -> None:
    lines = [line for line in lines if _owner(line) != NOBODY]
    if not any(LINE.fullmatch(line.strip()) for line in lines):
        # A host that finds no token in the file keeps the tokens from before, so the file must hold at least one.
        lines.append(f"{NOBODY}: {secrets.token_urlsafe(32)}")
    content = "".join(line + "\n" for line in lines).encode("ascii", "surrogateescape")
    write(folder / "tokens.txt", content, secret=True, replace=True)


def _owner(line: str) -> str | None:
    match = LINE.fullmatch(line.strip())
    return match.group(1) if match else None


def _own(lines: list[str], name: str, folder: Path) -> list[int]:
    own = [number for number, line in enumerate(lines) if _owner(line) == name]
    if not own:
        raise UsageError(f"found no token of {name} in {folder / 'tokens.txt'}; expected a device that has one")
    return own
