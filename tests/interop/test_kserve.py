"""Our device, unchanged, against a KServe model server."""

import importlib.util
import socket
import sys
from pathlib import Path

import pytest

from tests.host.conftest import BUNDLE, ROOT
from tests.interop.conftest import INSTALL, Server, ready


@pytest.fixture(scope="module")
def kserve(tmp_path_factory):
    """The URL of a KServe model server with the tiny bundle's tail."""
    if importlib.util.find_spec("kserve") is None:
        pytest.skip(f"needs kserve: {INSTALL}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(Path(__file__).with_name("kserve_server.py")), str(BUNDLE), str(port)]
    server = Server(command, tmp_path_factory.mktemp("kserve") / "log", {"PYTHONPATH": str(ROOT)})
    try:
        url = f"http://127.0.0.1:{port}"
        if not ready(server, url):
            pytest.skip(f"KServe does not start here: {server.last_words()}")
        yield url
    finally:
        server.stop()


def test_the_device_works_unchanged(kserve, device):
    assert sum(line["source"] == "host" for line in device(kserve)) == 19
