"""The only place that overrides methods of uvicorn's Server. uvicorn does not document them, so
tests/host/serving/test_uvicorn_places.py fails if a newer release has moved one of them."""

import asyncio
import contextlib
import importlib.util
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

KEEP_ALIVE_S = 75  # the connection of a device is idle while its frames leave early
REFRESH_TICKS = 100  # uvicorn ticks ten times a second, so certificates are looked at every ten seconds


class HostServer(uvicorn.Server):
    """Announces when it takes requests, and ends quietly on Ctrl-C and SIGTERM once the pending requests have their answers.

    ``startup``, ``on_tick`` and ``shutdown`` are overridden because uvicorn offers no callback for them.

    Args:
        app: the ASGI application.
        protocol: class or factory of its HTTP protocol, as uvicorn.Config takes it.

    Attributes:
        announce: called once requests are taken.
        refresh: called every ten seconds.
        side_server: a server that runs as long as this one, and the socket on which it listens; None = none.
    """

    def __init__(self, app: Any, protocol: type[Any]) -> None:
        super().__init__(
            uvicorn.Config(
                app, http=protocol, ws="none", loop=_loop(), lifespan="on", log_config=None, log_level="warning", access_log=False,
                timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=10,
            )
        )  # fmt: skip
        self.announce: Callable[[], None] = lambda: None
        self.refresh: Callable[[], None] = lambda: None
        self.side_server: tuple[SideServer, socket.socket] | None = None
        self._side_task: asyncio.Task[None] | None = None

    def import_all(self) -> None:
        """Import now what uvicorn would otherwise import when it starts. The user that the host becomes by then may not be
        allowed to read this environment, for example in a home folder that is closed to others."""
        for each in (self, self.side_server[0]) if self.side_server else (self,):
            each.config.load()
            each.config.get_loop_factory()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.side_server:
            server, listener = self.side_server
            self._side_task = asyncio.get_running_loop().create_task(server.serve([listener]))
        await super().startup(sockets)
        if self.started:
            self.announce()

    async def on_tick(self, counter: int) -> bool:
        if counter % REFRESH_TICKS == 0:
            self.refresh()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.side_server and self._side_task:
            self.side_server[0].should_exit = True
            await self._side_task

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        # At its end uvicorn raises the signal that stopped it once more; by then it has done its work.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        super().run(sockets)


class SideServer(uvicorn.Server):
    """A second server in the event loop of a HostServer. ``capture_signals`` is overridden so that signals reach the
    HostServer alone."""

    def __init__(self, app: Any, protocol: type[Any]) -> None:
        super().__init__(
            uvicorn.Config(
                app, http=protocol, ws="none", lifespan="off", log_config=None, log_level="warning", access_log=False, timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=1,
            )
        )  # fmt: skip

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _loop() -> str:
    return "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"  # there is no uvloop for Windows
