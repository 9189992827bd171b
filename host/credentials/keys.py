"""defq keys: makes a private authority, the host's certificate, and a certificate and a token for each device.

    DIR/ca.pem, ca-key.pem        the authority; its key signs all other certificates and is needed on no other machine
    DIR/host.pem, host-key.pem    certificate and key of the host
    DIR/tokens.txt                the tokens that the host reads: NAME: TOKEN, one a line
    DIR/devices/NAME.pem, NAME-key.pem, NAME-token.txt    the files of one device

Private keys and tokens are files of mode 0600 from their first byte on, and are written completely or not at all. No file that
exists is replaced unless --renew or --rotate asks for it.
"""

import argparse
import ipaddress
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from device.errors import InputError, UsageError
from device.system.options import whole
from host.credentials.secret_files import locked, make_folder, read, write
from host.credentials.token_issuer import add_token, retire, revoke, rotate

if TYPE_CHECKING:
    from host.credentials.certificates import Authority

MAX_DAYS = 3650
PORT = 8443
DEVICE = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class _Plan(NamedTuple):
    """What the options ask for."""

    names: list[str]
    devices: list[str]
    days: int
    renew: bool


EXAMPLES = (
    "defq keys --out keys --name host.local --device camera1",
    "defq keys --out keys --rotate camera1",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", required=True, metavar="DIR", help="folder of the keys; what is there stays, and is used")
    add("--name", action="append", default=[], metavar="HOSTNAME|IP", help="by which devices reach the host; may be repeated")  # fmt: skip
    add("--device", action="append", default=[], metavar="NAME", help="make a certificate and a token for it; may be repeated")  # fmt: skip
    add(
        "--days", type=whole(1, MAX_DAYS), default=825, metavar="N", help="until the new certificates end (default 825)"
    )
    add("--renew", action="store_true", help="replace the certificate of the host, or of each --device")
    add("--rotate", action="append", default=[], metavar="NAME", help="give a device one more token; the old one stays valid")  # fmt: skip
    add("--retire", action="append", default=[], metavar="NAME", help="take all tokens of a device but the newest")
    add("--revoke", action="append", default=[], metavar="NAME", help="take all tokens of a device: the host refuses it")  # fmt: skip
    add("--debug", action="store_true", help="print the traceback of an error")


def run(arguments: argparse.Namespace) -> int:
    """Make what the options ask for. Print what was made, on which machine each file belongs, and how to start host and device.

    Raises:
        UsageError: a name, a number of days or a combination of options cannot work.
        InputError: a file that is in the folder already cannot be used.
        OutputError: the folder cannot be written.
    """
    names = list(dict.fromkeys(map(host_name, arguments.name)))
    devices, *changes = (
        list(dict.fromkeys(map(device_name, each)))
        for each in (arguments.device, arguments.rotate, arguments.retire, arguments.revoke)
    )
    plan = _Plan(names, devices, arguments.days, arguments.renew)
    tokens_alone = any(changes) and not (names or devices or plan.renew)
    folder = Path(arguments.out)
    if not names and not folder.exists():
        raise UsageError(f"found no folder {folder}; expected one that this command made, or --name for a new one and its first host")  # fmt: skip
    make_folder(folder)
    with locked(folder):
        if not tokens_alone:
            _certificates(folder, plan)
        for change, named in zip((rotate, retire, revoke), changes, strict=True):
            for name in named:
                print(change(folder, name))
    return 0


def host_name(text: str) -> str:
    """A host name or address in the form in which devices look for it in a certificate.

    Raises:
        UsageError: the text is neither a host name nor an address.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        pass
    else:
        if "%" in text or address.is_unspecified or address.is_multicast:
            raise UsageError(f"found --name {text}; expected an address by which devices reach the host")
        return str(address)
    if not text.isascii():
        try:
            hint = f"; use --name {text.encode('idna').decode()}, and the same in --host"
        except UnicodeError:
            hint = ""
        raise UsageError(f"found --name {text!r} with letters beyond ASCII; expected the form that the DNS has of it{hint}")  # fmt: skip
    name = text.lower()
    labels = name.split(".")
    # A last part of digits alone belongs to a misspelled IPv4 address.
    if len(name) > 253 or not all(map(LABEL.fullmatch, labels)) or labels[-1].isdigit():
        raise UsageError(f"found --name {text!r}; expected a host name as host.example or an IP address, without https://, port, * or _")  # fmt: skip
    return name


def device_name(text: str) -> str:
    """The name of a device, which its files and its token have as well.

    Raises:
        UsageError: the text cannot be such a name.
    """
    # Otherwise NAME-key.pem could be the certificate of one device and the key of another.
    if not DEVICE.fullmatch(text) or text.endswith("-key"):
        raise UsageError(f"found the device name {text!r}; expected up to 64 letters, digits and . _ -, the first a letter or digit, the end not -key")  # fmt: skip
    return text


def _certificates(folder: Path, plan: _Plan) -> None:
    try:
        from host.credentials import certificates
    except ImportError as error:
        raise UsageError(f"could not import cryptography ({error}), which makes keys; expected it beside the host; run: pip install -r requirements-host.txt") from error  # fmt: skip
    _check(folder, plan)
    if (folder / "ca.pem").exists():
        key = folder / "ca-key.pem"
        authority = certificates.load_authority(read(folder / "ca.pem"), read(key), str(key))
        print(f"kept  {folder / 'ca.pem'}: the authority, until {authority.certificate.not_valid_after_utc:%Y-%m-%d}")
    elif not plan.names:
        raise UsageError(f"found no authority in {folder}; expected one, or --name for a new one and its first host")
    else:
        authority, pair = certificates.make_authority()
        write(folder / "ca-key.pem", pair.key, secret=True)
        write(folder / "ca.pem", pair.certificate)
        print(f"made  {folder / 'ca.pem'}, ca-key.pem: the authority, until {pair.end:%Y-%m-%d}")
    names = _host(folder, plan, authority)
    for name in plan.devices:
        _device(folder, name, plan, authority)
    _tell(folder, names, plan.devices)


def _check(folder: Path, plan: _Plan) -> None:
    """Refuse incomplete sets of files before anything is written."""
    groups: list[tuple[Path, ...]] = [
        tuple(folder / (name + end) for end in (".pem", "-key.pem")) for name in ("ca", "host")
    ]
    if not plan.renew:
        groups += [_device_files(folder, name) for name in plan.devices]
    for files in groups:
        there = [file for file in files if os.path.lexists(file)]
        if there and len(there) < len(files):
            missing = next(file for file in files if file not in there)
            raise InputError(f"found {there[0]} without {missing.name}; expected all of {', '.join(file.name for file in files)} or none; put it back from a copy, or move the others away")  # fmt: skip


def _host(folder: Path, plan: _Plan, authority: "Authority") -> list[str]:
    """Make the host's certificate if there is none or if it is to be renewed. Returns the names in it."""
    from host.credentials import certificates

    file, key_file = folder / "host.pem", folder / "host-key.pem"
    names, exists = plan.names, file.exists()
    if exists:
        old = certificates.load_certificate(read(file), str(file))
        found = certificates.names_of(old)
        names = names or found
        if not plan.renew or (plan.devices and not plan.names):
            if set(names) != set(found):
                raise UsageError(f"found {file} for {', '.join(found)} already, not {', '.join(names)}; expected the same names; add --renew to replace it")  # fmt: skip
            print(f"kept  {file}, host-key.pem: for {', '.join(found)}, until {old.not_valid_after_utc:%Y-%m-%d}")
            return found
    if not names:
        raise UsageError(f"found no names of the host in {folder}; expected --name HOSTNAME|IP, as devices reach it")
    pair = certificates.sign_host(authority, names, plan.days)
    write(key_file, pair.key, secret=True, replace=exists)
    write(file, pair.certificate, replace=exists)
    print(f"made  {file}, host-key.pem: for {', '.join(names)}, until {pair.end:%Y-%m-%d}")
    return names


def _device(folder: Path, name: str, plan: _Plan, authority: "Authority") -> None:
    from host.credentials import certificates

    file, key_file, token_file = _device_files(folder, name)
    exists = any(map(os.path.lexists, (file, key_file, token_file)))
    if exists and not plan.renew:
        print(f"kept  {file}, {key_file.name}, {token_file.name}")
        return
    make_folder(file.parent)
    pair = certificates.sign_device(authority, name, plan.days)
    # The certificate is written last, because a device with a certificate counts as complete.
    if not exists:
        add_token(folder, name, token_file)
    write(key_file, pair.key, secret=True, replace=exists)
    write(file, pair.certificate, replace=exists)
    print(f"made  {file}, {key_file.name}{'' if exists else ', ' + token_file.name}: until {pair.end:%Y-%m-%d}")


def _device_files(folder: Path, name: str) -> tuple[Path, ...]:
    return tuple(folder / "devices" / (name + end) for end in (".pem", "-key.pem", "-token.txt"))


def _tell(folder: Path, names: list[str], devices: list[str]) -> None:
    """Print on which machine each file belongs, and the two command lines."""
    q = shlex.quote
    is_ipv6 = ":" in names[0]
    host = ["host.pem", "host-key.pem"]
    options = "--tls-cert host.pem --tls-key host-key.pem"
    if (folder / "tokens.txt").exists():
        host += ["ca.pem", "tokens.txt"]
        options += " --client-ca ca.pem --token-file tokens.txt"
    print(f"\nOn the host, from {folder}: {', '.join(host)}\n"
          f"    defq serve --bundle BUNDLE --address {'::' if is_ipv6 else '0.0.0.0'} --port {PORT} {options}")  # fmt: skip
    url = f"https://{'[' + names[0] + ']' if is_ipv6 else names[0]}:{PORT}"
    for name in devices:
        print(f"On {name}, from {folder}: ca.pem, and from {folder / 'devices'}: {name}.pem, {name}-key.pem, {name}-token.txt\n"
              f"    defq run --bundle BUNDLE --source URI --host {q(url)} --ca-file ca.pem --cert-file {name}.pem "
              f"--key-file {name}-key.pem --token-file {name}-token.txt")  # fmt: skip
    if len(host) == 2:
        print("Any device that knows ca.pem may ask this host: add --device NAME for a certificate and a token of each")
    print(f"Keep {folder / 'ca-key.pem'} on neither: who has it can make certificates for both sides")
