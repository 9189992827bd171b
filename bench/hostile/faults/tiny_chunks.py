"""A body in chunks of one byte: six bytes on the wire for each of the body."""

import threading

from bench.hostile.target import connect, head, in_threads, infer_path

DESCRIPTION = "2 connections send a body of 32 MB in chunks of one byte"
OPTIONS: list[str] = []
CONNECTIONS, BYTES, AT_ONCE = 2, 32 << 20, 1 << 16


def attack(port: int, stop: threading.Event, token: str | None) -> None:
    begin = head(infer_path(), "Transfer-Encoding: chunked", token=token)
    chunks = b"1\r\nx\r\n" * AT_ONCE

    def client(_number: int) -> None:
        with connect(port) as connection:
            connection.sendall(begin)
            for _ in range(BYTES // AT_ONCE):
                if stop.is_set():
                    return
                connection.sendall(chunks)
            connection.sendall(b"0\r\n\r\n")
            while connection.recv(65536):
                pass

    in_threads(CONNECTIONS, client, stop)
