"""python -m bench.hostile.honest PORT SECONDS < REQUEST: an honest client, with the standard library alone.

Some devices ask at a fixed pace, each on a connection of its own, whether or not answers come in time: a request's time
counts from when it was due (no coordinated omission). A probe asks for the host's health beside them. One line of JSON,
a Seen of bench/hostile/measure.py, goes to stdout.
"""

import contextlib
import http.client
import json
import math
import socket
import sys
import threading
import time

DEVICES = 4
PACE_S = 0.1  # between two requests of a device
DEADLINE_S = 2.0  # from when a request was due; what is not answered by then counts as unanswered
HEALTH_PACE_S = 0.25
HEALTH = b"GET /v2/health/ready HTTP/1.1\r\nHost: honest\r\nConnection: close\r\n\r\n"


class Asker:
    """Sends one request again and again until a moment, and keeps how long each took; None where no answer came."""

    def __init__(self, port: int, request: bytes, pace_s: float, keeps_open: bool) -> None:
        self._port, self._request, self._pace_s, self._keeps_open = port, request, pace_s, keeps_open
        self._connection: socket.socket | None = None
        self.took_s: list[float | None] = []
        self.failures: dict[str, int] = {}

    def run(self, first_s: float, end_s: float) -> None:
        """Ask at ``first_s`` of time.monotonic(), and then at the pace until ``end_s``."""
        for number in range(math.ceil((end_s - first_s) / self._pace_s)):
            due_s = first_s + number * self._pace_s
            time.sleep(max(0.0, due_s - time.monotonic()))
            try:
                status = self._ask(due_s + DEADLINE_S)
            except TimeoutError:
                status = "timeout"
            except (OSError, http.client.HTTPException):
                status = "lost"
            if status != "200" or not self._keeps_open:
                self._shut()
            if status != "200":
                self.failures[status] = self.failures.get(status, 0) + 1
            self.took_s.append(time.monotonic() - due_s if status == "200" else None)
        self._shut()

    def _ask(self, deadline_s: float) -> str:
        connection = self._connection
        if connection is None:
            connection = socket.create_connection(("127.0.0.1", self._port), self._left_s(deadline_s))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connection = connection
        connection.settimeout(self._left_s(deadline_s))
        connection.sendall(self._request)
        answer = http.client.HTTPResponse(connection)
        try:
            answer.begin()
            connection.settimeout(self._left_s(deadline_s))
            answer.read()
            if answer.will_close:
                self._shut()
            return str(answer.status)
        finally:
            answer.close()

    @staticmethod
    def _left_s(deadline_s: float) -> float:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s

    def _shut(self) -> None:
        if self._connection:
            with contextlib.suppress(OSError):
                self._connection.close()
        self._connection = None


def figures(askers: list[Asker]) -> dict[str, object]:
    """Requests asked and answered, why others were not, and milliseconds at the middle, at 99 % and at most of all
    requests, where one without an answer counts with the deadline."""
    took_s = [each for asker in askers for each in asker.took_s]
    all_s = sorted(DEADLINE_S if each is None else each for each in took_s)
    failures: dict[str, int] = {}
    for asker in askers:
        for status, count in asker.failures.items():
            failures[status] = failures.get(status, 0) + count

    def at(share: float) -> float:
        return round(all_s[min(len(all_s) - 1, int(share * len(all_s)))] * 1e3, 2)

    answered = sum(each is not None for each in took_s)
    return {"asked": len(took_s), "answered": answered, "failures": failures, "p50_ms": at(0.5), "p99_ms": at(0.99), "most_ms": at(1)}  # fmt: skip


def main() -> None:
    port, seconds = int(sys.argv[1]), float(sys.argv[2])
    request = sys.stdin.buffer.read()
    devices = [Asker(port, request, PACE_S, True) for _ in range(DEVICES)]
    probe = Asker(port, HEALTH, HEALTH_PACE_S, False)
    start_s = time.monotonic() + 0.05
    threads = [
        threading.Thread(target=each.run, args=(start_s + PACE_S * number / DEVICES, start_s + seconds))
        for number, each in enumerate(devices)
    ]
    threads.append(threading.Thread(target=probe.run, args=(start_s, start_s + seconds)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"requests": figures(devices), "health": figures([probe])}))


if __name__ == "__main__":
    main()
