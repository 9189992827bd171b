"""The link is measured by requests alone; here over a server that moves the clock as a link would."""

import http.server
import threading

import pytest

from device.errors import HostError
from device.link.credentials import NO_CREDENTIALS
from device.planning import measured_link as module
from device.planning.measured_link import measured_link


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status = 200
    now_s = 0.0

    def do_GET(self):
        length = len(self.headers.get("X-Padding", ""))
        Handler.now_s += 0.004 + 0.02 * (length > 1000)
        self.send_response(self.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield "http://127.0.0.1:{}".format(server.server_address[1])
    server.shutdown()
    server.server_close()
    thread.join()


def test_rate_and_round_trip_are_those_of_the_link(url, monkeypatch):
    monkeypatch.setattr(module, "perf_counter", lambda: Handler.now_s)
    link = measured_link(url, NO_CREDENTIALS)
    assert link.rtt_s == pytest.approx(0.004)
    assert link.rate_bit_s == pytest.approx(8 * module.PADDING / 0.02)


def test_a_host_that_refuses_or_is_absent_is_one_sentence(url, monkeypatch):
    monkeypatch.setattr(Handler, "status", 431)
    with pytest.raises(HostError, match="found status 431 from .*; tell the link with --link and --rtt instead"):
        measured_link(url, NO_CREDENTIALS)
    with pytest.raises(HostError, match="found no answer from .*; start it, or tell the link"):
        measured_link("http://127.0.0.1:9", NO_CREDENTIALS)
