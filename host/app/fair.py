"""Shares of several clients: whose turn it is, and how much each of them may hold.

A client that asks for more gets no more than its share, and one that asks for little does not wait for the others.
"""

import asyncio
import concurrent.futures.thread  # noqa: F401 (asyncio.to_thread would import it when --user may read it no more)
import heapq
import itertools
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
IDLE_CLIENTS = 1024  # whose last turn is remembered while others wait


class FairQueue(Generic[Item]):
    """A queue from which every client gets the same share of the work, whatever it puts in: start-time fair queueing
    (Goyal, Vin and Cheng, SIGCOMM 1996).

    Each item carries the work that its client will have had when the item begins, and the lowest goes first. A client
    that had nothing in the queue begins where the queue stands, so its item goes before the backlog of the others.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Item]] = []
        self._ends: dict[str, float] = {}  # client -> where the work ends that it has put in
        self._now = 0.0
        self._numbers = itertools.count()  # items that begin at the same place keep their order

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, client: str, work: float, item: Item) -> None:
        """Add an item. ``work``: what it takes, in any unit that is the same for all."""
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
        """The next item."""
        self._now, _, item = heapq.heappop(self._heap)
        if not self._heap:
            self._ends.clear()
            self._now = 0.0
        return item


class Shares:
    """A bound on what all clients hold together, of which a client may hold as much as is still free (dynamic thresholds:
    Choudhury and Hahne, IEEE/ACM Transactions on Networking 6 (2), 1998).

    So a client that is alone gets half of it, and n clients that want all get a part of 1 / (n + 1) each. What remains is
    for the next one that comes.

    Attributes:
        total: the bound, in any unit.
        held: what all clients hold.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.held = 0
        self._of: dict[str, int] = {}

    def has_room(self, client: str, amount: int) -> bool:
        """Whether a client may hold so much more."""
        return self._of.get(client, 0) + amount <= self.total - self.held

    def take(self, client: str, amount: int) -> bool:
        """Let a client hold so much more, at least 1; False, and nothing has changed, where that is too much."""
        if not self.has_room(client, amount):
            return False
        self._of[client] = self._of.get(client, 0) + amount
        self.held += amount
        return True

    def give_back(self, client: str, amount: int) -> None:
        """A client holds so much less."""
        self.held -= amount
        self._of[client] -= amount
        if not self._of[client]:
            del self._of[client]


class Turns:
    """Runs slow functions in a thread, one at a time, and lets the clients take fair turns.

    One at a time, because what such a function takes of memory and of Python's lock is taken from all.
    """

    def __init__(self) -> None:
        self._busy = False
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()

    async def run(self, client: str, work: float, function: Callable[[], Result]) -> Result:
        """The result of ``function``, or what it raised. ``work``: how much it is, in the unit of all others."""
        if self._busy:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.put(client, work, turn)
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():  # its turn had come already
                    self._pass_on()
                raise
        self._busy = True
        running = asyncio.ensure_future(asyncio.to_thread(function))
        running.add_done_callback(self._done)
        return await asyncio.shield(running)  # if nobody waits for it any more, it still runs

    def _done(self, running: "asyncio.Future[Any]") -> None:
        if not running.cancelled():
            running.exception()  # so that asyncio does not report one that nobody waits for
        self._pass_on()

    def _pass_on(self) -> None:
        self._busy = False
        while self._waiting and not self._busy:
            turn = self._waiting.take()
            if not turn.done():
                turn.set_result(None)
                self._busy = True
