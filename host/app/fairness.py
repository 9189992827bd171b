"""Shares the host fairly among its clients: whose request is next, how much each client may hold, who uses a thread.

A client that asks for more than its share gets no more than its share, and a client that asks for little does not wait for
the others.
"""

import asyncio
import concurrent.futures.thread  # noqa: F401 (asyncio.to_thread would import it when --user may not read it any more)
import heapq
import itertools
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
IDLE_CLIENTS = 1024  # number of clients without an item whose last turn is remembered


class FairQueue(Generic[Item]):
    """A queue from which all clients get the same amount of work done, whatever they put in: start-time fair queueing
    (Goyal, Vin and Cheng, SIGCOMM 1996).

    Each item is marked with the work of its client that was queued before it, and the item with the lowest mark is next. A
    client that had nothing in the queue starts at the mark of the item taken last, so its item overtakes the backlog of the
    others.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Item]] = []
        self._ends: dict[str, float] = {}  # client -> mark behind the last item that it has put in
        self._now = 0.0
        self._numbers = itertools.count()  # items with the same mark keep their order

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def known_clients(self) -> int:
        """Number of clients that are remembered."""
        return len(self._ends)

    def put(self, client: str, work: float, item: Item) -> None:
        """Add an item. ``work`` is the amount of work in it, in a unit that is the same for all items."""
        begin = max(self._ends.get(client, 0.0), self._now)
        self._ends[client] = begin + work
        heapq.heappush(self._heap, (begin, next(self._numbers), item))
        if len(self._ends) > IDLE_CLIENTS + len(self._heap):
            known = sorted(self._ends.items(), key=lambda each: each[1])
            self._ends = dict(known[-(IDLE_CLIENTS // 2 + len(self._heap)) :])  # those that have put in most

    def first(self) -> Item:
        """The item that ``take`` would return."""
        return self._heap[0][2]

    def take(self) -> Item:
        """Remove and return the next item."""
        self._now, _, item = heapq.heappop(self._heap)
        if not self._heap:
            self._ends.clear()
            self._now = 0.0
        return item


class SharedBudget:
    """A bound on what all clients hold together. One client may hold at most as much as is still free (dynamic thresholds:
    Choudhury and Hahne, IEEE/ACM Transactions on Networking 6 (2), 1998).

    So a client that is alone gets half of the budget, and n clients that want everything get a share of 1 / (n + 1) each. The
    rest is free for the next client.

    Attributes:
        total: the bound, in any unit.
        held: what all clients hold.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.held = 0
        self._held_by: dict[str, int] = {}

    def has_room(self, client: str, amount: int) -> bool:
        """Whether a client may hold so much more."""
        return self._held_by.get(client, 0) + amount <= self.total - self.held

    def take(self, client: str, amount: int) -> bool:
        """Let a client hold so much more, at least 1. Returns False, and changes nothing, if that is too much."""
        if not self.has_room(client, amount):
            return False
        self._held_by[client] = self._held_by.get(client, 0) + amount
        self.held += amount
        return True

    def give_back(self, client: str, amount: int) -> None:
        """Let a client hold so much less."""
        self.held -= amount
        self._held_by[client] -= amount
        if not self._held_by[client]:
            del self._held_by[client]


class FairExecutor:
    """Runs slow functions in a thread, one at a time, in an order that is fair to the clients.

    Only one runs at a time because the memory of such a function, and its hold on Python's interpreter lock, are missing to
    all other requests.
    """

    def __init__(self) -> None:
        self._busy = False
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()

    async def run(self, client: str, work: float, function: Callable[[], Result]) -> Result:
        """Return the result of ``function``, or raise what it raised. ``work`` is the amount of work in it, in a unit that is
        the same for all functions."""
        if self._busy:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.put(client, work, turn)
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():  # its turn had come already
                    self._start_next()
                raise
        self._busy = True
        running = asyncio.ensure_future(asyncio.to_thread(function))
        running.add_done_callback(self._done)
        return await asyncio.shield(running)  # the function goes on even if its caller is cancelled

    def _done(self, running: "asyncio.Future[Any]") -> None:
        if not running.cancelled():
            running.exception()  # so that asyncio does not report an error that nobody waits for
        self._start_next()

    def _start_next(self) -> None:
        self._busy = False
        while self._waiting and not self._busy:
            turn = self._waiting.take()
            if not turn.done():
                turn.set_result(None)
                self._busy = True
