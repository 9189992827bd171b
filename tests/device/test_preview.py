import http.client
import json
import re
import socket
import threading
import time

import cv2
import numpy as np
import pytest

from device.attackers import Attacker
from device.cameras import Camera, Frame
from device.cli import main
from device.engines import OnnxRuntimeEngine
from device.errors import UsageError
from device.pipeline import Pipeline
from device.preview.pictures import Painter, Picture
from device.preview.preview import Preview
from device.preview.recorder import BIN_S, BINS, Recorder, Shot
from device.preview.server import Limits, PreviewServer
from device.preview.switches import Switches
from device.quantization import DefQ
from device.sinks import Decision

TOKEN = "a-token-of-the-tests"


class FakeMonitor:
    """As device.monitor.Monitor, without its arithmetic."""

    attacked = learning = False
    alarms = 0

    def see(self, exit_, quantised):
        return False


class Inverted(Attacker):
    kind = "twin"

    def __call__(self, frame, pixels):
        return 255 - pixels

    def describe(self):
        return "inverted frames"


def decision(number=1, exit_=1, source="edge", sent=0, truth=None, label=0, total=2.0, quantised=False):
    return Decision(number, label, "circle", 0.75, exit_, source, {"total": total}, sent, truth, quantised)


def shot(number=1, pixels=None, seen=None, **fields):
    pixels = np.full((16, 16, 3), 100, np.uint8) if pixels is None else pixels
    return Shot(number, decision(number, **fields), Frame(number, pixels, None, 0.0), pixels if seen is None else seen)


# ---- recorder


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def write(recorder, count, **fields):
    for _ in range(count):
        recorder.write(decision(**fields), Frame(0, np.zeros((2, 2, 3), np.uint8), None, 0.0), None)


def test_points_look_back_over_three_seconds_or_thirty_frames():
    clock = Clock()
    recorder = Recorder(5, clock)
    for second in range(6):
        fields = {"exit_": 1} if second < 3 else {"exit_": 5, "source": "host", "sent": 1000, "total": 8.0}
        for _ in range(2):
            write(recorder, 10, truth=0, label=0 if second < 3 else 1, **fields)
            clock.now += BIN_S
    points = recorder.points()
    assert len(points) == 12
    first, middle, last = points[5], points[8], points[-1]
    assert (first.seconds, first.frames, first.left_share, first.bytes_per_s, first.latency_ms) == (
        3.0,
        60,
        1.0,
        0.0,
        2.0,
    )
    assert (middle.left_share, middle.histogram) == (0.5, [30, 0, 0, 0, 30, 0])
    assert (last.left_share, last.bytes_per_s, last.latency_ms, last.accuracy) == (0.0, 20000.0, 8.0, 0.0)
    assert first.accuracy == 1.0


def test_slow_sources_are_looked_back_on_for_longer_and_gaps_stay_gaps():
    clock = Clock()
    recorder = Recorder(5, clock)
    for _ in range(20):
        write(recorder, 1)
        clock.now += 1
    assert recorder.points()[-1].frames == 15
    assert recorder.points()[-1].seconds == 15.0
    assert recorder.points()[-1].accuracy is None
    clock.now += 16
    last = recorder.points()[-1]
    assert (last.frames, last.left_share, last.latency_ms, last.histogram) == (0, None, None, [0] * 6)
    clock.now += 1000
    assert len(recorder.points()) == BINS
    write(recorder, 1)
    assert len(recorder._bins) == 1  # what is older than a minute is gone


def test_fallback_counts_behind_the_last_exit():
    clock = Clock()
    recorder = Recorder(5, clock)
    write(recorder, 3, exit_=2, source="fallback")
    clock.now += BIN_S
    assert recorder.points()[-1].histogram == [0, 0, 0, 0, 0, 3]
    assert recorder.points()[-1].left_share == 0.0


