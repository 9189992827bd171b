"""The saturated host, compared to the tail alone in ONNX Runtime, and the tail in stages, compared to the flat tail."""

import socket
import threading
import time
from typing import Any

import numpy as np

from bench import tail as stages
from bench.measure import table
from bench.subject import Subject
from device.bundle.reader import Bundle
from device.protocol.messages import HEADER_LENGTH, encode_request
from export.commands.demo import host_process
from host.app.tail import Tail

CONNECTIONS = 4
SECONDS = 1.5
ROUNDS = 5
NOBODY_LEAVES = 1.01  # a threshold with which every frame takes the whole tail


def run(subjects: list[Subject]) -> dict[str, Any]:
    """Frames a second: the bare tail at a batch of 4, and the host with 4 connections that ask without a pause.

    Both have all cores and take turns. The work of the clients is included in the figure of the host.
    """
    results = {}
    for subject in subjects:
        bundle = subject.bundle
        tail = Tail(bundle)
        activation = np.random.default_rng(0).random((CONNECTIONS, *bundle.activation_shape), np.float32)
        threshold = np.full((CONNECTIONS, 1), NOBODY_LEAVES, np.float32)
        bare, served = [], []
        with host_process(subject.folder) as url:
            for _ in range(ROUNDS):
                bare.append(_bare(tail, activation, threshold))
                served.append(_served(bundle, url, activation[:1], threshold[:1]))
        results[subject.name] = {"bare": float(np.median(bare)), "host": float(np.median(served))}
        results[subject.name]["ratio"] = float(np.median([a / b for a, b in zip(served, bare, strict=True)]))
    return {"saturated": results, "stages": stages.run(subjects)}


def _bare(tail: Tail, activation: np.ndarray, threshold: np.ndarray) -> float:
    tail.run(activation, threshold)
    frames, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        tail.run(activation, threshold)
        frames += len(activation)
    return frames / (time.perf_counter() - started)


def _served(bundle: Bundle, url: str, activation: np.ndarray, threshold: np.ndarray) -> float:
    encoded = encode_request({"activation": activation, "threshold": threshold}, ("label", "confidence", "exit"))
    head = f"POST /v2/models/{bundle.id}/infer HTTP/1.1\r\nHost: bench\r\n{HEADER_LENGTH}: {encoded.header_length}\r\nContent-Length: {len(encoded.body)}\r\n\r\n"
    request = head.encode() + encoded.body
    address = url.removeprefix("http://").split(":")
    counts = [0] * CONNECTIONS
    stop = threading.Event()

    def client(number: int) -> None:
        with socket.create_connection((address[0], int(address[1]))) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not stop.is_set():
                connection.sendall(request)
                _read_answer(connection)
                counts[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    before, started = sum(counts), time.perf_counter()
    time.sleep(SECONDS)
    frames, elapsed = sum(counts) - before, time.perf_counter() - started
    stop.set()
    for thread in threads:
        thread.join(10)
    return frames / elapsed


def _read_answer(connection: socket.socket) -> None:
    """One whole answer, which may come in two pieces."""
    answer = connection.recv(65536)
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(answer[:200])
    length = int(head.lower().split(b"\r\ncontent-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)


def report(results: dict[str, Any]) -> str:
    rows = [["4 connections", "bare tail, batch 4, frames/s", "host, frames/s", "host / bare"]]
    rows += [
        [model, f"{each['bare']:.0f}", f"{each['host']:.0f}", f"{each['ratio']:.2f}"]
        for model, each in results["saturated"].items()
    ]
    return table(rows) + "\n\n" + stages.report(results["stages"])
