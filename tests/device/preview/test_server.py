"""What the preview's server answers."""

import json
import os
import re
import socket
import time

import cv2
import numpy as np
import pytest

from device.preview.handler import FILES, FOLDER
from tests.device.preview.fakes import ask, switch, until


@pytest.mark.parametrize(
    ("path", "kind", "holds"),
    [
        ("/", "text/html; charset=utf-8", b"<title>Early exits, live</title>"),
        ("/page.css", "text/css; charset=utf-8", b"prefers-color-scheme: dark"),
        ("/page.js", "text/javascript; charset=utf-8", b"/stats"),
        ("/pictures.js", "text/javascript; charset=utf-8", b"/stream.mjpg"),
        ("/view.png", "image/png", b"PNG"),
        ("/stats", "application/json", b'"history"'),
    ],
)
def test_each_address_has_its_content_and_headers(running, path, kind, holds):
    status, headers, body = ask(running(), path)
    assert (status, headers["Content-Type"]) == (200, kind)
    assert holds in body
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers


def test_all_files_of_the_page_are_served():
    assert sorted(name for name, _ in FILES.values()) == sorted(os.listdir(FOLDER))


def test_page_names_no_outside_address(running):
    server = running()
    for path in FILES:
        text = ask(server, path)[2].decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search("https?:|//[a-z]+\\.|style=|onclick", text)


@pytest.mark.parametrize(
    "path", ["/nothing", "/../preview.py", "/page.py", "//etc/passwd", "/%2e%2e/server.py", "/stats/"]
)
def test_other_paths_are_not_there(running, path):
    status, headers, body = ask(running(), path)
    assert status == 404
    assert headers["Content-Type"] == "application/json"
    assert b"found no such page" in body


def test_stats_tell_the_story(running, bundle):
    server = running()

    def settled():
        stats = json.loads(ask(server, "/stats")[2].decode())
        return stats["recent"] and stats["recent"]["frames"] > 60 and stats

    stats = until(settled)
    assert (stats["bundle"], stats["split"], stats["exits"], stats["host"]) == (bundle.id, 2, 5, None)
    assert (stats["power_w"], stats["power"], stats["dropped"], stats["ended"]) == (2.5, "meter", 3, "")
    recent = stats["recent"]
    assert sum(recent["histogram"]) == recent["frames"]
    assert recent["histogram"][5] > 0  # no host
    assert 0.5 < recent["left_share"] < 0.9
    assert recent["latency_ms"] > 0
    assert 0 <= recent["accuracy"] <= 1
    history = stats["history"]
    assert (
        len({len(history[name]) for name in ("left_share", "bytes_per_s", "latency_ms", "attack", "defq", "host_down")})
        == 1
    )
    assert stats["newest"]["label"] in bundle.labels
    assert stats["attack"] == {"on": False, "available": True, "kind": "twin", "text": "inverted frames"}
    assert (stats["defq"]["mode"], stats["defq"]["active"], list(stats["defq"]["unavailable"])) == (
        "off",
        False,
        ["gated", "twin"],
    )
    assert stats["host_down_s"] is None
    row = stats["comparison"][0]
    assert (row["attacked"], row["defence"], row["payloads"]) == (False, "none", [])
    assert row["energy_mj"] > 0
    assert stats["monitor"] == {"state": "ok", "alarms": 0}
    server.pipeline.controller.monitor.attacked, server.pipeline.controller.monitor.alarms = True, 1
    until(lambda: settled()["monitor"] == {"state": "suspected", "alarms": 1})
    server.pipeline.controller.monitor.learning = True
    until(lambda: settled()["monitor"]["state"] == "learning")
    server.pipeline.controller.monitor = None
    until(lambda: settled()["monitor"]["state"] == "absent")


def test_switching_changes_what_the_network_sees(running):
    server = running()

    def lens():
        content = np.frombuffer(ask(server, "/view.png")[2], np.uint8)
        return np.split(cv2.imdecode(content, cv2.IMREAD_COLOR), 4, axis=1)

    clean, seen, _, network = lens()
    np.testing.assert_array_equal(clean, seen)
    status, state = switch(server, {"attack": True, "defq": "on"})
    assert (status, state["attack"]["on"], state["defq"]["mode"]) == (200, True, "on")
    clean, seen, _, network = until(
        lambda: next(iter([views for views in [lens()] if (views[0] != views[1]).any()]), None)
    )
    np.testing.assert_array_equal(clean, 255 - seen)
    assert (network != seen).any()
    stats = json.loads(ask(server, "/stats")[2].decode())
    assert (stats["attack"]["on"], stats["defq"]["active"], stats["newest"]["defq"]) == (True, True, True)
    assert switch(server, {"attack": False, "defq": "off"})[0] == 200


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (403, '{"attack": true}', {}),
        (403, '{"attack": true}', {"X_Preview": "2"}),
        (403, '{"attack": true}', {"X_Preview": "1", "Origin": "http://evil.example"}),
        (403, '{"attack": true}', {"X_Preview": "1", "Origin": "null"}),
        (411, '{"attack": true}', {"X_Preview": "1", "Content_Length": "-5"}),
        (413, " " * 2000, {"X_Preview": "1"}),
        (413, "", {"X_Preview": "1", "Content_Length": "99999999"}),
        (400, "attack", {"X_Preview": "1"}),
        (400, b"\xff", {"X_Preview": "1"}),
        (400, "[" * 1000, {"X_Preview": "1"}),
        (400, "[1]", {"X_Preview": "1"}),
        (409, '{"attack": 1}', {"X_Preview": "1"}),
        (409, '{"shell": "rm"}', {"X_Preview": "1"}),
    ],
)
def test_switching_is_refused(running, status, body, headers):
    server = running()
    found, _, answer = ask(server, "/switch", "POST", body, **headers)
    assert found == status
    assert json.loads(answer.decode())["error"].startswith("found ")
    assert server.content.switches.attack is False


@pytest.mark.parametrize(
    ("status", "path", "length"), [(404, "/stats", 900), (403, "/switch", 900), (413, "/switch", 99999)]
)
def test_a_client_that_still_sends_reads_why_it_was_refused(running, status, path, length):
    """Bytes that reach a closed socket reset the connection, and the client would lose its answer."""
    with socket.create_connection(("127.0.0.1", running().server_port), timeout=10) as client:
        own = "X-Preview: 1\r\n" if status == 413 else ""
        head = "POST {} HTTP/1.1\r\nHost: localhost\r\n{}Content-Length: {}\r\n\r\n".format(path, own, length)
        client.sendall(head.encode())
        for _ in range(8):  # the first of these bytes meet the answer, and later ones would meet the reset
            time.sleep(0.02)
            client.sendall(b"x" * 64)
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
    assert answer.startswith("HTTP/1.1 {} ".format(status).encode())


def test_switching_from_the_page_itself(running):
    server = running()
    host = "localhost:{}".format(server.server_port)
    assert switch(server, {"attack": True}, host=host, Origin="http://" + host)[0] == 200
    assert ask(server, "/switch")[0] == 405
    assert ask(server, "/stats", "POST", "{}", X_Preview="1")[0] == 404
    assert ask(server, "/", "DELETE")[0] == 501