def test_points_know_when_the_attack_and_defq_were_on():
    clock = Clock()
    recorder = Recorder(5, clock)
    recorder.before_next = lambda: True
    for quantised in (False, True):
        write(recorder, 4, quantised=quantised)
        clock.now += BIN_S
    assert [(each.attack, each.quantised) for each in recorder.points()] == [(True, False), (True, True)]


# ---- switches


@pytest.fixture
def pipeline(bundle):
    return Pipeline(bundle, OnnxRuntimeEngine(bundle, 1), 0.62, False, monitor=FakeMonitor())


def test_switches_take_effect_between_frames(pipeline):
    attacker = Inverted()
    switches = Switches(pipeline, attacker)
    assert (switches.attack, switches.defq) == (False, "off")
    switches.ask({"attack": True, "defq": "on"})
    assert (pipeline.attack, pipeline.defq) == (None, False)
    assert switches.apply() is True
    assert (pipeline.attack, pipeline.defq, pipeline.auto) == (attacker, True, False)
    switches.ask({"defq": "auto"})
    assert switches.apply() is True
    assert (pipeline.auto, switches.to_dict()["defq"]["mode"]) == (True, "auto")
    switches.ask({"attack": False})
    switches.ask({"defq": "off"})
    assert switches.apply() is False
    assert (pipeline.attack, pipeline.defq, pipeline.auto) == (None, False, False)


def test_switches_begin_where_the_pipeline_is(bundle, pipeline):
    pipeline.auto = True
    assert Switches(pipeline, None, "none").defq == "auto"
    assert Switches(Pipeline(bundle, None, 0.5, True), None, "none").defq == "on"


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({}, "found nothing to switch"),
        ({"attack": True, "more": 1}, "found more to switch"),
        ({"attack": 1}, "found 1 for the attack"),
        ({"defq": "maybe"}, "found 'maybe' for DefQ"),
        ({"defq": ["on"]}, "for DefQ"),
    ],
)
def test_switches_refuse_what_they_do_not_know(pipeline, wanted, told):
    switches = Switches(pipeline, Inverted())
    with pytest.raises(UsageError, match=re.escape(told)):
        switches.ask(wanted)
    assert (switches.attack, switches.defq) == (False, "off")


def test_switches_refuse_what_this_run_cannot_do(bundle):
    switches = Switches(Pipeline(bundle, None, 0.5, False), None, "the source has no twins")
    with pytest.raises(UsageError, match="no attack to switch on \\(the source has no twins\\)"):
        switches.ask({"attack": True})
    with pytest.raises(UsageError, match="no monitor"):
        switches.ask({"defq": "auto"})
    state = switches.to_dict()
    assert state["attack"] == {"on": False, "available": False, "kind": "none", "text": "the source has no twins"}
    assert state["defq"]["auto_available"] is False


# ---- pictures


