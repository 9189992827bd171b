"""The preview's HTTP server: the standard library's, with what keeps strangers and slow clients from doing harm.

It listens on 127.0.0.1 unless told otherwise, and beyond it wants a token. Pages of other sites can neither read it
(Host is checked against DNS rebinding, no cross-origin header is given, resources are marked same-origin) nor switch
anything (a header that browsers do not send across origins without asking first). A request has 5 s and 16 kB for its
head and body, a viewer 5 s to take a picture, and no more than 32 connections and 8 viewers are served at once.
"""

import errno
import hmac
import http.cookies
import http.server
import io
import ipaddress
import json
import os
import re
import secrets
import socket
import socketserver
import threading
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple
from urllib.parse import parse_qs, urlsplit

from device.deadline import DeadlineReader
from device.errors import UsageError
from device.preview.pictures import Picture
from device.preview.stats import Stats
from device.preview.switches import Switches

FOLDER = os.path.dirname(os.path.abspath(__file__))
FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
BOUNDARY = "frame"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src "
    "'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
TOKEN = re.compile("[A-Za-z0-9_-]{12,128}$")


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


class PreviewServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Serves the page, each connection in a thread of its own.

    Args:
        address, port: to listen on; 0 = any free port.
        token: wanted from every client; needed, or made up, beyond this machine.

    Raises:
        UsageError: an address or port that cannot be used, or a token that is too short.

    Example:
        >>> server = PreviewServer(content, "127.0.0.1", 8080).start()
        >>> server.url
        'http://127.0.0.1:8080/'
    """

    daemon_threads = True
    request_queue_size = 32

    def __init__(
        self, content: Content, address: str, port: int, token: Optional[str] = None, limits: Limits = LIMITS
    ) -> None:
        if token is not None and not TOKEN.match(token):
            raise UsageError(
                "found a --token of {} characters; expected 12 to 128 letters, digits, - or _".format(len(token))
            )
        self.content = content
        self.limits = limits
        self.viewers = threading.BoundedSemaphore(limits.viewers)
        self.closing = False
        self._connections = threading.BoundedSemaphore(limits.connections)
        try:
            found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
            self.address_family = found[0]
            super().__init__((str(found[4][0]), port), _Handler)
        except (UnicodeError, OverflowError) as error:
            raise UsageError("found --address {!r} and --port {}; expected an address of this machine and a port up to "
                             "65535".format(address, port)) from error  # fmt: skip
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise UsageError("found port {} of {} in use by another program; expected a free one; choose another with "
                                 "--port, or --port 0 for any".format(port, address)) from error  # fmt: skip
            raise UsageError("could not listen on {}:{} ({}); expected an address of this machine and a port that this user "
                             "may use".format(address, port, error.strerror)) from error  # fmt: skip
        own = ipaddress.ip_address(str(self.server_address[0]).split("%")[0])
        self.local = own.is_loopback
        self.token = token or ("" if self.local else secrets.token_urlsafe(16))
        host = _outward_address(self.address_family) if own.is_unspecified else str(own)
        self.url = "http://{}:{}/".format("[" + host + "]" if ":" in host else host, self.server_address[1])
        if self.token:
            self.url += "?token=" + self.token

    def server_bind(self) -> None:
        # HTTPServer asks the name server for this machine's name, which may take long
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "preview", self.server_address[1]

    def start(self) -> "PreviewServer":
        """Serve in a thread."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        return self

    def close(self) -> None:
        """Stop; viewers are let go."""
        self.closing = True
        self.shutdown()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._connections.acquire(blocking=False):
            self.shutdown_request(request)  # an answer would need a thread
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had
            self._connections.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away or was too slow is not worth a word."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: PreviewServer
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = DeadlineReader(self.connection, 0.0, 0)
        self.rfile = io.BufferedReader(self._reader)

    def handle_one_request(self) -> None:
        limits = self.server.limits
        self._reader.deadline_s = time.monotonic() + limits.request_s
        self._reader.limit = limits.request_bytes
        super().handle_one_request()

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        path, query = self._checked()
        if path is None:
            return
        if path == "/" and "token" in query and self.server.token:
            # the token moves from the address bar into a cookie; the port keeps two previews on one board apart
            cookie = "{}={}; Path=/; HttpOnly; SameSite=Strict".format(self._cookie_name(), self.server.token)
            self._send(303, b"", "text/plain", {"Location": "/", "Set-Cookie": cookie})
        elif path in FILES:
            name, kind = FILES[path]
            with open(os.path.join(FOLDER, name), "rb") as file:
                self._send(200, file.read(), kind)
        elif path == "/stats":
            self._send(200, self.server.content.stats.json(), "application/json")
        elif path == "/view.png":
            number, content = self.server.content.lens.newer_than(0, 1.0)
            if number:
                self._send(200, content, "image/png")
            else:
                self.send_error(503, "found no frame yet; expected one soon; ask again")
        elif path == "/stream.mjpg":
            self._stream()
        elif path == "/switch":
            self.send_error(405, "found GET; expected POST")
        else:
            self.send_error(404, "found no such page; expected one of {}".format(", ".join(sorted(FILES))))

    def do_POST(self) -> None:
        path, _ = self._checked()
        if path is None:
            return
        if path != "/switch":
            self.send_error(404, "found no such page to post to; expected /switch")
            return
        origin = self.headers.get("Origin")
        same = origin is None or urlsplit(origin).netloc == self.headers.get("Host")
        if self.headers.get("X-Preview") != "1" or not same:
            self.send_error(
                403, "found a request of another page; expected one of the preview's own, with X-Preview: 1"
            )
            return
        length = self.headers.get("Content-Length") or ""
        if not re.match("[0-9]{1,9}$", length):
            self.send_error(411, "found no Content-Length; expected the number of bytes")
            return
        if int(length) > self.server.limits.body_bytes:
            self.send_error(413, "found {} bytes; expected at most {}".format(length, self.server.limits.body_bytes))
            return
        body = self.rfile.read(int(length))
        try:
            wanted = json.loads(body.decode("utf-8"))
            if not isinstance(wanted, dict):
                raise ValueError("expected an object")
        except (ValueError, RecursionError):
            self.send_error(400, "found something else than a JSON object; expected attack or defq in one")
            return
        try:
            self.server.content.switches.ask(wanted)
        except UsageError as error:
            self.send_error(409, str(error))
            return
        self.server.content.stats.stale()
        self._send(200, json.dumps(self.server.content.switches.to_dict()).encode("ascii"), "application/json")

    def _checked(self) -> Tuple[Optional[str], Dict[str, List[str]]]:
        """Path and query of a request that may be answered; None for one that was refused."""
        host = self.headers.get("Host") or ""
        if self.server.local and re.sub(":[0-9]*$", "", host).lower() not in LOCAL_NAMES:
            self.send_error(403, "found another Host than this machine; expected localhost or 127.0.0.1")
            return None, {}
        try:
            parts = urlsplit(self.path)
            query = parse_qs(parts.query)
        except ValueError:
            self.send_error(400, "found a malformed address")
            return None, {}
        if self.server.token and not any(map(self._is_token, [*query.get("token", []), self._cookie()])):
            self.send_error(
                401, "found no valid token; open the address that python -m device preview printed, with ?token=..."
            )
            return None, {}
        return parts.path, query

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode("utf-8", "replace"), self.server.token.encode("ascii"))

    def _cookie_name(self) -> str:
        return "preview{}".format(self.server.server_port)

    def _cookie(self) -> str:
        try:
            found = http.cookies.SimpleCookie(self.headers.get("Cookie") or "").get(self._cookie_name())
        except http.cookies.CookieError:
            return ""
        return found.value if found is not None else ""

    def _stream(self) -> None:
        server = self.server
        if not server.viewers.acquire(blocking=False):
            self.send_error(503, "found {} viewers, as many as there may be; close one and try again".format(
                server.limits.viewers))  # fmt: skip
            return
        try:
            self.close_connection = True
            self._head(200, {"Content-Type": "multipart/x-mixed-replace; boundary=" + BOUNDARY, "Connection": "close"})
            number = 0
            while not server.closing:
                # the last picture again after a while: that finds out whether the viewer is still there
                number, content = server.content.camera.newer_than(number, 2.0)
                if number:
                    part = "--{}\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n".format(
                        BOUNDARY, len(content)
                    )
                    self._write(part.encode("ascii") + content + b"\r\n")
        finally:
            server.viewers.release()

    def send_error(self, code: int, message: Optional[str] = None, explain: Optional[str] = None) -> None:
        """JSON ``{"error": sentence}``, and an end to the connection: what follows on it is not known to be a request."""
        self.close_connection = True
        body = json.dumps({"error": message or self.responses[code][0]})
        self._send(code, body.encode("ascii"), "application/json", {"Connection": "close"})

    def _send(self, code: int, body: bytes, kind: str, more: Optional[Dict[str, str]] = None) -> None:
        self._head(code, dict({"Content-Type": kind, "Content-Length": str(len(body))}, **(more or {})), body)

    def _head(self, code: int, headers: Dict[str, str], body: bytes = b"") -> None:
        lines = ["HTTP/1.1 {} {}".format(code, self.responses[code][0])]
        lines += ["{}: {}".format(name, value) for name, value in dict(HEADERS, **headers).items()]
        self._write("\r\n".join([*lines, "\r\n"]).encode("latin-1") + body)

    def _write(self, content: bytes) -> None:
        """In one piece, within the time that a client has to take it."""
        self.connection.settimeout(self.server.limits.send_s)
        self.connection.sendall(content)


def _outward_address(family: int) -> str:
    """This machine's address as its network sees it; nothing is sent to find out."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
