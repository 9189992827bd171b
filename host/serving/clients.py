"""Names of clients: what the limits, the shares and the log of the host call the sender of a request."""

import functools
import ipaddress

from starlette.types import Scope


@functools.lru_cache(8192)
def network_of(address: str) -> str:
    """What counts as the address of one client. Of an IPv6 address these are the first 64 bits, because one client usually
    has all addresses that begin with them."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address) or parsed.is_loopback:
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))


def address_of(scope: Scope) -> str:
    """The address from which a request came, as ``network_of`` gives it."""
    return network_of((scope.get("client") or ("",))[0])


def client_of(scope: Scope) -> str:
    """The name that host/serving/guard.py gave to the client of a request, or its address where there is no guard."""
    return str(scope.get("state", {}).get("client_name") or address_of(scope))
