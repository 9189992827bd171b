"""The stream of pictures, and clients that are slow, many or hostile."""

import http.client
import socket
import time

import cv2
import numpy as np
import pytest

from device.preview.server import Client
from device.preview.service import Limits
from tests.device.preview.fakes import ask, until


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
        assert cv2.imdecode(np.frombuffer(part, np.uint8), cv2.IMREAD_COLOR).shape == (384 + 2 * 64, 740, 3)
    assert len(set(parts)) > 2


def test_viewers_beyond_the_limit_are_refused(running):
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


@pytest.mark.parametrize("count", [3, 40])
@pytest.mark.parametrize("sent", [b"", b"GET /stats HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_idle_sockets_shut_nobody_out(running, count, sent):
    """When there are too many connections, idle ones are closed first, and never one that is asking for something."""
    server = running(limits=Limits(connections=3, request_s=60.0))
    idle = []
    try:
        for _ in range(count):
            idle.append(socket.create_connection(("127.0.0.1", server.server_port), 5))
            idle[-1].sendall(sent)
        assert [ask(server, "/stats")[0] for _ in range(5)] == [200] * 5
        until(lambda: len(server._clients) <= 3)
        assert idle[0].recv(100) == b""  # the one that has waited longest
    finally:
        for each in idle:
            each.close()


def test_viewers_keep_their_places(running):
    server = running(limits=Limits(connections=3, viewers=2, request_s=60.0))
    clients = [socket.create_connection(("127.0.0.1", server.server_port), 5) for _ in range(2)]
    try:
        for viewer in clients[:2]:
            viewer.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert viewer.recv(12) == b"HTTP/1.1 200"
        clients += [socket.create_connection(("127.0.0.1", server.server_port), 5) for _ in range(5)]
        assert ask(server, "/stats")[0] == 200
        assert sum(each.viewer for each in server._clients.values()) == 2
        for viewer in clients[:2]:
            assert viewer.recv(100)  # pictures still come
    finally:
        for each in clients:
            each.close()


def test_whoever_has_most_connections_gives_way(running):
    server = running(limits=Limits(connections=3))
    there = [socket.socketpair() for _ in range(3)]
    for (connection, _), address, since_s in zip(there, ("192.0.2.1", "192.0.2.2", "192.0.2.2"), (1.0, 3.0, 2.0)):
        server._clients[connection] = Client(address)
        server._clients[connection].since_s = since_s
    assert server._make_room()
    assert list(server._clients) == [there[0][0], there[1][0]]  # not the one that has waited longest of all
    server._clients[there[2][0]] = Client("192.0.2.3")
    for client in server._clients.values():
        client.viewer = True
    assert not server._make_room()
    server._clients.clear()
    for each in there:
        for end in each:
            end.close()


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
