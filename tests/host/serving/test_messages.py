"""The bounds of host/serving/messages.py, with real sockets against uvicorn on both event loops."""

import http.client
import json
import socket
import ssl
import threading

import pytest

from device.bundle.reader import load_bundle
from host.credentials.tokens import Tokens
from host.serving import discard
from host.serving.limits import ConnectionLimits
from tests.host.conftest import BUNDLE
from tests.host.serving.asking import AUTHORITY, CERTIFICATES, HOST
from tests.host.site import BOTH_LOOPS, GET, closed_after
from tests.host.waits import until

TOKEN = "cam-1-token-0123"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def known(tmp_path):
    file = tmp_path / "tokens"
    file.touch(0o600)
    file.write_text(f"cam-1: {TOKEN}\n")
    return Tokens(file)


def answers_in(received):
    """Status, and the body, of each answer in the bytes that came."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        found.append((int(head.split()[1]), rest[:length]))
        received = rest[length:]
    return found


def ended(connection, *parts):
    """Send until the host closes; the answers that came."""

    def send():
        try:
            for part in parts:
                connection.sendall(part)
        except OSError:
            pass  # closed

    thread = threading.Thread(target=send)
    thread.start()
    received = closed_after(connection)
    thread.join(5)
    assert not thread.is_alive()
    return answers_in(received)


def sentence_of(answer):
    return json.loads(answer[1])["error"]


# Requests behind one another


@BOTH_LOOPS
def test_requests_that_wait_on_a_connection_are_few(serve):
    """The answers before the limit are given, in order; of what is beyond it nothing is even parsed."""
    host = serve(ConnectionLimits(pipelined=16))
    host.site.gate.clear()
    with host.connect() as connection:
        connection.sendall(GET * 14_000)
        until(lambda: host.refusals and host.site.begun)
        (protocol,) = host.server.server_state.connections
        assert len(protocol.pipeline) == 16
        assert host.site.begun == 1
        host.site.gate.set()
        answers = ended(connection)
    assert [status for status, _ in answers[:17]] == [200] * 17
    # what the kernel still holds of the 14,000 may reset the connection, and take the last answer with it
    assert [status for status, _ in answers[17:]] in ([429], [])
    assert host.refusals == [(429, "pipelined")]
    assert host.site.begun == 17
    assert any("more than 16 requests on one connection" in each for each in host.said)


@BOTH_LOOPS
def test_requests_within_the_limit_are_all_answered(serve):
    host = serve(ConnectionLimits(pipelined=16))
    with host.connect() as connection:
        for _ in range(3):
            connection.sendall(GET * 16)
            received = b""
            while received.count(b"127.0.0.1") < 16:
                received += connection.recv(65536)
            assert answers_in(received) == [(200, b"127.0.0.1")] * 16
    assert host.refusals == []


BAD = [  # what comes behind a request that waits for its answer, and why it is refused
    (b"no HTTP at all\r\n\r\n", 400, "malformed"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 200_000, 431, "head_bytes"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", 431, "head_bytes"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nno chunk", 400, "malformed"),
    (CHUNKED + b"1\r\nx\r\n" * 5000, 400, "framing"),
]


@BOTH_LOOPS
@pytest.mark.parametrize(("bad", "status", "reason"), BAD, ids=[str(number) for number in range(len(BAD))])
def test_a_refusal_comes_in_its_turn(serve, bad, status, reason):
    """What goes wrong behind a request is not taken for the answer to it."""
    host = serve()
    host.site.gate.clear()
    with host.connect() as connection:
        connection.sendall(GET)
        until(lambda: host.site.begun)
        connection.sendall(bad)
        until(lambda: host.refusals)
        host.site.gate.set()
        answers = ended(connection)
    assert [each for each, _ in answers] == [200, status]
    assert "expected" in sentence_of(answers[1])
    assert host.refusals == [(status, reason)]
    assert host.site.begun == 1


@BOTH_LOOPS
def test_a_request_that_nobody_can_read_gets_json(serve):
    host = serve()
    for bad in (b"no HTTP at all\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n", CHUNKED + b"zz\r\n"):  # fmt: skip
        with host.connect() as connection:
            ((status, body),) = ended(connection, bad)
        assert (status, "expected one" in json.loads(body)["error"]) == (400, True)
    assert {reason for _, reason in host.refusals} == {"malformed"}


# Around a body


@BOTH_LOOPS
def test_no_field_behind_a_body_counts(serve, known):
    """Trailers are dropped: they neither authenticate nor change how the body is read."""
    host = serve(known=known)
    trailer = b"Authorization: Bearer " + TOKEN.encode() + b"\r\nContent-Encoding: gzip\r\n"
    with host.connect() as connection:
        ((status, _),) = ended(connection, CHUNKED + b"1\r\nx\r\n0\r\n" + trailer + b"\r\n" + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))[:1]  # fmt: skip
    assert status == 401
    assert host.site.begun == 0
    head = CHUNKED.replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n\r\n")
    with host.connect() as connection:
        connection.sendall(head + b"3\r\nabc\r\n0\r\n" + trailer + b"X-More: 1\r\n\r\n")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, answer.read()) == (200, b"cam-1")
    assert host.site.received == [([b"host", b"transfer-encoding", b"authorization"], b"abc")]


FRAMINGS = {  # behind the head of a chunked body: much on the wire, and little of a body
    "one_byte_chunks": b"1\r\nx\r\n" * 400_000,
    "extensions": b"1;" + b"e" * 2_000_000 + b"\r\nx\r\n",
    "an_extension_a_chunk": (b"1;" + b"e" * 1000 + b"\r\nx\r\n") * 2000,
    "many_trailers": b"1\r\nx\r\n0\r\n" + b"X-1: y\r\n" * 300_000,
    "a_long_trailer": b"1\r\nx\r\n0\r\nX: " + b"y" * 2_000_000,
    "a_long_name": b"1\r\nx\r\n0\r\n" + b"y" * 2_000_000,
    "zeros_before_a_size": b"0" * 2_000_000 + b"1\r\nx\r\n",
}


@BOTH_LOOPS
@pytest.mark.parametrize("framing", FRAMINGS)
def test_what_surrounds_a_body_has_a_bound(serve, framing):
    """The host closes long before all of it has come."""
    host = serve()
    with host.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        answers = ended(connection, CHUNKED, FRAMINGS[framing])
    until(lambda: not host.server.server_state.connections)
    assert len(host.refusals) == 1
    assert host.refusals[0] in ((400, "framing"), (400, "malformed"))  # the parser has bounds of its own
    assert [status for status, _ in answers] in ([400], [])  # what is unread may reset the connection
    assert host.site.received == []
    assert host.ask()[0] == 200


@BOTH_LOOPS
@pytest.mark.parametrize("size", [64, 1000, 65536])
def test_a_body_in_honest_chunks_comes_whole(serve, size):
    host = serve()
    body = bytes(range(256)) * 2048
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(body[at : at + size]), body[at : at + size]) for at in range(0, len(body), size))  # fmt: skip
    with host.connect() as connection:
        connection.sendall(CHUNKED + chunks + b"0\r\nX-Checksum: 1\r\n\r\n")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 200
    assert host.site.received[0][1] == body
    assert host.refusals == []


# Answers that come early


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
BODIES = {
    "length": (b"Content-Length: %d" % (len(SMUGGLED) * 10_000), SMUGGLED * 10_000),
    "chunked": (
        b"Transfer-Encoding: chunked",
        (b"%x\r\n%b\r\n" % (len(SMUGGLED) * 100, SMUGGLED * 100)) * 100 + b"0\r\n\r\n",
    ),
}


@BOTH_LOOPS
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("refusal", ["application", "guard"])
def test_no_request_is_read_from_the_body_of_another(serve, known, body, refusal):
    """An answer that is given before its request was read ends the connection, and is not lost."""
    host = serve(known=known if refusal == "guard" else None)
    field, content = BODIES[body]
    with host.connect() as connection:
        connection.sendall(b"POST /unread HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\n")
        answer = http.client.HTTPResponse(connection)
        answer.begin()  # before the first byte of the body has gone
        assert answer.status == (401 if refusal == "guard" else 404)
        assert answer.getheader("Connection") == "close"
        assert answer.read()
        assert ended(connection, content, GET) == []
    assert host.site.paths in ([], ["/unread"])
    assert host.ask(token=TOKEN)[0] == 200


@BOTH_LOOPS
def test_a_client_that_sends_first_and_reads_then_gets_the_early_answer(serve):
    host = serve()
    for _ in range(5):
        status, headers, body = host.ask("POST", "/unread", body=b"x" * 4_000_000)
        assert (status, headers["connection"], body) == (404, "close", b"no")


@BOTH_LOOPS
def test_a_body_that_has_come_whole_keeps_its_connection(serve):
    host = serve()
    with host.connect() as connection:
        for _ in range(3):
            connection.sendall(
                b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(SMUGGLED), SMUGGLED)
            )
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert (answer.status, answer.read(), answer.getheader("Connection")) == (404, b"no", None)
    assert host.site.paths == ["/unread"] * 3


@BOTH_LOOPS
def test_a_body_without_end_is_not_read_for_ever(serve, monkeypatch):
    monkeypatch.setattr(discard, "DISCARD_BYTES", 1 << 20)
    host = serve()
    with host.connect() as connection:
        begin = b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n"
        answers = ended(connection, begin, *[b"x" * 65536] * 2000)
    assert [status for status, _ in answers] in ([404], [])
    until(lambda: not host.server.server_state.connections)


@BOTH_LOOPS
def test_a_request_for_another_protocol_ends_the_connection(serve):
    """Java's client asks for h2c in a request with a body. The parser drops what follows the headers, so that the connection has to end."""
    host = serve()
    upgrade = b"POST /first HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n"
    upgrade %= len(SMUGGLED)
    with host.connect() as connection:
        answers = ended(connection, upgrade + SMUGGLED)
    assert [status for status, _ in answers] == [200]
    with host.connect() as connection:
        answers = ended(connection, upgrade, SMUGGLED)
    assert [status for status, _ in answers] == [200]
    assert host.site.paths == ["/first"] * 2


