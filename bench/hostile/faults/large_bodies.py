"""Bodies as large as the host lets them be, which never end."""

import threading

from bench.hostile.target import connect, head, in_threads, infer_path

DESCRIPTION = "16 connections of a client with a token send all but the end of 63 MB each"
OPTIONS = ["--token-file", "{tokens}"]
CONNECTIONS, BYTES = 16, 63 << 20  # no more: they fill the memory of the machine too


def attack(port: int, stop: threading.Event, token: str | None) -> None:
    start = head(infer_path(), f"Content-Length: {BYTES}", token=token)
    piece = bytes(1 << 20)

    def client(_number: int) -> None:
        with connect(port, 20) as connection:
            connection.sendall(start)
            for _ in range(BYTES // len(piece) - 1):
                connection.sendall(piece)
            connection.recv(65536)

    in_threads(CONNECTIONS, client, stop)
