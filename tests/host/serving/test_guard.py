"""Guard and the protocol of host/serving/connections.py, with real sockets against uvicorn on both event loops."""

import asyncio
import contextlib
import http.client
import json
import select
import socket
import ssl
import threading
import time
from types import SimpleNamespace

import pytest
from starlette.exceptions import HTTPException

from device.errors import UsageError
from device.system.options import Parser
from host.credentials import tokens
from host.credentials.tokens import Tokens
from host.serving import guard, linger
from host.serving.guard import Guard, Guarding, GuardSettings, add_arguments, guard_of
from host.serving.limits import ConnectionLimits, fitted, network_of
from tests.host.site import BOTH_LOOPS, GET, Site, answer, closed_after, wait_for

TOKEN, SECOND = "cam-1-token-0123", "cam-2-token-4567"


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "tokens"
    path.touch(0o600)
    path.write_text(f"cam-1: {TOKEN}\ncam-2: {SECOND}\n")
    return path


def test_nothing_is_asked_for_by_default(serve):
    host = serve()
    assert host.ask()[::2] == (200, b"127.0.0.1")
    assert host.ask("POST", body=b"x" * 100000)[0] == 200
    assert host.refusals == []


def test_tokens(serve, token_file):
    host = serve(known=Tokens(token_file))
    assert host.ask(token=TOKEN)[::2] == (200, b"cam-1")
    assert host.ask(token=SECOND)[::2] == (200, b"cam-2")
    for token, words in ((None, "found no token"), ("x" * 16, "found an unknown token")):
        status, headers, body = host.ask(token=token)
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        sentence = json.loads(body)["error"]
        assert words in sentence
        assert "x" * 16 not in sentence
    assert host.ask(path="/v2/health/live")[0] == host.ask(path="/v2/health/ready")[0] == 200
    assert host.ask(path="/v2/health/live/../../x")[0] == host.ask(path="/v2/health/")[0] == 401
    assert host.site.begun == 4
    assert host.refusals == [(401, "no_token"), (401, "unknown_token"), (401, "no_token"), (401, "no_token")]


def test_rotation_while_it_runs(serve, token_file, monkeypatch):
    monkeypatch.setattr(tokens, "CHECK_S", 0.02)
    host = serve(known=Tokens(token_file))
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=5)  # one connection sees it all

    def ask(token):
        connection.request("GET", "/", headers={"Authorization": "Bearer " + token})
        response = connection.getresponse()
        return response.status, response.read()

    assert ask(TOKEN) == (200, b"cam-1")
    token_file.write_text(f"cam-1: {TOKEN}\ncam-1: {'n' * 20}\n")
    wait_for(lambda: ask(TOKEN) == ask("n" * 20) == (200, b"cam-1"))
    token_file.write_text(f"cam-1: {'n' * 20}\n")
    wait_for(lambda: ask("n" * 20) == (200, b"cam-1") and ask(TOKEN)[0] == 401)
    assert ask("n" * 20) == (200, b"cam-1")
    connection.close()


def test_refused_before_the_body_is_read(serve, token_file, monkeypatch):
    monkeypatch.setattr(linger, "LINGER_S", 0.1)
    host = serve(known=Tokens(token_file))
    for head in (
        b"Content-Length: 60000000",
        b"Transfer-Encoding: chunked",
        b"Content-Length: 9\r\nExpect: 100-continue",
    ):
        with host.connect() as connection:
            started = time.monotonic()
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n")
            received = connection.recv(65536)
            answered_s = time.monotonic() - started
            rest, closed_s = closed_after(connection, started)
        assert received.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
        assert b"connection: close\r\n" in received
        assert b"100 Continue" not in received
        assert answered_s < 0.2
        assert closed_s < 1
        assert rest in (b"", json.dumps({"error": ""}).encode()) or rest.startswith(b'{"error"')
    assert host.site.begun == 0


