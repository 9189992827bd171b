"""The addresses that a host listens on."""

import socket

import pytest

from device.errors import UsageError
from host.serving.addresses import listen, parse_host_port


@pytest.mark.parametrize("text", ["9100", ":9100", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:²"])
def test_an_address_that_is_none(text):
    with pytest.raises(UsageError, match=r"found --metrics-address .*; expected HOST:PORT such as 127.0.0.1:9100"):
        parse_host_port(text, "--metrics-address")


def test_addresses_with_a_port_are_read():
    assert parse_host_port("[::1]:9100", "--metrics-address") == ("::1", 9100)
    assert parse_host_port("localhost:0", "--metrics-address") == ("localhost", 0)


def test_a_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"found port {port} of 127.0.0.1 in use.*with --metrics-address"):
            listen("127.0.0.1", port, "--metrics-address")