# Connections


@BOTH_LOOPS
def test_connections_without_a_request_make_room(serve):
    host = serve(ConnectionLimits(most=20))
    silent = [host.connect() for _ in range(20)]
    until(lambda: len(host.server.server_state.connections) == 20)
    asked = host.connect()
    for refused in range(2, 42):  # more than there are places, and the first of them is still there
        asked.sendall(GET)
        answer = http.client.HTTPResponse(asked)
        answer.begin()
        assert (answer.status, answer.read()) == (200, b"127.0.0.1")
        silent.append(host.connect())
        until(lambda count=refused: host.refusals.count((0, "connections")) == count)
    assert closed_after(silent[0]) == b""
    for each in (*silent, asked):
        each.close()
    assert len(host.server.server_state.connections) <= 20


@BOTH_LOOPS
def test_a_refused_certificate_leaves_a_line(serve):
    """For every way in which a handshake can fail, the operator learns whose it was and why it failed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(HOST)
    context.load_verify_locations(AUTHORITY)
    context.verify_mode = ssl.CERT_REQUIRED
    host = serve(ConnectionLimits(patience_s=0.5), tls=context)

    def said_after(connect):
        before = len(host.said)
        with host.connect() as connection:
            try:
                connect(connection)
            except OSError:
                pass
            until(lambda: len(host.said) > before)
        return host.said[before]

    def shake_hands(certificate=None):
        def connect(connection):
            client = ssl.create_default_context(cafile=AUTHORITY)
            if certificate:
                client.load_cert_chain(certificate)
            with client.wrap_socket(connection, server_hostname="localhost") as secure:
                secure.recv(1)

        return connect

    assert "closed a connection of 127.0.0.1: its TLS handshake failed (peer did not return a certificate" in said_after(shake_hands())  # fmt: skip
    assert "the client's certificate was refused: " in said_after(shake_hands(CERTIFICATES / "other-device.pem"))
    assert "http request" in said_after(lambda connection: connection.sendall(GET))
    assert "was not done within 0.5 s" in said_after(lambda connection: connection.sendall(b"\x16"))
    assert set(host.refusals) == {(0, "handshake")}


def test_a_refusal_of_the_guard_leaves_a_line_without_the_token(serve, known):
    host = serve(known=known)
    assert host.ask(token="x" * 16)[0] == host.ask()[0] == 401
    assert ["an unknown token" in host.said[0], "no token" in host.said[1]] == [True, True]
    assert all(each.startswith("refused a request of 127.0.0.1: ") and "x" * 16 not in each for each in host.said)


# All of it, as it is served


@pytest.mark.parametrize(
    ("line", "length", "status"),
    [
        (b"POST /v2/nothing", 300_000, 404),
        (b"POST /v2", 300_000, 405),
        (b"POST /v2/health/live", 300_000, 405),
        (b"POST /v2/models/other/infer", 300_000, 404),
        (b"POST /v2/models/other/infer/", 300_000, 404),
        (b"POST %b", (64 << 20) + 1, 413),
    ],
)
def test_an_early_answer_of_the_host_ends_the_connection(host, line, length, status):
    bundle = load_bundle(str(BUNDLE)).id.encode()
    line = line.replace(b"%b", b"/v2/models/" + bundle + b"/infer")
    with socket.create_connection(("127.0.0.1", host.port), timeout=10) as connection:
        connection.sendall(line + b" HTTP/1.1\r\nHost: evil.example\r\nContent-Length: %d\r\n\r\n" % length)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, answer.getheader("Connection"), answer.getheader("Location")) == (status, "close", None)
        assert list(json.loads(answer.read())) == ["error"]
        assert ended(connection, b"GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n" * 8000) == []