@BOTH_LOOPS
def test_the_answer_is_not_lost_to_a_client_that_sends_its_body_first(serve, token_file):
    """A close while the client sends would reset the connection; many clients then never see the 401."""
    host = serve(known=Tokens(token_file))
    for _ in range(5):
        status, headers, body = host.ask("POST", token="x" * 16, body=b"x" * 900000)
        assert (status, headers["connection"]) == (401, "close")
        assert json.loads(body)["error"]


def test_rate(serve, token_file):
    host = serve(known=Tokens(token_file), rate_hz=2.0, burst=3)
    assert [host.ask(token=TOKEN)[0] for _ in range(3)] == [200] * 3
    status, headers, body = host.ask(token=TOKEN)
    assert (status, headers["retry-after"]) == (429, "1")
    assert "of cam-1" in json.loads(body)["error"]
    assert "at most 2 a second and 3 at once" in json.loads(body)["error"]
    assert host.ask(token=SECOND)[0] == 200  # another client's is its own
    assert host.ask(path="/v2/health/ready")[0] == 200
    time.sleep(0.55)
    assert host.ask(token=TOKEN)[0] == 200
    assert host.ask(token=TOKEN)[0] == 429
    assert set(host.refusals) == {(429, "rate")}


class Clock:
    def __init__(self, monkeypatch):
        self.now_s = 1000.0
        monkeypatch.setattr(guard, "time", SimpleNamespace(monotonic=lambda: self.now_s))


def asked(watched, frames, client="10.0.0.1"):
    """The status of a request of so many frames; 429 by the guard, or by what it charges later."""

    async def run():
        sent = []

        async def receive():
            return {"type": "http.request", "body": b""}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "path": "/", "headers": [], "client": (client, 1), "frames": frames}
        try:
            await watched(scope, receive, send)
        except HTTPException as error:
            return error.status_code, int(error.headers["Retry-After"])
        return sent[0]["status"], int(dict(sent[0]["headers"]).get(b"retry-after", 0))

    with pytest.raises(StopIteration) as done:
        run().send(None)  # it waits for nothing, so it needs no event loop
    return done.value.value


async def counting(scope, receive, send):
    """An application that charges what it has read."""
    guard.charge(scope, scope["frames"])
    await answer(send, 200, b"")


def test_the_rate_counts_frames_and_not_requests(monkeypatch):
    """One frame a request or many: a client gets the same number of frames a second."""
    clock = Clock(monkeypatch)
    for frames in (1, 4, 32):
        watched = Guard(counting, GuardSettings(rate_hz=100.0, burst=8))
        done, seconds = 0, 10
        for _ in range(seconds * 200):  # asks twice as often as it may with single frames
            done += frames * (asked(watched, frames)[0] == 200)
            clock.now_s += 1 / 200
        assert 100 * seconds - 32 <= done <= 100 * seconds + 8 + 32


def test_a_request_with_more_frames_than_the_burst_is_taken_and_paid_for_later(monkeypatch):
    clock = Clock(monkeypatch)
    watched = Guard(counting, GuardSettings(rate_hz=10.0, burst=1))
    assert asked(watched, 32) == (200, 0)
    assert asked(watched, 1) == (429, 4)
    assert asked(watched, 1, "10.0.0.2") == (200, 0)
    clock.now_s += 3.2
    assert asked(watched, 1) == (200, 0)


def test_requests_that_came_in_together_cannot_each_overdraw_the_rate(monkeypatch):
    """All pass the guard by their heads before any of them is read."""
    Clock(monkeypatch)
    refused = []
    watched = Guard(counting, GuardSettings(rate_hz=10.0, burst=8), refused=lambda *each: refused.append(each))
    assert [watched._rate.wait_s("a") for _ in range(8)] == [0.0] * 8  # eight heads
    watched._charge("a", 31)
    with pytest.raises(HTTPException, match="more frames of a than") as found:
        watched._charge("a", 31)
    assert found.value.status_code == 429
    assert refused == [(429, "rate")]


def test_without_a_rate_nothing_is_charged():
    assert asked(Guard(counting, GuardSettings()), 32) == (200, 0)