@pytest.mark.parametrize(
    ("shape", "size"),
    [((480, 640, 3), (480, 640)), ((1080, 1920, 3), (360, 640)), ((16, 16, 3), (384, 384)), ((16, 16), (384, 384)),
     ((16, 16, 1), (384, 384)), ((16, 160, 3), (64, 640)), ((2000, 20, 3), (640, 6))],
)  # fmt: skip
def test_camera_picture_is_a_jpeg_of_a_size_for_a_page(bundle, shape, size):
    pixels = np.full(shape, 90, np.uint8)
    content = Painter(bundle).camera(shot(pixels=pixels, seen=np.full((16, 16, 3), 90, np.uint8)))
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (*size, 3)
    if min(shape[:2]) >= 16:
        assert abs(int(image[size[0] // 5, size[1] // 2, 0]) - 90) < 6


def test_camera_picture_marks_source_attack_and_defq(bundle):
    painter = Painter(bundle)

    def image(**fields):
        return cv2.imdecode(np.frombuffer(painter.camera(shot(**fields)), np.uint8), cv2.IMREAD_COLOR)

    def has(picture, colour):
        return (np.abs(picture.astype(int) - colour).max(-1) < 25).sum() > 200

    edge, host, fallback = (178, 196, 45), (60, 146, 250), (175, 163, 156)
    attack, defq = (120, 96, 240), (250, 165, 96)
    for source, colour in (("edge", edge), ("host", host), ("fallback", fallback)):
        assert has(image(source=source), colour)
        assert not has(image(source=source), attack)
    assert has(image(seen=np.full((16, 16, 3), 108, np.uint8)), attack)
    assert not has(image(), defq)
    assert has(image(quantised=True), defq)


def test_lens_shows_clean_attacked_difference_and_what_went_in(bundle, frames):
    clean = frames[0]
    seen = np.clip(clean.astype(int) + np.where(np.arange(16)[:, None, None] % 2, 5, -5), 0, 255).astype(np.uint8)
    content = Painter(bundle).lens(shot(pixels=clean, seen=seen, quantised=True))
    strip = cv2.cvtColor(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    parts = np.split(strip, 4, axis=1)
    np.testing.assert_array_equal(parts[0], clean)
    np.testing.assert_array_equal(parts[1], seen)
    np.testing.assert_array_equal(parts[2], np.clip(128 + 12 * (seen.astype(int) - clean), 0, 255))
    np.testing.assert_array_equal(parts[3], DefQ(bundle.table).planes(seen).transpose(1, 2, 0))
    plain = cv2.imdecode(np.frombuffer(Painter(bundle).lens(shot(pixels=clean)), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(plain[:, 48:], plain[:, :16])
    assert (plain[:, 32:48] == 128).all()


def test_picture_is_encoded_once_for_all_viewers_and_not_too_often():
    recorder, drawn = Recorder(5), []

    def render(newest):
        drawn.append(newest.number)
        return b"%d" % newest.number

    picture = Picture(recorder, render, fps=20)
    assert picture.newer_than(0, 0.01) == (0, b"")
    write(recorder, 1)
    assert not drawn  # nobody looks
    started = time.monotonic()
    results = []
    viewers = [threading.Thread(target=lambda: results.append(picture.newer_than(0, 1.0))) for _ in range(5)]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join()
    assert results == [(1, b"1")] * 5
    assert drawn == [1]
    number = 1
    for _ in range(4):
        write(recorder, 3)
        number, _ = picture.newer_than(number, 1.0)
        assert number == recorder.newest.number
    assert len(drawn) == 5
    assert time.monotonic() - started > 0.19
    assert picture.newer_than(recorder.newest.number, 0.02) == (recorder.newest.number, b"%d" % recorder.newest.number)


# ---- server


class Loop(Camera):
    """Frames over and over until it is told to end."""

    def __init__(self, frames):
        super().__init__()
        self.ended = threading.Event()
        self.dropped = 3
        self._frames = frames
        self._next = 0

    def describe(self):
        return "frames of the tests"

    def read(self):
        if self.ended.wait(0.005):
            return None
        self._next += 1
        return Frame(self._next, self._frames[self._next % len(self._frames)], 0, time.monotonic())


def until(found):
    """Wait for something that ``found`` returns."""
    deadline_s = time.monotonic() + 5
    while time.monotonic() < deadline_s:
        value = found()
        if value:
            return value
        time.sleep(0.02)
    pytest.fail("did not happen within 5 s")


@pytest.fixture
def running(bundle, frames):
    """A pipeline with its preview; what it gives starts a server over it."""
    recorder = Recorder(len(bundle.relative_costs))
    pipeline = Pipeline(bundle, OnnxRuntimeEngine(bundle, 1), 0.62, False, None, recorder, monitor=FakeMonitor())
    camera = Loop(frames)
    facts = {"bundle": bundle.id, "engine": "engine", "source": camera.describe(), "host": None, "power": "meter"}
    preview = Preview(pipeline, camera, recorder, facts, Inverted(), power_w=lambda: 2.5, fps=20)
    thread = threading.Thread(target=pipeline.run, args=(camera,))
    thread.start()
    until(lambda: recorder.newest)
    servers = []

    def serve(token=None, limits=Limits(), address="127.0.0.1"):  # noqa: B008
        servers.append(PreviewServer(preview.content, address, 0, token, limits).start())
        servers[-1].pipeline = pipeline
        return servers[-1]

    yield serve
    for server in servers:
        server.close()
    camera.ended.set()
    thread.join()


def ask(server, path, method="GET", body=None, host=None, **headers):
    """Status, headers and body of an answer. Names of headers have _ for -."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    try:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if host is not None:
            headers["Host"] = host
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def switch(server, wanted, **headers):
    status, _, body = ask(server, "/switch", "POST", json.dumps(wanted), X_Preview="1", **headers)
    return status, json.loads(body.decode())


@pytest.mark.parametrize(
    ("path", "kind", "holds"),
    [
        ("/", "text/html; charset=utf-8", b"<title>Early exits, live</title>"),
        ("/page.css", "text/css; charset=utf-8", b"prefers-color-scheme: dark"),
        ("/page.js", "text/javascript; charset=utf-8", b"/stream.mjpg"),
        ("/view.png", "image/png", b"PNG"),
        ("/stats", "application/json", b'"history"'),
    ],
)
def test_routes(running, path, kind, holds):
    status, headers, body = ask(running(), path)
    assert (status, headers["Content-Type"]) == (200, kind)
    assert holds in body
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers


def test_page_names_no_outside_address(running):
    server = running()
    for path in ("/", "/page.css", "/page.js"):
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
    assert len({len(history[name]) for name in ("left_share", "bytes_per_s", "latency_ms", "attack", "defq")}) == 1
    assert stats["newest"]["label"] in bundle.labels
    assert stats["attack"] == {"on": False, "available": True, "kind": "twin", "text": "inverted frames"}
    assert stats["defq"] == {"mode": "off", "active": False, "auto_available": True}
    assert stats["monitor"] == {"state": "ok", "alarms": 0}
    server.pipeline.monitor.attacked, server.pipeline.monitor.alarms = True, 1
    until(lambda: settled()["monitor"] == {"state": "suspected", "alarms": 1})
    server.pipeline.monitor.learning = True
    until(lambda: settled()["monitor"]["state"] == "learning")
    server.pipeline.monitor = None
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


def test_switching_from_the_page_itself(running):
    server = running()
    host = "localhost:{}".format(server.server_port)
    assert switch(server, {"attack": True}, host=host, Origin="http://" + host)[0] == 200
    assert ask(server, "/switch")[0] == 405
    assert ask(server, "/stats", "POST", "{}", X_Preview="1")[0] == 404
    assert ask(server, "/", "DELETE")[0] == 501


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1", 200), ("localhost:9000", 200), ("[::1]:8080", 200), ("LOCALHOST", 200), ("evil.example", 403),
     ("127.0.0.1.evil.example:80", 403), ("", 403), ("localhost@evil.example", 403)],
)  # fmt: skip
def test_on_this_machine_no_other_name_is_answered_to(running, host, status):
    assert ask(running(), "/stats", host=host)[0] == status


def test_token_goes_from_the_address_into_a_cookie(running):
    server = running(TOKEN)
    assert server.url.endswith("/?token=" + TOKEN)
    for path in ("/", "/stats", "/stream.mjpg", "/view.png", "/page.js"):
        assert ask(server, path)[0] == 401
        assert ask(server, path + "?token=" + TOKEN[:-1])[0] == 401
    assert ask(server, "/switch", "POST", '{"attack": true}', X_Preview="1")[0] == 401
    status, headers, _ = ask(server, "/?token=" + TOKEN)
    assert (status, headers["Location"]) == (303, "/")
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    cookie = cookie.split(";")[0]
    assert ask(server, "/", Cookie=cookie)[0] == 200
    assert ask(server, "/stats", Cookie="other=1; " + cookie)[0] == 200
    assert switch(server, {"attack": True}, Cookie=cookie)[0] == 200
    assert ask(server, "/stats?token=" + TOKEN)[0] == 200
    for wrong in (cookie[:-1], "preview=" + TOKEN, ";;;=", cookie.split("=")[0] + "=\xe9"):
        assert ask(server, "/stats", Cookie=wrong)[0] == 401
    assert ask(server, "/?token=%C3%A9")[0] == 401


def test_beyond_this_machine_a_token_is_made_up(running):
    server = running(address="0.0.0.0")
    token = server.url.split("?token=")[1]
    assert len(token) >= 20
    assert token != running(address="0.0.0.0").url.split("?token=")[1]
    assert ask(server, "/stats", host="board.example")[0] == 401
    assert ask(server, "/stats?token=" + token, host="board.example")[0] == 200


def test_token_that_is_too_short_or_odd(running):
    for token in ("short", "a token with blanks", "x" * 200, ""):
        with pytest.raises(UsageError, match="found a --token of {} characters".format(len(token))):
            running(token)


def test_addresses_that_cannot_be_used(running):
    server = running()
    for address, port, told in (("192.0.2.1", 0, "could not listen"), ("127.0.0.1", server.server_port, "in use by another"),
                                ("no.such.host.invalid", 0, "could not listen"), ("127.0.0.1", 70000, "port")):  # fmt: skip
        with pytest.raises(UsageError, match=told):
            PreviewServer(server.content, address, port)


def read_parts(server, count, path="/stream.mjpg"):
    """The first pictures of the stream."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
    parts = []
    while len(parts) < count:
        assert answer.readline() == b"--frame\r\n"
        assert answer.readline() == b"Content-Type: image/jpeg\r\n"
        length = int(answer.readline().split(b":")[1])
        assert answer.readline() == b"\r\n"
        parts.append(answer.read(length))
        assert answer.readline() == b"\r\n"
    return connection, parts


def test_stream_of_jpegs_at_the_wanted_rate(running):
    server = running()
    started = time.monotonic()
    connection, parts = read_parts(server, 8)
    spent = time.monotonic() - started
    connection.close()
    assert spent > 0.3  # 20 a second at most
    for part in parts:
        assert cv2.imdecode(np.frombuffer(part, np.uint8), cv2.IMREAD_COLOR).shape == (384, 384, 3)
    assert len(set(parts)) > 2


def test_only_so_many_viewers(running):
    server = running(limits=Limits(viewers=2))
    viewers = [read_parts(server, 1)[0] for _ in range(2)]
    status, _, body = ask(server, "/stream.mjpg")
    assert status == 503
    assert b"found 2 viewers" in body
    assert ask(server, "/stats")[0] == 200
    viewers[0].close()
    until(lambda: server.viewers.acquire(blocking=False))  # the server finds out when it sends the next picture
    server.viewers.release()
    viewers.append(read_parts(server, 1)[0])
    for viewer in viewers:
        viewer.close()


@pytest.mark.parametrize("sent", [b"", b"GET /stats HTTP/1.1\r\n", b"POST /switch HTTP/1.1\r\nHost: localhost\r\nX-Preview: 1\r\nContent-Length: 9\r\n\r\n{"])  # fmt: skip
def test_a_slow_client_is_let_go_and_holds_nobody(running, sent):
    server = running(limits=Limits(request_s=0.4))
    with socket.create_connection(("127.0.0.1", server.server_port), 5) as slow:
        slow.sendall(sent)
        started = time.monotonic()
        assert ask(server, "/stats")[0] == 200
        assert slow.recv(100) == b""
        assert 0.2 < time.monotonic() - started < 4


def test_a_client_that_drips_bytes_is_let_go(running):
    server = running(limits=Limits(request_s=0.4))
    with socket.create_connection(("127.0.0.1", server.server_port), 5) as slow:
        started = time.monotonic()
        try:
            for byte in b"GET /stats HTTP/1.1\r\n" + b"X: " + b"a" * 1000:
                slow.sendall(bytes([byte]))
                time.sleep(0.02)
        except OSError:
            pass
        assert time.monotonic() - started < 2


def test_a_head_that_is_too_long_is_cut_off(running):
    server = running()
    with socket.create_connection(("127.0.0.1", server.server_port), 5) as client:
        try:
            client.sendall(b"GET /stats HTTP/1.1\r\n" + b"X: " + b"a" * 40000)
            assert client.recv(100) == b""
        except ConnectionError:
            pass  # closed with bytes unread
    assert ask(server, "/stats")[0] == 200


def place_free(server):
    free = server.viewers.acquire(blocking=False)
    if free:
        server.viewers.release()
    return free


def test_a_viewer_that_takes_nothing_loses_its_place(running):
    server = running(limits=Limits(viewers=1, send_s=0.3))
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        slow.connect(("127.0.0.1", server.server_port))
        slow.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: not place_free(server))
        assert ask(server, "/stream.mjpg")[0] == 503
        server.content.camera._render = lambda newest: b"x" * (8 << 20)  # more than sockets hold
        until(lambda: place_free(server))


def test_only_so_many_connections(running):
    server = running(limits=Limits(connections=3, request_s=1.0))
    idle = [socket.create_connection(("127.0.0.1", server.server_port), 5) for _ in range(3)]
    time.sleep(0.2)
    with pytest.raises((http.client.HTTPException, OSError)):
        ask(server, "/stats")
    for each in idle:
        each.close()

    def answered():
        try:
            return ask(server, "/stats")[0] == 200
        except (http.client.HTTPException, OSError):
            return False

    until(answered)


def test_garbage_is_answered_or_closed(running):
    server = running()
    for sent in (
        b"\x00\xff\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.server_port), 5) as client:
            client.sendall(sent)
            answer = b"".join(iter(lambda: client.recv(4096), b""))
            assert b"Traceback" not in answer
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4") or answer.startswith(b"HTTP/1.1 5"), answer
    assert ask(server, "/stats")[0] == 200


# ---- command


def test_command_serves_and_stays_after_the_last_frame(bundle_folder, frames_file, capfd, monkeypatch):
    events = []

    class Stop(threading.Event):
        def wait(self, timeout=None):
            events.append(timeout)
            if timeout is None:  # the page stays: look at it, then Ctrl-C
                url = re.search("preview: (http://127.0.0.1:[0-9]+/)", capfd.readouterr().err).group(1)
                connection = http.client.HTTPConnection(url.split("/")[2], timeout=5)
                connection.request("GET", "/stats")
                events.append(json.loads(connection.getresponse().read().decode()))
                connection.close()
                self.set()
            return super().wait(timeout)

    monkeypatch.setattr("device.preview.command.stop_on_signals", Stop)
    source = "npz:" + frames_file + "?rate=500"
    code = main(["preview", "--bundle", bundle_folder, "--source", source, "--port", "0", "--engine", "onnxruntime"])
    assert code == 0
    stats = events[-1]
    assert stats["ended"] == "the source has ended"
    assert stats["frames"] == 60
    assert stats["attack"]["available"] is False
    assert "no --attacker was named" in stats["attack"]["text"]
    assert "60 frames: 41 left on the device" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"), [("--fps", "0.5"), ("--fps", "nan"), ("--port", "70000"), ("--token", "short")]
)
def test_command_refuses_options_that_cannot_work(bundle_folder, frames_file, capsys, option, value):
    options = ["--bundle", bundle_folder, "--source", "npz:" + frames_file, "--port", "0", option, value]
    assert main(["preview", *options]) == 2
    assert "error: found " in capsys.readouterr().err
