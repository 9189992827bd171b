"""The largest requests in JSON that the model takes, packed."""

import gzip
import threading

import numpy as np

from bench.hostile.target import bundle, connect, head, in_threads, infer_path
from device.protocol.messages import encode_request

DESCRIPTION = "4 connections of a client with a token send 32 frames each, again and again, as packed JSON"
OPTIONS = ["--token-file", "{tokens}"]
CONNECTIONS, FRAMES = 4, 32


def attack(port: int, stop: threading.Event, token: str | None) -> None:
    activation = np.full((FRAMES, *bundle().activation_shape), 0.1, np.float32)  # 19 digits, which pack well
    body = gzip.compress(encode_request({"activation": activation}, binary=False).body, 1)
    request = head(infer_path(), "Content-Encoding: gzip", f"Content-Length: {len(body)}", token=token) + body

    def client(_number: int) -> None:
        with connect(port, 30) as connection:
            while not stop.is_set():
                connection.sendall(request)
                if not connection.recv(65536):
                    return

    in_threads(CONNECTIONS, client, stop)
