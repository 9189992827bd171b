"""Joins the requests of all connections into batches, with a bound on how long the first of them waits."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from host.tail import Answers, Inputs


class Overloaded(Exception):
    """More frames wait than the batcher takes."""


class Batched(NamedTuple):
    """A request's answers, and how many frames ran in the same batch."""

    answers: Answers
    batch: int


class _Request(NamedTuple):
    inputs: Inputs
    future: "asyncio.Future[Batched]"


class Batcher:
    """Runs requests together. One thread runs the engine; while it is busy requests gather.

    A batch starts when the engine is free and ``max_batch`` frames wait, or as many requests wait as connections have
    sent one lately (nobody is left to wait for), or ``max_wait_s`` has passed. That time counts from when the engine is
    free and a request is there: requests that waited for a busy engine may still wait this long for others.

    Args:
        run: the inputs of one or more requests -> Answers of all their frames, in that order.
        max_batch: frames in one batch.
        max_wait_s: latency that waiting for others may add.
        max_waiting: frames that may wait; further requests get Overloaded.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Inputs]], Answers],
        max_batch: int = 32,
        max_wait_s: float = 0.002,
        max_waiting: int = 1024,
    ) -> None:
        self.max_batch = max_batch
        self._run = run
        self._max_wait_s = max_wait_s
        self._max_waiting = max_waiting
        self._requests: deque[_Request] = deque()
        self._frames = 0  # of the waiting requests
        self._arrived = asyncio.Event()
        self._last_batch = 1  # requests in the last batch: how many may come together again
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tail")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """Finish what waits, then end."""
        while self._requests:
            await asyncio.sleep(0.005)
        if self._task:
            self._task.cancel()
        await asyncio.to_thread(self._thread.shutdown)

    async def infer(self, inputs: Inputs) -> Batched:
        """Answer one request of n frames, n <= max_batch.

        Raises:
            Overloaded: too many frames wait.
            Exception: what the engine raised for this batch.
        """
        if self._frames + inputs.frames > self._max_waiting:
            raise Overloaded
        request = _Request(inputs, asyncio.get_running_loop().create_future())
        self._requests.append(request)
        self._frames += inputs.frames
        self._arrived.set()
        return await request.future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._gather(loop)
            batch = self._take()
            self._last_batch = max(len(batch), self._last_batch - 1)  # forgets connections that have gone quiet
            try:
                answers = await loop.run_in_executor(self._thread, self._run, [request.inputs for request in batch])
            except Exception as error:  # an engine's exceptions have no common class; only this batch fails
                for request in batch:
                    if not request.future.done():
                        request.future.set_exception(error)
                continue
            self._hand_out(batch, answers)

    async def _gather(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait until a batch should start."""
        while not self._requests:
            self._arrived.clear()
            await self._arrived.wait()
        deadline = loop.time() + self._max_wait_s
        while self._frames < self.max_batch and len(self._requests) < self._last_batch:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), deadline - loop.time())
            except asyncio.TimeoutError:
                return

    def _take(self) -> list[_Request]:
        batch = [self._requests.popleft()]
        frames = batch[0].inputs.frames
        while self._requests and frames + self._requests[0].inputs.frames <= self.max_batch:
            batch.append(self._requests.popleft())
            frames += batch[-1].inputs.frames
        self._frames -= frames
        return batch

    @staticmethod
    def _hand_out(batch: list[_Request], answers: Answers) -> None:
        start = 0
        for request in batch:
            end = start + request.inputs.frames
            part = Answers(*(values[start:end] for values in answers))
            if not request.future.done():  # its client may have gone
                request.future.set_result(Batched(part, len(answers.label)))
            start = end
