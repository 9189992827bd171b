"""The host's application, called as an ASGI server calls it. Input: a path's number as one byte, header lines, an empty line, a body.

Where the value of Inference-Header-Content-Length is ``*``, it becomes what it should be: up to the body's first NUL,
which is left out.
"""

import asyncio
import atexit
import json
from typing import Any

from device.bundle.reader import load_bundle
from device.protocol.messages import HEADER_LENGTH
from host.app.routes import HostSettings, make_app
from host.app.tail import Tail
from tests.fuzz import BUNDLE

TAIL = Tail(load_bundle(str(BUNDLE)), threads=1)
APP = make_app(TAIL, HostSettings(max_batch=4, max_wait_s=0.0, max_body_bytes=1 << 15, body_timeout_s=1.0))
MODEL = f"/v2/models/{TAIL.bundle.id}"
PATHS = (
    f"{MODEL}/infer",
    MODEL,
    f"{MODEL}/versions/1/infer",
    "/v2/health/ready",
    "/v2",
    "/v2/models/\ud800/infer",
    f"{MODEL}/ready",
    "/metrics",
)
KNOWN = {200, 400, 401, 403, 404, 405, 408, 411, 413, 415, 429, 503}
LENGTH = HEADER_LENGTH.lower().encode()
LOOP = asyncio.new_event_loop()
_LIFESPAN = APP.router.lifespan_context(APP)
LOOP.run_until_complete(_LIFESPAN.__aenter__())


@atexit.register
def _end() -> None:
    """Cancel the tasks that still wait, so that Python prints nothing about them. At this point the batcher can no longer be stopped properly."""
    tasks = asyncio.all_tasks(LOOP)
    for task in tasks:
        task.cancel()
    LOOP.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


def check(data: bytes) -> None:
    head, _, body = data[1:].partition(b"\n\n")
    lines = [line.partition(b":") for line in head.split(b"\n") if b":" in line]
    headers = [(name.strip().lower(), value.strip()) for name, _, value in lines]
    if (LENGTH, b"*") in headers:
        text, _, blob = body.partition(b"\0")
        body = text + blob
        headers = [(LENGTH, str(len(text)).encode()) if each == (LENGTH, b"*") else each for each in headers]
    path = PATHS[sum(data[:1]) % 8]
    status, sent = LOOP.run_until_complete(_called(path, "POST" if path.endswith("infer") else "GET", headers, body))
    assert status in KNOWN, f"status {status}: {sent[:200]!r}"
    if status >= 400:
        assert isinstance(json.loads(sent)["error"], str)


async def _called(path: str, method: str, headers: list[tuple[bytes, bytes]], body: bytes) -> tuple[int, bytes]:
    """Status and body of the answer. The request's body comes in two parts."""
    half = len(body) // 2
    waiting = [
        {"type": "http.request", "body": body[:half], "more_body": True},
        {"type": "http.request", "body": body[half:], "more_body": False},
    ]
    answers: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(part: Any) -> None:
        answers.append(part)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http", "path": path,
        "raw_path": b"/", "query_string": b"", "root_path": "", "headers": headers, "client": ("127.0.0.1", 9), "server": ("127.0.0.1", 8),
    }  # fmt: skip
    await APP(scope, receive, send)
    return answers[0]["status"], b"".join(each.get("body", b"") for each in answers[1:])
