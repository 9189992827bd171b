"""Trailers: header fields behind the last chunk of a body."""

import threading

from bench.hostile.target import connect, head, in_threads, infer_path

DESCRIPTION = "4 connections send a chunked body of one byte and 63 MB of trailers each"
OPTIONS: list[str] = []
CONNECTIONS, BYTES = 4, 63 << 20


def attack(port: int, stop: threading.Event, token: str | None) -> None:
    begin = head(infer_path(), "Transfer-Encoding: chunked", token=token) + b"1\r\nx\r\n0\r\n"
    fields = b"".join(b"X-%05d: y\r\n" % number for number in range(5000))

    def client(_number: int) -> None:
        with connect(port) as connection:
            connection.sendall(begin)
            for _ in range(BYTES // len(fields)):
                if stop.is_set():
                    return
                connection.sendall(fields)
            connection.sendall(b"\r\n")
            while connection.recv(65536):
                pass

    in_threads(CONNECTIONS, client, stop)
