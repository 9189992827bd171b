"""A client that may ask, and asks for as much as it can."""

import threading

from bench.hostile.target import connect, in_threads, infer_request

DESCRIPTION = "16 connections of a client with a token send batches of 32 frames without a pause"
OPTIONS = ["--token-file", "{tokens}"]
CONNECTIONS, FRAMES = 16, 32


def attack(port: int, stop: threading.Event, token: str | None) -> None:
    request = infer_request(FRAMES, token)

    def client(_number: int) -> None:
        with connect(port, 30) as connection:
            while not stop.is_set():
                connection.sendall(request)
                if not connection.recv(65536):
                    return

    in_threads(CONNECTIONS, client, stop)
