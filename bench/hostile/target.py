"""What the faults need of the host that they meet."""

import functools
import os
import socket
import threading
from collections.abc import Callable

import numpy as np

from device.bundle.reader import Bundle, load_bundle
from device.protocol.messages import HEADER_LENGTH, encode_request

BUNDLE = "BENCH_HOSTILE_BUNDLE"  # the environment variable that says which one the host serves


@functools.lru_cache(1)
def bundle() -> Bundle:
    """The bundle that the host serves."""
    return load_bundle(os.environ[BUNDLE])


def connect(port: int, timeout_s: float = 5.0) -> socket.socket:
    """A connection to the host, without Nagle's algorithm."""
    connection = socket.create_connection(("127.0.0.1", port), timeout_s)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def head(path: str, *fields: str, method: str = "POST", token: str | None = None) -> bytes:
    """The head of a request; ``fields`` as ``Name: value``."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *fields]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join([*lines, "", ""]).encode()


def infer_path() -> str:
    """Where requests for answers go."""
    return f"/v2/models/{bundle().id}/infer"


def infer_request(frames: int = 1, token: str | None = None, seed: int = 0) -> bytes:
    """A whole binary request for answers, as a device sends it with --payload fp32; no frame leaves before the end."""
    activation = np.random.default_rng(seed).random((frames, *bundle().activation_shape), np.float32)
    threshold = np.full((frames, 1), 1.01, np.float32)
    encoded = encode_request({"activation": activation, "threshold": threshold}, ("label", "confidence", "exit"))
    fields = (f"{HEADER_LENGTH}: {encoded.header_length}", f"Content-Length: {len(encoded.body)}")
    return head(infer_path(), *fields, token=token) + encoded.body


def in_threads(count: int, client: Callable[[int], None], stop: threading.Event) -> None:
    """Run ``client(number)`` in ``count`` threads, each again and again until ``stop`` is set; a connection that is refused
    or lost is no end of it."""

    def again(number: int) -> None:
        while not stop.is_set():
            try:
                client(number)
            except OSError:
                stop.wait(0.05)

    threads = [threading.Thread(target=again, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    stop.wait()
    for thread in threads:
        thread.join(1)
