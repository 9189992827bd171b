"""A host that misbehaves on demand."""

import json
import zlib

import numpy as np

from device.payload.forms import FORMS, inputs_of
from device.protocol.messages import HEADER_LENGTH, decode_request, encode_response, error_body
from tests.device.fake_server import FakeServer, read_head, send_answer


class FakeHost(FakeServer):
    """An HTTP server that answers infer requests in one of several ways.

    mode: right | silent | drip | garbage | not_http | wrong_shape | out_of_range | nan | nan_label | odd_length | status_500 | status_401 | wrong_model | not_found | close_after (each answer)
    """

    ANSWER = {"label": np.array([2]), "confidence": np.array([0.75], np.float32), "exit": np.array([4])}

    def __init__(self, bundle, port=0, context=None):
        self.bundle = bundle
        self.mode = "right"
        self.requests = 0
        self.thresholds = []
        self.metadata = b""  # another answer to who asks for it
        self.forms = ["fp32"]  # those that its metadata lists; from the next question on
        self.lists_inputs = True  # as a host of an earlier release: the tensors of all forms
        self.received = []  # the form of each request
        self.steps = []  # of those with coefficients
        super().__init__(port, context)

    def answer(self, connection, stream):
        first, headers = read_head(stream)
        if not first:
            return False
        body = stream.read(int(headers.get("content-length", 0)))
        known = "/v2/models/{}".format(self.bundle.id) in first
        if self.mode == "not_found":
            send_answer(connection, "404 Not Found", b"<html>no such page</html>")
            return True
        if self.mode == "wrong_model" or not known:
            message = "found model 'a' in the request; this host serves 'b'"
            send_answer(connection, "404 Not Found", error_body(message))
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
            send_answer(connection, "200 OK", self.metadata or json.dumps(metadata).encode())
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
            return not self.stopped.wait(20)
        if mode == "drip":
            while not self.stopped.wait(0.05):
                connection.sendall(b"H")
        if mode == "not_http":
            connection.sendall(b"\x00\x01\x02\x03\r\n\r\n")
            return False
        if mode == "garbage":
            send_answer(connection, "200 OK", b"\xff" * 40, 20)
            return True
        if mode == "status_500":
            send_answer(connection, "500 Internal Server Error", error_body("the engine failed"))
            return True
        if mode == "status_401":
            send_answer(connection, "401 Unauthorized", error_body("found no token in the request"))
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
            send_answer(connection, "200 OK", encoded.body, "\xb2")  # a digit, but no number
            return True
        send_answer(connection, "200 OK", encoded.body, encoded.header_length)
        return mode != "close_after"
