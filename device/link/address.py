"""Reads the address of an HTTP server as people write it, and shows it in messages without its secrets."""

import re
import socket
from typing import Dict, NamedTuple, Optional

URL = re.compile(
    r"(?P<scheme>[a-z]+)://(?:\[(?P<six>[0-9a-f:.]+(?:%[\w.~-]+)?)\]|(?P<name>[^\s/:@?#%\[\]\\]+))"
    r"(?::(?P<port>[0-9]{1,5}))?/?(?:\?(?P<query>[^#]*))?",
    re.IGNORECASE | re.ASCII,
)
NAME = re.compile(r"[a-z0-9_.-]+", re.ASCII)
# The two standards for international names (IDNA 2003 and 2008) turn these characters into different names (RFC 5894, section 7.2)
AMBIGUOUS = re.compile("[\u00df\u03c2\u200c\u200d]")


class Address(NamedTuple):
    """The parts of an address."""

    scheme: str
    host: str
    """In ASCII; names in other scripts are encoded with IDNA."""
    port: int
    query: str = ""
    """The text after the question mark."""


def address_of(url: str, ports: Dict[str, int]) -> Optional[Address]:
    """Read SCHEME://HOST:PORT, which a slash and a query may follow.

    Args:
        ports: each scheme that is allowed -> its port for addresses that name none.

    Returns:
        None for anything else: a path, a user, a fragment, port 0, or a name that no host can have.

    Example:
        >>> address_of("http://b\u00fccher.example:8000", {"http": 80})
        Address(scheme='http', host='xn--bcher-kva.example', port=8000, query='')
    """
    match = URL.fullmatch(url)
    if match is None:
        return None
    scheme = match.group("scheme").lower()
    port = ports.get(scheme, 0) if match.group("port") is None else int(match.group("port"))
    host = _six(match.group("six")) if match.group("six") else _name(match.group("name"))
    if scheme not in ports or not host or not 0 < port < 65536:
        return None
    return Address(scheme, host, port, match.group("query") or "")


def without_secrets(url: str) -> str:
    """An address for use in a message; it need not be valid. User, password, query and fragment are replaced, because
    people put tokens there.

    Example:
        >>> without_secrets("http://me:secret@host:1/?token=abc")
        'http://***@host:1/?***'
    """
    scheme, mark, rest = url.partition("//") if re.match("[A-Za-z]*:?//", url) else ("", "", url)
    if "@" in rest:  # a password may hold every other mark
        rest = "***@" + rest.rpartition("@")[2]
    rest = re.sub(r"([?#]).+", r"\1***", rest, flags=re.DOTALL)
    shown = scheme + mark + rest
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in shown[:200])


def _name(name: str) -> str:
    """The name in ASCII; empty if it cannot be the name of a host."""
    try:
        ascii_name = name.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return ""
    return ascii_name if NAME.fullmatch(ascii_name) and not AMBIGUOUS.search(name) else ""


def _six(text: str) -> str:
    """The IPv6 address in lower case; empty if it is none."""
    try:
        socket.inet_pton(socket.AF_INET6, text.partition("%")[0])
    except OSError:
        return ""
    return text.lower()
