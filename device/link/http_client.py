"""The one HTTP client of the device: it asks a server of the Open Inference Protocol about one model.

The HostClient has one for each frame on its way, and the preview has one for a live attacker.
"""

import http.client
import re
from typing import Dict, NamedTuple, Optional, Tuple

import numpy as np

from device.errors import HostError
from device.link.connection import MAX_ANSWER_BYTES, Answer, Connection, Payer
from device.link.deadline import Deadline
from device.link.endpoint import Endpoint
from device.protocol.messages import HEADER_LENGTH, Encoded, decode_response, error_message


class Inference(NamedTuple):
    """A server's answer to an infer request."""

    tensors: Dict[str, np.ndarray]
    request_bytes: int
    """Size of the HTTP request, head and body."""
    on_new_connection: bool
    """The connection was opened for this request, so TCP was still finding out how much it may send."""


class HttpClient:
    """Asks about one model over one connection that is kept open. An instance serves one thread.

    Args:
        endpoint: where the server listens.
        model: the name of the model at that server.
        max_answer_bytes: of the body of an answer.
    """

    def __init__(self, endpoint: Endpoint, model: str, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._credentials = endpoint.credentials
        self._connection = Connection(endpoint, max_answer_bytes)
        path, host = "/v2/models/" + model, "Host: {}\r\n".format(endpoint.authority)
        self._get = "GET {} HTTP/1.1\r\n{}".format(path, host)
        self._post = "POST {}/infer HTTP/1.1\r\n{}Content-Type: application/octet-stream\r\n".format(path, host)

    def metadata(self, deadline: Deadline) -> Answer:
        """Ask for the model's metadata; errors as of ``Connection.exchange``."""
        request = "{}{}\r\n".format(self._get, self._credentials.authorization()).encode("ascii")
        return self._exchange(request, deadline, None)[0]

    def infer(
        self,
        message: Encoded,
        deadline: Deadline,
        content_encoding: str = "",
        payer: Optional[Payer] = None,
    ) -> Inference:
        """Send a request of the protocol and read the answer.

        Args:
            message: the request; its body is already encoded as ``content_encoding`` says.
            content_encoding: for the header of that name; empty for none.
            payer: pays for the request each time that it is sent, and is told what was sent of it.

        Raises:
            OSError, http.client.HTTPException: the connection failed, timed out or did not speak HTTP.
            HostError: another status than 200, or what ``Connection.exchange`` raises.
            WireError: the answer is not of the protocol.
        """
        head = [self._post]
        if content_encoding:
            head.append("Content-Encoding: {}\r\n".format(content_encoding))
        if message.header_length is not None:
            head.append("{}: {}\r\n".format(HEADER_LENGTH, message.header_length))
        head.append("Content-Length: {}\r\n{}\r\n".format(len(message.body), self._credentials.authorization()))
        request = "".join(head).encode("ascii") + message.body
        (status, length, body), is_new = self._exchange(request, deadline, payer)
        if status != 200:
            raise HostError("status {}: {}".format(status, error_message(body)))
        tensors = decode_response(body, int(length) if re.match("[0-9]{1,12}$", length) else None).tensors
        return Inference(tensors, len(request), is_new)

    def close(self) -> None:
        """Close the connection. The next request opens another one."""
        self._connection.close()

    def _exchange(self, request: bytes, deadline: Deadline, payer: Optional[Payer]) -> Tuple[Answer, bool]:
        """The answer, and whether it came over a new connection.

        Servers close connections that were idle for some seconds. Inference is idempotent, so a request that fails on such a
        connection is sent once more over a new one.
        """
        connection = self._connection
        connection.close_if_dead()
        is_new = not connection.is_open()
        try:
            try:
                return connection.exchange(request, deadline, payer), is_new
            except (OSError, http.client.HTTPException):
                if is_new or deadline.is_over():
                    raise
                connection.close()
                return connection.exchange(request, deadline, payer), True
        except BaseException:
            connection.close()  # the rest of this answer must not pass for the next one
            raise
