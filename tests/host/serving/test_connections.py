"""The bounds of host/serving/connections.py, with real sockets against uvicorn on both event loops."""

import contextlib
import http.client
import json
import select
import socket
import ssl
import time

import pytest

from host.credentials.tokens import Tokens
from host.serving.limits import ConnectionLimits
from tests.host.serving.conftest import SECOND, TOKEN
from tests.host.site import BOTH_LOOPS, GET, closed_after
from tests.host.waits import until

DRIPS = [  # what a client begins with, what it goes on with byte by byte, what it gets before the host closes
    (b"", b"", b""),
    (b"GET / HTTP/1.1\r\nHo", b"s", b"HTTP/1.1 408 "),
    (GET + b"GET / HTTP/1.1\r\nHo", b"s", b"HTTP/1.1 408 "),
    (GET + b"\r\n", b"\r\n", b"HTTP/1.1 408 "),
    (b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\n", b"x", b"\r\nconnection: close\r\n"),
]


@BOTH_LOOPS
def test_slow_clients_are_closed_while_others_are_served(serve):
    """200 sockets that drip; a device is served meanwhile on a connection of its own."""
    host = serve(ConnectionLimits(patience_s=0.5))
    drippers = {host.connect(): drip for drip in DRIPS for _ in range(40)}
    received = dict.fromkeys(drippers, b"")
    for each, (begin, _, _) in drippers.items():
        each.sendall(begin)
        each.setblocking(False)
    normal = http.client.HTTPConnection("127.0.0.1", host.port, timeout=5)
    served, open_ = 0, set(drippers)

    def is_served_while_they_drip():
        nonlocal served
        normal.request("POST", "/", b"x" * 20000)
        response = normal.getresponse()
        assert (response.status, response.read()) == (200, b"127.0.0.1")
        served += bool(open_)
        for each in select.select(list(open_), [], [], 0.05)[0]:
            try:
                part = each.recv(65536)
            except ConnectionError:
                part = b""
            received[each] += part
            if not part:
                open_.discard(each)
        for each in open_:
            with contextlib.suppress(ConnectionError):
                each.send(drippers[each][1])
        return not open_

    until(is_served_while_they_drip)
    assert served >= 2
    for each, (_, _, last) in drippers.items():
        assert last in received[each]
        each.close()
    assert host.refusals == [(408, "head_timeout")] * 160  # the others have had their answer
    normal.close()


@BOTH_LOOPS
def test_an_idle_connection_between_requests_stays(serve):
    host = serve(ConnectionLimits(patience_s=0.05))
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=5)
    for _ in range(3):
        connection.request("POST", "/", b"x" * 300000)
        assert connection.getresponse().read() == b"127.0.0.1"
        open_socket = connection.sock
        time.sleep(0.12)  # real time: more than the patience must pass for nothing to happen
    assert connection.sock is open_socket
    connection.close()
    assert host.refusals == []


@BOTH_LOOPS
def test_a_client_that_does_not_read_is_cut(serve):
    host = serve(ConnectionLimits(patience_s=0.3))
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(5)
        connection.connect(("127.0.0.1", host.port))
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        until(lambda: (0, "unread") in host.refusals)
        until(lambda: not host.server.server_state.connections)
    assert host.ask()[0] == 200


BOMBS = [
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100000,
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(10000)),
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(10000)) + b"\r\n",
    b"GET /" + b"x" * 100000,
    b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
]


@BOTH_LOOPS
def test_a_head_without_measure_gets_431(serve):
    host = serve(ConnectionLimits(head_bytes=65536))
    for bomb in BOMBS:
        with host.connect() as connection:
            connection.sendall(bomb)
            received = closed_after(connection)
        assert received.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
        assert "found more than 65536 bytes" in json.loads(received.partition(b"\r\n\r\n")[2])["error"]
    assert host.site.begun == 0
    assert host.refusals == [(431, "head_bytes")] * len(BOMBS)
    with host.connect() as connection:
        connection.sendall(GET.replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 60000 + b"\r\nConnection: close\r\n\r\n"))
        assert closed_after(connection).startswith(b"HTTP/1.1 200")


def is_refused(host):
    with host.connect() as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        return closed_after(connection) == b""


def is_answered(connection):
    connection.sendall(GET)
    response = http.client.HTTPResponse(connection)
    response.begin()
    return (response.status, response.read()) == (200, b"127.0.0.1")


