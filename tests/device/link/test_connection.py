"""One HTTP connection against real sockets, with TLS and without: certificates, time, and being cut from outside."""

import os
import select
import socket
import ssl
import struct
import threading
import time

import pytest

from device.errors import AccessError, HostError
from device.link.connection import Connection
from device.link.credentials import Credentials
from device.link.deadline import Deadline
from device.link.endpoint import Endpoint, endpoint_of
from tests.device.fake_server import FakeServer

TLS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "tls")
CA = os.path.join(TLS, "authority.pem")
OTHER_CA = os.path.join(TLS, "other-authority.pem")
DEVICE = os.path.join(TLS, "device.pem")
OTHER_DEVICE = os.path.join(TLS, "other-device.pem")


def context_of(certificate, client_ca=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(TLS, certificate))
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    return context


def limit(context, version):
    """Let the server speak this version of TLS at most."""
    if hasattr(context, "maximum_version"):
        context.maximum_version = getattr(ssl.TLSVersion, version)
    else:  # Python 3.6
        context.options |= getattr(ssl, "OP_NO_TLSv1_3", 0)
        context.options |= ssl.OP_NO_TLSv1_2 if version == "TLSv1_1" else 0


class Server(FakeServer):
    """Answers every request with 200 and the head that it got, or does what ``serve`` says with a connection."""

    def __init__(self, context=None, serve=None):
        self.reused = []  # for each connection with TLS, whether it went on with an earlier session
        self._serve_with = serve or self.echo
        super().__init__(context=context)

    def serve(self, connection):
        if isinstance(connection, ssl.SSLSocket):
            self.reused.append(connection.session_reused)
        self._serve_with(connection)

    def echo(self, connection):
        stream = connection.makefile("rb")
        while True:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = stream.readline()
                if not line:
                    return
                head += line
            connection.sendall("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n".format(len(head)).encode() + head)

    def hold(self, _connection):
        self.stopped.wait(10)


@pytest.fixture
def server():
    started = []

    def start(*arguments, **options):
        started.append(Server(*arguments, **options))
        return started[-1]

    yield start
    for each in started:
        each.stop()


@pytest.fixture
def connect():
    opened = []

    def make(server, scheme="https", host="localhost", credentials=None):
        credentials = (
            Credentials(ca_file=CA) if credentials is None and scheme == "https" else credentials or Credentials()
        )
        opened.append(Connection(endpoint_of("{}://{}:{}".format(scheme, host, server.port), credentials)))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def ask(connection, seconds=5.0, request=REQUEST):
    return connection.exchange(request, Deadline.after(seconds))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_requests_over_tls_share_a_connection(server, connect, host):
    running = server(context_of("host.pem"))
    connection = connect(running, host=host)
    assert [ask(connection).status for _ in range(3)] == [200] * 3
    assert running.reused == [False]


@pytest.mark.parametrize("version", ["TLSv1_2", "newest"])
def test_the_next_connection_resumes_the_session(server, version):
    context = context_of("host.pem", CA)
    if version == "TLSv1_2":
        limit(context, version)
    running = server(context)
    endpoint = endpoint_of("https://localhost:{}".format(running.port), Credentials(CA, DEVICE))
    for _ in range(3):
        connection = Connection(endpoint)
        assert ask(connection).status == 200
        connection.close()
    assert running.reused == [False, True, True]


def test_a_key_in_a_file_of_its_own(server, connect, tmp_path):
    with open(DEVICE) as file:
        certificate, _, key = file.read().partition("-----BEGIN PRIVATE KEY-----")
    (tmp_path / "cert.pem").write_text(certificate)
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----" + key)
    credentials = Credentials(CA, str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    assert ask(connect(server(context_of("host.pem", CA)), credentials=credentials)).status == 200


@pytest.mark.parametrize(
    ("certificate", "credentials"),
    [
        ("host.pem", Credentials(ca_file=OTHER_CA)),
        ("host.pem", Credentials()),  # the authorities of this system
        ("host-expired.pem", Credentials(ca_file=CA)),
        ("host-elsewhere.pem", Credentials(ca_file=CA)),
    ],
)
def test_a_host_that_cannot_be_trusted_gets_no_request(server, connect, certificate, credentials):
    seen = []
    running = server(context_of(certificate), lambda connection: seen.append(connection.recv(9)))
    with pytest.raises(AccessError, match="could not verify the certificate of the host at https://localhost:.*expected one for localhost signed by .* and valid on 20.*check --ca-file"):  # fmt: skip
        ask(connect(running, credentials=credentials))
    assert not any(seen)


@pytest.mark.skipif(not hasattr(ssl, "SSLCertVerificationError"), reason="Python 3.6 does not say why")
@pytest.mark.parametrize(
    ("certificate", "why"),
    [("host-expired.pem", "certificate has expired"), ("host-elsewhere.pem", "Hostname mismatch")],
)
def test_a_refused_certificate_is_explained(server, connect, certificate, why):
    with pytest.raises(AccessError, match=why):
        ask(connect(server(context_of(certificate))))


@pytest.mark.parametrize("version", ["TLSv1_2", "newest"])
def test_a_host_that_asks_for_a_certificate(server, connect, version):
    context = context_of("host.pem", CA)
    if version == "TLSv1_2":
        limit(context, version)
    running = server(context)
    with pytest.raises((AccessError, ConnectionError), match="use --cert-file and --key-file"):
        ask(connect(running), request=REQUEST[:-2] + b"Content-Length: 200000\r\n\r\n" + b"x" * 200000)
    with pytest.raises((AccessError, ConnectionError), match="expected one that its --client-ca signed and that is valid today.*"):  # fmt: skip
        ask(connect(running, credentials=Credentials(CA, OTHER_DEVICE)))
    assert ask(connect(running, credentials=Credentials(CA, DEVICE))).status == 200


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_that_is_too_old(server, connect):
    context = context_of("host.pem")
    limit(context, "TLSv1_1")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(AccessError, match="could not agree on TLS with the host at .*; expected TLS 1.2 or newer"):
        ask(connect(server(context)))


def test_tls_with_a_host_of_plain_http(server, connect):
    with pytest.raises(AccessError, match=r"found no TLS at https://localhost:\d+; .*use http:// in --host"):
        ask(connect(server(serve=lambda each: each.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))))


