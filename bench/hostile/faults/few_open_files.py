"""A host that may open a hundred files, and a client that opens more connections than that."""

import threading

from bench.hostile.target import connect

DESCRIPTION = "a host with ulimit -n 100, and 150 connections that ask nothing"
OPTIONS: list[str] = []
OPEN_FILES = 100
CONNECTIONS, PAUSE_S = 150, 0.5


def attack(port: int, stop: threading.Event, token: str | None) -> None:
    while not stop.is_set():
        held = []
        for _ in range(CONNECTIONS):
            try:
                held.append(connect(port, 1.0))
            except OSError:
                break
        stop.wait(PAUSE_S)
        for each in held:
            each.close()
