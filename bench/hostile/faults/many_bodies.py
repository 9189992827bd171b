"""Many requests of the size that the model takes, which never end."""

import threading

from bench.hostile.target import connect, in_threads, infer_request

DESCRIPTION = "200 connections of a client with a token send all but the last byte of a batch of 32 frames each"
OPTIONS = ["--token-file", "{tokens}"]
CONNECTIONS, FRAMES = 200, 32


def attack(port: int, stop: threading.Event, token: str | None) -> None:
    request = memoryview(infer_request(FRAMES, token))[:-1]

    def client(_number: int) -> None:
        with connect(port, 20) as connection:
            connection.sendall(request)
            connection.recv(65536)

    in_threads(CONNECTIONS, client, stop)
