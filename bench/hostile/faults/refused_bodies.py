"""Bodies of requests that are answered before they are read."""

import threading

from bench.hostile.target import connect, head, in_threads

DESCRIPTION = "8 connections send 4 MB each to a path that is not there"
OPTIONS: list[str] = []
CONNECTIONS, BYTES = 8, 4 << 20


def attack(port: int, stop: threading.Event, token: str | None) -> None:
    request = head("/v2/nothing", f"Content-Length: {BYTES}", token=token) + b"\r\n" * (BYTES // 2)

    def client(_number: int) -> None:
        with connect(port) as connection:
            connection.sendall(request)
            while connection.recv(65536):
                pass

    in_threads(CONNECTIONS, client, stop)
