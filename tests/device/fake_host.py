"""A host that misbehaves on demand."""

import json
import socket
import threading
import zlib

import numpy as np

from device.payload.forms import FORMS, inputs_of
from device.protocol.messages import HEADER_LENGTH, decode_request, encode_response, error_body


class FakeHost:
    """An HTTP server that answers infer requests in one of several ways.

    mode: right | silent | drip | garbage | not_http | wrong_shape | out_of_range | nan | nan_label | odd_length | status_500 | status_401 | wrong_model | not_found | close_after (each answer)
    """

    ANSWER = {"label": np.array([2]), "confidence": np.array([0.75], np.float32), "exit": np.array([4])}

    def __init__(self, bundle, port=0):
        self.bundle = bundle
        self.mode = "right"
        self.requests = 0
        self.thresholds = []
        self.metadata = b""  # another answer to who asks for it
        self.forms = ["fp32"]  # those that its metadata lists; from the next question on
        self.lists_inputs = True  # as a host of an earlier release: the tensors of all forms
        self.received = []  # the form of each request
        self.steps = []  # of those with coefficients
        self.connections = []
        self._stopped = threading.Event()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(16)
        self.port = self._listener.getsockname()[1]
        self.url = "http://127.0.0.1:{}".format(self.port)
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        self._stopped.set()
        for connection in [self._listener, *self.connections]:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.close()

    def _accept(self):
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(20)
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        stream = connection.makefile("rb")
        try:
            while self._one(connection, stream):
                pass
        except (OSError, ValueError):
            pass
        finally:
            connection.close()

    def _one(self, connection, stream):
        first = stream.readline().decode()
        if not first:
            return False
        headers = {}
        for line in iter(stream.readline, b"\r\n"):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = stream.read(int(headers.get("content-length", 0)))
        known = "/v2/models/{}".format(self.bundle.id) in first
        if self.mode == "not_found":
            self._send(connection, "404 Not Found", b"<html>no such page</html>", None)
            return True
        if self.mode == "wrong_model" or not known:
            message = "found model 'a' in the request; this host serves 'b'"
            self._send(connection, "404 Not Found", error_body(message), None)
            return True
        if first.startswith("GET"):
            names = [name for form in self.forms for name in inputs_of(form, self.bundle)]
            metadata = {"name": self.bundle.id, "inputs": [{"name": name} for name in names]}
            if not self.lists_inputs:
                metadata = {
                    "name": self.bundle.id,
                    "inputs": [{"name": "activation"}],
                    "parameters": {"payload_forms": self.forms},
                }
            self._send(connection, "200 OK", self.metadata or json.dumps(metadata).encode(), None)
            return True
        self.requests += 1
        if headers.get("content-encoding") == "deflate":
            body = zlib.decompress(body)
        request = decode_request(body, int(headers[HEADER_LENGTH.lower()]))
        form = next(form for form in FORMS if set(inputs_of(form, self.bundle)) < set(request.tensors))
        for name, (_, shape) in inputs_of(form, self.bundle).items():
            assert request.tensors[name].shape == (1, *shape)
        self.received.append(form)
        if form == "coefficients":
            self.steps.append(request.tensors["steps"][0].tolist())
        self.thresholds.append(request.tensors["threshold"].tolist())
        return self._answer(connection)

    def _answer(self, connection):
        mode, answer = self.mode, dict(self.ANSWER)
        if mode == "silent":
            return not self._stopped.wait(20)
        if mode == "drip":
            while not self._stopped.wait(0.05):
                connection.sendall(b"H")
        if mode == "not_http":
            connection.sendall(b"\x00\x01\x02\x03\r\n\r\n")
            return False
        if mode == "garbage":
            self._send(connection, "200 OK", b"\xff" * 40, 20)
            return True
        if mode == "status_500":
            self._send(connection, "500 Internal Server Error", error_body("the engine failed"), None)
            return True
        if mode == "status_401":
            self._send(connection, "401 Unauthorized", error_body("found no token in the request"), None)
            return True
        if mode == "wrong_shape":
            answer["label"] = np.array([1, 2])
        if mode == "out_of_range":
            answer["label"] = np.array([99])
        if mode == "nan_label":
            answer["label"] = np.array([float("nan")], np.float32)
        if mode == "nan":
            answer["confidence"] = np.array([float("nan")], np.float32)
        encoded = encode_response(self.bundle.id, "1", answer)
        if mode == "odd_length":
            self._send(connection, "200 OK", encoded.body, "\xb2")  # a digit, but no number
            return True
        self._send(connection, "200 OK", encoded.body, encoded.header_length)
        return mode != "close_after"

    @staticmethod
    def _send(connection, status, body, header_length):
        head = "HTTP/1.1 {}\r\nContent-Length: {}\r\n".format(status, len(body))
        if header_length is not None:
            head += "{}: {}\r\n".format(HEADER_LENGTH, header_length)
        connection.sendall(head.encode("latin-1") + b"\r\n" + body)
