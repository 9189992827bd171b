"""What a device sends, frame by frame: recorded on the wire between ``defq run`` and a real host.

The device itself decides which frames leave and how the others are encoded, so a trace holds its very bytes in any
payload form, and nothing here has to know how they are made.
"""

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from device.errors import DataError, EdgeError
from device.link.endpoint import Endpoint, endpoint_of
from device.payload.forms import FP32


class Trace(NamedTuple):
    """A device's traffic over some frames, in the order of the frames."""

    requests: list[bytes | None]
    """For each frame the whole HTTP request, or None where it left on the device."""
    about: dict[str, Any]
    """JSON-ready: ``bundle`` its id; ``rad``, ``source`` and ``defq`` as the device was told; ``forms`` of the payloads that
    it sent (frames without DefQ have no coefficients to send); ``accuracy`` of its decisions, None without labels."""

    @property
    def share_sent(self) -> float:
        """Of the frames, 0..1."""
        return sum(request is not None for request in self.requests) / len(self.requests)

    @property
    def bytes_a_frame(self) -> float:
        """Sent, on average over all frames, those that leave on the device among them."""
        return sum(len(request) for request in self.requests if request is not None) / len(self.requests)

    @property
    def bytes_a_request(self) -> float:
        """Sent, on average over the frames that do not leave; 0 where all leave."""
        return self.bytes_a_frame / self.share_sent if self.share_sent else 0.0


def record(bundle: Path, source: str, defq: str, url: str, payload: str = FP32, options: tuple[str, ...] = ()) -> Trace:
    """Run a device over a source and keep what it sends.

    Args:
        source: as ``--source``; one that ends, such as bundle:attacked.
        defq: off, on or gated.
        url: of a host of this bundle; it answers the device as ever.
        payload: one of device.payload.forms.FORMS; ``auto`` would follow the link of the recording, not the fleet's.
        options: further ones of defq run.

    Raises:
        EdgeError: the device failed, or the host did not answer every frame that was sent.
    """
    with tempfile.TemporaryDirectory() as folder, recorder(endpoint_of(url)) as (between, requests):
        lines, summary = Path(folder, "decisions.jsonl"), Path(folder, "summary.json")
        command = [
            sys.executable, "-m", "device", "run", "--bundle", str(bundle), "--source", source, "--host", between,
            "--require-host", "--defq", defq, "--connections", "1", "--timeout-ms", "10000", "--threads", "1",
            "--payload", payload, "--jsonl", str(lines), "--summary", str(summary), *options,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise EdgeError(f"the device that was to be recorded ended with exit code {done.returncode}: {done.stderr}")
        decisions = [json.loads(line) for line in lines.read_text().splitlines()]
        figures = json.loads(summary.read_text())
    sources = ["capped" if decision.get("capped") else decision["source"] for decision in decisions]
    if "fallback" in sources or sources.count("host") != len(requests):
        raise EdgeError(
            f"found {len(requests)} requests of {sources.count('host')} frames that the host answered and "
            f"{sources.count('fallback')} that it did not; expected one request and one answer for each"
        )
    # with one connection a device sends a frame and waits, so requests come in the order of the frames
    sent = iter(requests)
    forms = sorted({decision["payload"] for decision in decisions if decision["source"] == "host"})
    about = {"bundle": figures["bundle"], "rad": figures["rad"], "source": source, "defq": defq, "forms": forms}
    about["accuracy"] = figures.get("accuracy")
    return Trace([next(sent) if each == "host" else None for each in sources], about)


def save(trace: Trace, file: Path) -> None:
    """Write as .npz: ``data`` uint8, all requests one after the other; ``lengths`` int64 (n,), 0 where a frame left."""
    file.parent.mkdir(parents=True, exist_ok=True)
    data = b"".join(request for request in trace.requests if request is not None)
    lengths = [0 if request is None else len(request) for request in trace.requests]
    with file.open("wb") as stream:
        np.savez(stream, data=np.frombuffer(data, np.uint8), lengths=np.array(lengths, np.int64), about=np.array(json.dumps(trace.about)))  # fmt: skip


def load(file: Path) -> Trace:
    """Read what ``save`` wrote.

    Raises:
        DataError: not such a file.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            data, lengths, about = arrays["data"].tobytes(), arrays["lengths"].tolist(), str(arrays["about"])
        if not lengths or min(lengths) < 0 or sum(lengths) != len(data):
            raise ValueError(f"{len(data)} bytes for {len(lengths)} frames of {sum(lengths)} bytes")
        ends = np.cumsum(lengths).tolist()
        requests = [data[end - length : end] if length else None for end, length in zip(ends, lengths, strict=True)]
        return Trace(requests, json.loads(about))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"found no usable trace in {file} ({error}); expected one of: python -m bench.fleet") from error


@contextlib.contextmanager
def recorder(host: Endpoint) -> Iterator[tuple[str, list[bytes]]]:
    """Stands between devices and a host: gives its own URL, and the list in which the infer requests gather."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    client = listener.accept()[0]
                except OSError:
                    return  # closed at the end
                threading.Thread(target=_relay, args=(client, host, requests), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes accept, which close alone does not


def _relay(client: socket.socket, host: Endpoint, requests: list[bytes]) -> None:
    """Pass the requests of one connection on, and the answers back, until either side closes."""
    with client, socket.create_connection((host.host, host.port)) as server:
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked, answered = client.makefile("rb"), server.makefile("rb")
        with contextlib.suppress(OSError):
            while request := _message(asked):
                if request.split(b" ", 2)[1].endswith(b"/infer"):
                    requests.append(request)
                server.sendall(request)
                client.sendall(_message(answered))


def _message(stream: IO[bytes]) -> bytes:
    """One HTTP message with a Content-Length or without a body; empty at the end of the connection."""
    head, length = b"", 0
    while (line := stream.readline()) not in (b"\r\n", b""):
        head += line
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return head + b"\r\n" + stream.read(length) if head else b""
