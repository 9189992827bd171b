"""What the preview's HTTP server answers: the page, its pictures, figures and switches.

Pages of other sites can neither read them (Host is checked against DNS rebinding, no cross-origin header is given,
resources are marked same-origin) nor switch anything (a header that browsers do not send across origins without asking
first).
"""

import hmac
import http.cookies
import http.server
import io
import json
import os
import re
import socket
from typing import Any, Dict, List, Optional, Tuple
from urllib.parse import parse_qs, urlsplit

from device.errors import UsageError
from device.link.deadline import Deadline, DeadlineReader
from device.preview.service import Service

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page")
SCRIPTS = ("page", "ceiling", "comparison", "curves", "exits", "liveness", "pictures", "switches", "text", "words")
FILES = {"/": ("page.html", "text/html; charset=utf-8"), "/page.css": ("page.css", "text/css; charset=utf-8")}
FILES.update({"/{}.js".format(name): (name + ".js", "text/javascript; charset=utf-8") for name in SCRIPTS})
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
LINGER_S = 1.0
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Handler(http.server.BaseHTTPRequestHandler):
    server: Service
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = DeadlineReader(self.connection, Deadline(0.0), 0)
        self.rfile = io.BufferedReader(self._reader)

    def handle_one_request(self) -> None:
        limits = self.server.limits
        self.server.begins(self.connection)
        self._reader.deadline = Deadline.after(limits.request_s)
        self._reader.limit = limits.request_bytes
        super().handle_one_request()

    def finish(self) -> None:
        """Let a client that is still sending read its answer: bytes that reach a closed socket reset the connection."""
        super().finish()
        try:
            self.connection.shutdown(socket.SHUT_WR)
            reader = DeadlineReader(self.connection, Deadline.after(LINGER_S), self.server.limits.request_bytes)
            while reader.read(1 << 10):
                pass
        except OSError:
            pass  # it has gone, or sends for too long

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
        if self.server.local and re.sub(":[0-9]*$", "", host).lower() not in (*LOCAL_NAMES, self.server.own_name):
            self.send_error(
                403, "found another Host than this machine; expected localhost or {}".format(self.server.own_name)
            )
            return None, {}
        try:
            parts = urlsplit(self.path)
            query = parse_qs(parts.query)
        except ValueError:
            self.send_error(400, "found a malformed address")
            return None, {}
        if self.server.token and not any(map(self._is_token, [*query.get("token", []), self._cookie()])):
            self.send_error(401, "found no valid token; open the address that defq preview printed, with ?token=...")
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
            server.begins(self.connection, viewer=True)
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
