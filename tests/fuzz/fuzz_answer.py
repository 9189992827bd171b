"""What a host sends back over HTTP, up to the decision the device makes of it. Input: the bytes on the socket."""

import http.client
import re
import socket

import numpy as np

from device.bundle.reader import load_bundle
from device.errors import HostError, WireError
from device.link.connection import Connection
from device.link.credentials import NO_CREDENTIALS
from device.link.deadline import Deadline
from device.link.endpoint import endpoint_of
from device.link.host_request import answer_of
from device.protocol.messages import decode_response, error_message
from tests.fuzz import BUNDLE

ENDPOINT = endpoint_of("http://127.0.0.1:9", NO_CREDENTIALS)
LOADED = load_bundle(str(BUNDLE))


def check(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    connection = Connection(ENDPOINT)
    connection._socket = ours
    try:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        theirs.sendall(data[: 1 << 16])
        theirs.shutdown(socket.SHUT_WR)
        status, length, body = connection.exchange(b"?", Deadline.after(2))
        if status != 200:
            assert error_message(body).isprintable()
            return
        response = decode_response(body, int(length) if re.match("[0-9]{1,12}$", length) else None)
        answer = answer_of(response.tensors, LOADED)
        assert 0 <= answer.label < 3
        assert 3 <= answer.exit <= 5
        assert np.isfinite(answer.confidence)
    except (OSError, http.client.HTTPException, HostError, WireError, ValueError, OverflowError) as error:
        assert not isinstance(error, socket.timeout), "waited for bytes that cannot come"
    finally:
        connection.close()
        theirs.close()