@BOTH_LOOPS
@pytest.mark.parametrize(
    ("limits", "reason"),
    [(ConnectionLimits(most=20), "connections"), (ConnectionLimits(of_one_address=20), "address_connections")],
)
def test_connections_are_capped(serve, limits, reason):
    host = serve(limits)
    held = [host.connect() for _ in range(20)]
    assert all(is_answered(each) for each in held)
    assert [is_refused(host) for _ in range(5)] == [True] * 5
    assert host.refusals == [(0, reason)] * 5
    assert is_answered(held[0])  # those that are open go on
    for each in held[:2]:
        each.close()
    until(lambda: not is_refused(host))
    for each in held:
        each.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Files: one that signs, the host's, and that of cam-1; each with its key."""
    x509 = pytest.importorskip("cryptography.x509")
    import datetime
    import ipaddress

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("certificates")
    start = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)

    def name_of(common):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])

    authority = ec.generate_private_key(ec.SECP256R1())
    for common in ("authority", "127.0.0.1", "cam-1"):
        key = authority if common == "authority" else ec.generate_private_key(ec.SECP256R1())
        builder = x509.CertificateBuilder(
            name_of("authority"), name_of(common), key.public_key(), x509.random_serial_number(), start,
            start + datetime.timedelta(days=2),
        ).add_extension(x509.BasicConstraints(common == "authority", None), True)  # fmt: skip
        # Python 3.13 asks for all of these
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        builder = builder.add_extension(signer, False)
        if common == "authority":
            usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
            builder = builder.add_extension(usage, True)
        if common == "127.0.0.1":
            address = x509.IPAddress(ipaddress.ip_address(common))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), False)
        signed = builder.sign(authority, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{common}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM) + private)
    return folder


@pytest.fixture
def secure(serve, certificates):
    def start(*arguments, **more):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "127.0.0.1.pem")
        context.load_verify_locations(certificates / "authority.pem")
        context.verify_mode = ssl.CERT_OPTIONAL
        host = serve(*arguments, tls=context, **more)
        client = ssl.create_default_context(cafile=str(certificates / "authority.pem"))

        def ask(token=None, certificate=None, body=None, at_once=False):
            if certificate:
                client.load_cert_chain(certificate)
            with client.wrap_socket(host.connect(), server_hostname="127.0.0.1") as connection:
                lines = [b"POST / HTTP/1.1", b"Host: a", b"Connection: close", b"Content-Length: %d" % len(body or b"")]
                if token:
                    lines.append(b"Authorization: Bearer " + token.encode())
                connection.sendall(b"\r\n".join([*lines, b"", b""]) + (body or b""))
                received = closed_after(connection)
            return int(received[9:12]), received.partition(b"\r\n\r\n")[2]

        return host, ask

    return start


@BOTH_LOOPS
def test_token_and_certificate_are_of_one_client_over_tls(secure, token_file, certificates):
    host, ask = secure(known=Tokens(token_file))
    assert ask(TOKEN, body=b"x" * 300000) == (200, b"cam-1")
    assert ask()[0] == 401
    own = certificates / "cam-1.pem"
    assert ask(TOKEN, own) == (200, b"cam-1")
    status, body = ask(SECOND, own)
    assert status == 403
    assert "the token of cam-2 and the certificate of cam-1" in json.loads(body)["error"]
    assert host.refusals == [(401, "no_token"), (403, "other_client")]


@BOTH_LOOPS
def test_a_certificate_names_a_client_without_a_token(secure, certificates):
    _, ask = secure()
    assert ask() == (200, b"127.0.0.1")
    assert ask(certificate=certificates / "cam-1.pem") == (200, b"cam-1")


@BOTH_LOOPS
def test_a_handshake_counts_and_ends(secure):
    """A socket that does not begin a TLS handshake, or sends something else, is closed after the time that is allowed for it."""
    host, ask = secure(ConnectionLimits(of_one_address=30, patience_s=0.5))
    held = [host.connect() for _ in range(30)]
    for each in held[::2]:
        each.sendall(b"\x16\x03\x01\x02")

    def one_more_is_refused():
        with host.connect() as connection:
            if select.select([connection], [], [], 0.05)[0]:
                closed_after(connection)
        return (0, "address_connections") in host.refusals

    until(one_more_is_refused)
    for each in held:
        closed_after(each)
        each.close()
    with host.connect() as connection:
        connection.sendall(GET)  # no TLS at all
        closed_after(connection)
    assert ask()[0] == 200
    assert (0, "handshake") in host.refusals


@BOTH_LOOPS
def test_stopping_does_not_wait_for_a_handshake(secure):
    host, _ = secure(ConnectionLimits(patience_s=60))
    with host.connect():
        until(lambda: host.server.server_state.connections)
        host.stop()  # which fails unless the server ends within ten seconds
