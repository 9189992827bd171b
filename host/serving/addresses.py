"""Addresses to listen on: how options name them, and the sockets that listen on them."""

import errno
import ipaddress
import socket

from device.errors import UsageError


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return address == "localhost"


def parse_host_port(text: str, option: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``, where an IPv6 address stands in brackets; ``option`` names it in the error.

    Raises:
        UsageError: it has another form.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit()) or len(port) > 5 or int(port) > 65535:
        raise UsageError(f"found {option} {text}; expected HOST:PORT such as 127.0.0.1:9100")
    return host, int(port)


def listen(address: str, port: int, option: str) -> socket.socket:
    """A socket that listens on an address; port 0 takes any free port. ``option`` names the option for another port.

    Raises:
        UsageError: the address is none of this machine, or the port is in use or not allowed for this user.
    """
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(1024)
    except UnicodeError as error:
        raise UsageError(f"found address {address!r}; expected a host name or an IP address of this machine") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"found port {port} of {address} in use by another program; expected a free one; choose another with {option}, or port 0 for any"
            ) from error
        raise UsageError(
            f"could not listen on {address}:{port} ({error.strerror}); expected an address of this machine and a port that this user may use"
        ) from error
    return listener


def free_port(address: str, port: int) -> int:
    """The port if it is free, or any free port for 0. It is for servers that open their own sockets, such as Ray Serve, which
    would share a port with the program that uses it.

    Raises:
        UsageError: the address is none of this machine, or the port is in use.
    """
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            return int(probe.getsockname()[1])
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"could not listen on {address}:{port} ({getattr(error, 'strerror', None) or error}); expected an address of this machine and a free port; choose another with --port, or --port 0 for any"
        ) from error


def in_url(address: str, port: int) -> str:
    """Address and port as a URL has them, with brackets around an IPv6 address."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
