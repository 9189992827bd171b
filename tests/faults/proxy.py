"""A TCP proxy between a device and a host that hands requests on and spoils the answers."""

import random
import select
import socket
import threading

MODES = ("noise", "no_http", "empty", "cut", "flipped_json", "huge", "endless", "status_500", "silent", "reset")


class Proxy:
    """A context manager on a port of its own.

    mode: ``right``, one of MODES, or ``any``: each answer one of MODES with probability ``share``.
    spoilt: answers that were.
    """

    def __init__(self, port: int, seed: int, share: float = 1.0) -> None:
        self.mode = "right"
        self.spoilt = 0
        self._port = port
        self._random = random.Random(seed)
        self._share = share
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                device = self._listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._carry, args=(device,), daemon=True).start()

    def _carry(self, device: socket.socket) -> None:
        try:
            with device, socket.create_connection(("127.0.0.1", self._port)) as host:
                other = {device: host, host: device}
                while not self._ended.is_set():
                    for side in select.select([device, host], [], [], 0.2)[0]:
                        part = side.recv(65536)
                        if not part:
                            return
                        # the host answers a request in one or two pieces; the first one is replaced, what follows is dropped
                        if side is host and self.mode != "right" and self._random.random() < self._share:
                            self._spoil(device, part)
                            return
                        other[side].sendall(part)
        except OSError:
            pass  # one side went away; the other goes with it

    def _spoil(self, device: socket.socket, answer: bytes) -> None:
        self.spoilt += 1
        mode = self._random.choice(MODES) if self.mode == "any" else self.mode
        noise = self._random.randbytes
        if mode == "noise":
            device.sendall(noise(self._random.randrange(1, 4000)))
        elif mode == "no_http":
            device.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        elif mode == "empty":
            device.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        elif mode == "cut":
            device.sendall(answer[: self._random.randrange(1, max(2, len(answer) // 2))])
        elif mode == "flipped_json":
            device.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\nInference-Header-Content-Length: 40\r\n\r\n" + noise(64)
            )
        elif mode == "huge":
            device.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + noise(4000))
        elif mode == "endless":
            device.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while not self._ended.is_set():
                device.sendall(b"ffff\r\n" + bytes(0xFFFF) + b"\r\n")  # until the device has enough
        elif mode == "status_500":
            device.sendall(b'HTTP/1.1 500 Internal Server Error\r\nContent-Length: 13\r\n\r\n{"error": 17}')
        elif mode == "silent":
            select.select([device], [], [], 5)  # until the device gives it up
        elif mode == "reset":
            device.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
