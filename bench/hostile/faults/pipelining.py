"""Many small requests on each connection, whose answers nobody reads."""

import threading

from bench.hostile.target import connect, head, in_threads

DESCRIPTION = "32 connections send 14,000 small requests each and read no answer"
OPTIONS: list[str] = []
CONNECTIONS, REQUESTS, AT_ONCE = 32, 14_000, 500


def attack(port: int, stop: threading.Event, token: str | None) -> None:
    burst = head("/v2", method="GET", token=token) * AT_ONCE

    def client(_number: int) -> None:
        with connect(port, 3.0) as connection:
            for _ in range(REQUESTS // AT_ONCE):
                if stop.is_set():
                    return
                connection.sendall(burst)
            stop.wait(3)

    in_threads(CONNECTIONS, client, stop)