def test_requests_at_the_same_time(serve, token_file):
    host = serve(known=Tokens(token_file), client_requests=2)
    host.site.gate.clear()
    done = []
    threads = [threading.Thread(target=lambda: done.append(host.ask(token=TOKEN)[0])) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_for(lambda: host.site.begun == 2)
    status, headers, body = host.ask(token=TOKEN)
    assert (status, headers["retry-after"]) == (429, "1")
    assert "expected at most 2 at the same time" in json.loads(body)["error"]
    other = threading.Thread(target=lambda: done.append(host.ask(token=SECOND)[0]))
    other.start()
    wait_for(lambda: host.site.begun == 3)
    host.site.gate.set()
    for thread in [*threads, other]:
        thread.join(5)
    assert done == [200, 200, 200]
    assert host.ask(token=TOKEN)[0] == 200
    assert host.refusals == [(429, "client_requests")]


def test_a_client_that_goes_away_gives_its_place_back(serve):
    host = serve(client_requests=1)
    for _ in range(3):
        wait_for(lambda: host.ask()[0] == 200)  # the place of the one before is given back
        before = host.site.begun
        with host.connect() as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
            wait_for(lambda count=before: host.site.begun > count)
    wait_for(lambda: host.ask()[0] == 200)


def test_a_million_addresses_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(guard, "MAX_CLIENTS", 100)
    watched = Guard(Site(), GuardSettings(rate_hz=0.001, burst=1))

    async def ask(address):
        sent = []

        async def receive():
            return {"type": "http.request", "body": b""}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "path": "/", "headers": [], "client": (address, 1)}
        await watched(scope, receive, send)
        return sent[0]["status"]

    async def all_():
        for i in range(3000):
            assert await ask(f"10.0.{i >> 8}.{i & 255}") == 200
        return await ask("10.0.11.183"), await ask("10.0.0.1")

    assert asyncio.run(all_()) == (429, 200)  # the last one is remembered, the first one not
    assert len(watched._rate._full_at) == 100
    assert watched._running == {}


def test_what_counts_as_one_address():
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert network_of("2001:db8:1:3::1") == "2001:db8:1:3::/64"
    assert network_of("::ffff:10.1.2.3") == network_of("10.1.2.3") == "10.1.2.3"
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert (network_of("::1"), network_of(""), network_of("unix:")) == ("::1", "", "unix:")


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
    started = time.monotonic()
    drippers = {host.connect(): drip for drip in DRIPS for _ in range(40)}
    received = dict.fromkeys(drippers, b"")
    for each, (begin, _, _) in drippers.items():
        each.sendall(begin)
        each.setblocking(False)
    normal = http.client.HTTPConnection("127.0.0.1", host.port, timeout=5)
    slowest_s, open_ = 0.0, set(drippers)
    while open_:
        before = time.monotonic()
        assert before - started < 5, [drippers[each] for each in open_]
        normal.request("POST", "/", b"x" * 20000)
        response = normal.getresponse()
        assert (response.status, response.read()) == (200, b"127.0.0.1")
        slowest_s = max(slowest_s, time.monotonic() - before)
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
    assert time.monotonic() - started < 0.5 + 2
    assert slowest_s < 0.5
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
        time.sleep(0.12)
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
        deadline = time.monotonic() + 4
        while (0, "unread") not in host.refusals:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        while host.server.server_state.connections:
            assert time.monotonic() < deadline
            time.sleep(0.01)
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
            received, _ = closed_after(connection, time.monotonic())
        assert received.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
        assert "found more than 65536 bytes" in json.loads(received.partition(b"\r\n\r\n")[2])["error"]
    assert host.site.begun == 0
    assert host.refusals == [(431, "head_bytes")] * len(BOMBS)
    with host.connect() as connection:
        connection.sendall(GET.replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 60000 + b"\r\nConnection: close\r\n\r\n"))
        assert closed_after(connection, 0)[0].startswith(b"HTTP/1.1 200")