def test_plain_http_with_a_host_of_tls(server, connect):
    def alert(connection):
        connection.recv(1000)
        connection.sendall(b"\x15\x03\x01\x00\x02\x02\x50")  # an alert, as a TLS server may send before it closes

    with pytest.raises(AccessError, match=r"found TLS at http://localhost:\d+; .*use https:// in --host"):
        ask(connect(server(serve=alert), "http"))


def test_a_host_that_closes_may_have_tls(server, connect):
    with pytest.raises(
        ConnectionError, match="it closed the connection without an answer; if it has TLS, use https://"
    ):
        ask(connect(server(serve=lambda each: each.recv(1000)), "http"))


@pytest.mark.parametrize(("status", "words"), [("401 Unauthorized", "asks for a token .401.; expected one"), ("403 Forbidden", "refused this device .403.: why")])  # fmt: skip
def test_a_refusal_is_not_an_answer(server, connect, status, words):
    def refuse(connection):
        connection.recv(1000)
        connection.sendall("HTTP/1.1 {}\r\nContent-Length: 16\r\n\r\n".format(status).encode() + b'{"error": "why"}')

    with pytest.raises(AccessError, match="the host at http://.* {}".format(words)):
        ask(connect(server(serve=refuse), "http"))


def drip(text):
    def serve(connection):
        for _ in range(200):
            connection.sendall(text)
            time.sleep(0.02)

    return serve


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "text", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"]
)
def test_answers_that_drip_end_at_the_deadline(server, connect, tls, text):
    running = server(context_of("host.pem") if tls else None, drip(text))
    connection = connect(running, "https" if tls else "http")
    started = time.perf_counter()
    with pytest.raises(socket.timeout):
        ask(connection, 0.3)
    assert 0.25 < time.perf_counter() - started < 0.8


def test_a_handshake_that_drips_ends_at_the_deadline(server, connect):
    running = server(serve=lambda each: drip(b"\x16")(each) if each.recv(5) else None)
    started = time.perf_counter()
    with pytest.raises((socket.timeout, HostError)):
        ask(connect(running), 0.3)
    assert time.perf_counter() - started < 0.8


WAITING = {
    "answer": (True, None, REQUEST),
    "plain answer": (False, None, REQUEST),
    "handshake": (False, "https", REQUEST),
    "sending": (True, None, b"x" * (32 << 20)),
    "plain sending": (False, None, b"x" * (32 << 20)),
}


@pytest.mark.parametrize("what", sorted(WAITING))
def test_every_wait_ends_at_the_deadline(server, connect, what):
    tls, scheme, request = WAITING[what]
    running = server(context_of("host.pem") if tls else None)
    running.serve = running.hold
    with pytest.raises(socket.timeout):
        ask(connect(running, scheme or ("https" if tls else "http")), 0.3, request)


@pytest.mark.parametrize("tls", [False, True])
def test_a_host_that_reads_slowly_is_given_up_at_the_deadline(server, connect, tls):
    def serve(connection):
        read = 0
        while read < 8 << 20 and not running.stopped.wait(0.05):
            read += len(connection.recv(1 << 17))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    running = server(context_of("host.pem") if tls else None, serve)
    with pytest.raises(socket.timeout):  # and not the answer that comes when all has been read
        ask(connect(running, "https" if tls else "http"), 0.5, b"x" * (8 << 20))


def test_closing_what_was_never_open():
    connection = Connection(Endpoint("localhost", 9))
    connection.close_if_dead()
    connection.close()
    assert not connection.is_open()


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("end", ["closed", "reset", "silent", "more bytes"])
def test_an_idle_connection_is_kept_only_while_it_is_good(server, connect, tls, end):
    go = threading.Event()

    def serve(there):
        there.recv(1000)
        there.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        go.wait(10)
        if end == "more bytes":
            there.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        elif end == "reset":
            there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if end in ("more bytes", "silent"):
            running.stopped.wait(10)

    running = server(context_of("host.pem") if tls else None, serve)
    connection = connect(running, "https" if tls else "http")
    ask(connection)
    go.set()
    if end != "silent":
        select.select([connection._socket], [], [], 5)
    connection.close_if_dead()
    assert connection.is_open() == (end == "silent" or (tls and end == "more bytes"))


@pytest.mark.skipif(
    not hasattr(socket, "TCP_KEEPIDLE"), reason="this system cannot be told when to look after a connection"
)
def test_the_system_looks_after_idle_connections(server, connect):
    connection = connect(server(), "http")
    ask(connection)
    assert connection._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert connection._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) < 10


def test_closing_does_not_wait_for_the_other_side(server, connect):
    connection = connect(server(context_of("host.pem")))
    ask(connection)
    started = time.perf_counter()
    connection.close()
    assert time.perf_counter() - started < 0.1
