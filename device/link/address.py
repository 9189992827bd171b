"""Where an HTTP server listens, as people write it: read with care, and shown without its secrets."""

import re
import socket
from typing import Dict, NamedTuple, Optional

URL = re.compile(
    r"(?P<scheme>[a-z]+)://(?:\[(?P<six>[0-9a-f:.]+(?:%[\w.~-]+)?)\]|(?P<name>[^\s/:@?#%\[\]\\]+))"
    r"(?::(?P<port>[0-9]{1,5}))?/?(?:\?(?P<query>[^#]*))?",
    re.IGNORECASE | re.ASCII,
)
NAME = re.compile(r"[a-z0-9_.-]+", re.ASCII)
# The two standards for such names turn these four characters into different names (RFC 5894, section 7.2)
AMBIGUOUS = re.compile("[\u00df\u03c2\u200c\u200d]")


class Address(NamedTuple):
    """host: in ASCII, names in other scripts as IDNA writes them. query: what follows a question mark."""

    scheme: str
    host: str
    port: int
    query: str = ""


def address_of(url: str, ports: Dict[str, int]) -> Optional[Address]:
    """Read SCHEME://HOST:PORT, with or without a slash and a query behind it.

    Args:
        ports: the schemes that may be, and the port of each where the address names none.

    Returns:
        None for anything else: a path, a user, a fragment, port 0, or a name that cannot be one.

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
    """An address that may be no good, for a message: user and password, query and fragment are left out, since tokens
    are put there.

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
    """The name in ASCII; empty where there is none."""
    try:
        ascii_name = name.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return ""
    return ascii_name if NAME.fullmatch(ascii_name) and not AMBIGUOUS.search(name) else ""


def _six(text: str) -> str:
    try:
        socket.inet_pton(socket.AF_INET6, text.partition("%")[0])
    except OSError:
        return ""
    return text.lower()