def is_refused(host):
    with host.connect() as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        return closed_after(connection, 0)[0] == b""


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
    deadline = time.monotonic() + 3
    while is_refused(host):
        assert time.monotonic() < deadline
        time.sleep(0.01)
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
                received = closed_after(connection, 0)[0]
            return int(received[9:12]), received.partition(b"\r\n\r\n")[2]

        return host, ask

    return start


@BOTH_LOOPS
def test_over_tls(secure, token_file, certificates):
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
    """Sockets that never begin it, or begin with something else, hold their place for the patience at most."""
    host, ask = secure(ConnectionLimits(of_one_address=30, patience_s=0.5))
    started = time.monotonic()
    held = [host.connect() for _ in range(30)]
    for each in held[::2]:
        each.sendall(b"\x16\x03\x01\x02")
    deadline = started + 3
    while host.refusals.count((0, "address_connections")) == 0:
        assert time.monotonic() < deadline
        with host.connect() as connection:
            closed_after(connection, 0) if select.select([connection], [], [], 0.05)[0] else None
    for each in held:
        assert closed_after(each, started)[1] < 2.5
        each.close()
    with host.connect() as connection:
        connection.sendall(GET)  # no TLS at all
        closed_after(connection, 0)
    assert ask()[0] == 200
    assert (0, "handshake") in host.refusals


@BOTH_LOOPS
def test_stopping_does_not_wait_for_a_handshake(secure):
    host, _ = secure()
    with host.connect():
        wait_for(lambda: host.server.server_state.connections)
        started = time.monotonic()
        host.stop()
        assert time.monotonic() - started < 3


def options(*given):
    parser = Parser()
    add_arguments(parser)
    return guard_of(parser.parse_args(given))


def test_options(token_file):
    plain = options()
    assert plain == Guarding(GuardSettings(0.0, 1, 256), None, ConnectionLimits())
    given = options("--rate", "2.5", "--client-requests=4", "--max-connections=9", "--client-connections=3", "--token-file",
                    str(token_file))  # fmt: skip
    assert given.settings == GuardSettings(2.5, 3, 4)
    assert given.limits == ConnectionLimits(9, 3)
    assert given.tokens.client_of("Bearer " + TOKEN) == "cam-1"
    assert options("--rate=0.5", "--burst=20").settings == GuardSettings(0.5, 20, 256)


@pytest.mark.parametrize(
    "given",
    ["--rate=0", "--rate=nan", "--rate=-1", "--rate=inf", "--burst=5", "--rate=5 --burst=0", "--client-requests=0",
     "--max-connections=0", "--client-connections=-1", "--token-file=/nowhere/tokens"],
)  # fmt: skip
def test_options_that_cannot_work(given):
    with pytest.raises(UsageError) as raised:
        options(*given.split())
    assert "expected" in str(raised.value)


@pytest.mark.parametrize(
    ("soft_hard", "most", "raised"),
    [
        ((1024, 2048), 1920, (2048, 2048)),
        ((1024, -1), 4096, (4224, -1)),
        ((-1, -1), 4096, None),
        ((100, 100), 50, (100, 100)),  # ulimit -n 100: a host of few connections, not one of none
        ((64, 64), 32, (64, 64)),
    ],
)
def test_fewer_open_files_than_connections_lower_the_limit(monkeypatch, soft_hard, most, raised):
    resource = pytest.importorskip("resource")
    set_, said = [], []
    monkeypatch.setattr(resource, "setrlimit", lambda _which, values: set_.append(values))
    monkeypatch.setattr(resource, "getrlimit", lambda _which: soft_hard)
    assert fitted(ConnectionLimits(), said.append).most == most
    assert set_ == ([raised] if raised else [])
    assert [f"at most {most} connections" in each for each in said] == ([True] if most < 4096 else [])


def test_too_few_open_files_for_any_use(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (63, 63))
    with pytest.raises(
        UsageError, match="may open 63 files; expected at least 64; start the host behind: ulimit -n 4224"
    ):
        fitted(ConnectionLimits(), [].append)
