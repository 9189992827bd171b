"""What is on the wire, and when a request is sent twice."""

import socket

import numpy as np
import pytest

from device.errors import CappedError, HostError
from device.link.connection import Payer
from device.link.credentials import Credentials
from device.link.deadline import Deadline
from device.link.endpoint import endpoint_of
from device.link.http_client import HttpClient
from device.protocol.messages import HEADER_LENGTH, Encoded, encode_request, encode_response
from tests.device.link.test_connection import Server

ANSWER = encode_response("m", "1", {"label": np.array([3])})


def answer(connection, head=b"HTTP/1.1 200 OK\r\n"):
    head += "{}: {}\r\nContent-Length: {}\r\n\r\n".format(
        HEADER_LENGTH, ANSWER.header_length, len(ANSWER.body)
    ).encode()
    connection.sendall(head + ANSWER.body)


@pytest.fixture
def client_to(tmp_path):
    opened = []

    def make(serve, credentials=None):
        server = Server(serve=serve)
        client = HttpClient(endpoint_of("http://127.0.0.1:{}".format(server.port), credentials or Credentials()), "m")
        opened.append((client, server))
        return client

    yield make
    for client, server in opened:
        client.close()
        server.stop()


class Keeping(Payer):
    """Keeps what it paid for and what it was told of; stops paying when it is told to."""

    def __init__(self):
        self.paid, self.told, self.pays = [], [], True

    def pay(self, count):
        if not self.pays:
            raise CappedError("found nothing left")
        self.paid.append(count)

    def sent(self, count):
        self.told.append(count)


def test_nothing_is_sent_of_a_request_that_is_not_paid_for(client_to):
    came = []

    def serve(connection):
        came.append(connection.recv(10000))

    client, payer = client_to(serve), Keeping()
    payer.pays = False
    with pytest.raises(CappedError):
        client.infer(encode_request({"a": np.ones(2, np.float32)}), Deadline.after(5), payer=payer)
    assert payer.told == []
    assert b"".join(came) == b""


def test_requests_are_those_of_the_protocol_and_the_token_goes_with_all_of_them(client_to, tmp_path):
    (tmp_path / "token").write_text("a-token-of-some-length\n")
    came = []

    def serve(connection):
        for _ in range(3):
            came.append(connection.recv(10000))
            answer(connection)

    client = client_to(serve, Credentials(token_file=str(tmp_path / "token")))
    message = encode_request({"activation": np.ones((1, 2), np.float32)})
    payer = Keeping()
    assert client.metadata(Deadline.after(5)).status == 200
    first = client.infer(message, Deadline.after(5), payer=payer)
    second = client.infer(Encoded(b"packed", 7), Deadline.after(5), "deflate")
    assert first.tensors["label"].tolist() == [3]
    assert not first.on_new_connection
    assert [first.request_bytes] == payer.paid == payer.told == [len(came[1])]
    assert second.request_bytes == len(came[2])
    lines = [each.partition(b"\r\n\r\n")[0].split(b"\r\n") for each in came]
    assert [each[0] for each in lines] == [b"GET /v2/models/m HTTP/1.1"] + [b"POST /v2/models/m/infer HTTP/1.1"] * 2
    assert all(b"Authorization: Bearer a-token-of-some-length" in each for each in lines)
    assert {b"Content-Type: application/octet-stream", b"Content-Encoding: deflate"} <= set(lines[2])
    assert {b"Inference-Header-Content-Length: 7", b"Content-Length: 6"} <= set(lines[2])
    assert not any(line.startswith(b"Content-Encoding") for line in lines[1])


def test_a_request_that_fails_on_an_idle_connection_is_sent_once_more(client_to):
    served = []

    def serve(connection):
        served.append(1)
        connection.recv(10000)
        answer(connection)
        connection.recv(10000)  # and closes without an answer

    client = client_to(serve)
    message = encode_request({"a": np.ones(2, np.float32)})
    assert [client.infer(message, Deadline.after(5)).on_new_connection for _ in range(2)] == [True, True]
    assert len(served) == 2


def test_a_request_that_fails_on_a_new_connection_is_not(client_to):
    served = []
    client = client_to(lambda connection: served.append(connection.recv(10000)))
    with pytest.raises(OSError, match="closed the connection without an answer"):
        client.infer(Encoded(b"x", None), Deadline.after(5))
    assert len(served) == 1
    with pytest.raises(socket.timeout):
        client.infer(Encoded(b"x", None), Deadline.after(0))


def test_another_status_is_an_error_with_the_servers_words(client_to):
    def serve(connection):
        connection.recv(10000)
        connection.sendall(b'HTTP/1.1 500 No\r\nContent-Length: 16\r\n\r\n{"error": "why"}')

    with pytest.raises(HostError, match="status 500: why"):
        client_to(serve).infer(Encoded(b"x", None), Deadline.after(5))
