"""What the preview's server and the handler of its requests both know."""

import http.server
import socket
import threading
from typing import NamedTuple

from device.preview.pictures import Picture
from device.preview.stats import Stats
from device.preview.switches import Switches


class Limits(NamedTuple):
    """What clients may use up."""

    viewers: int = 8
    connections: int = 32
    request_s: float = 5.0
    send_s: float = 5.0
    request_bytes: int = 16 << 10
    body_bytes: int = 1 << 10


LIMITS = Limits()


class Content(NamedTuple):
    """What the routes show and switch."""

    camera: Picture
    lens: Picture
    stats: Stats
    switches: Switches


class Service(http.server.HTTPServer):
    """What a handler asks of its server; device/preview/server.py fills it."""

    content: Content
    limits: Limits
    token: str
    """Wanted from every client; empty where none is needed."""
    local: bool
    """It listens to this machine alone."""
    own_name: str
    """As it stands in the Host header of who follows the printed address."""
    viewers: threading.BoundedSemaphore
    closing: bool

    def begins(self, connection: socket.socket, viewer: bool = False) -> None:
        """A connection waits for its next request, or becomes a viewer, which keeps its place."""
        raise NotImplementedError
