"""Joins the requests of all connections into batches, with a bound on how long the first of them waits."""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from host.app.fairness import FairQueue, SharedBudget
from host.app.tail import Answers, Inputs

CHECKS = 10  # how often the engine is looked at in the time that it may take


class Overloaded(Exception):
    """More frames wait than the batcher takes, or than it takes from this client."""


class EngineStuck(Exception):
    """The engine has not answered for longer than it may take. The text says how long that is."""


class BatchedAnswers(NamedTuple):
    """Answers of one request, and the number of frames that ran in the same batch."""

    answers: Answers
    batch: int


class _Request(NamedTuple):
    client: str
    inputs: Inputs
    future: "asyncio.Future[BatchedAnswers]"

    def fail(self, error: Exception) -> None:
        if not self.future.done():  # it is done if the client has gone
            self.future.set_exception(error)


class Batcher:
    """Runs requests together. One thread runs the engine; while it is busy, requests gather.

    A batch starts when the engine is free and one of the following holds: ``max_batch`` frames wait; as many requests wait as
    the last batches had, so that no further request is to be expected; or ``max_wait_s`` has passed. That time counts from the
    moment at which the engine is free and a request is there, so requests that waited for a busy engine may still wait this
    long for others. The clients get equal shares of the engine (host/app/fairness.py).

    Args:
        run: function that takes the inputs of one or more requests and returns the Answers of all their frames, in that order.
        max_batch: frames in one batch.
        max_wait_s: seconds of latency that waiting for other requests may add.
        max_waiting: frames that may wait, of which one client may have half; further requests get Overloaded.
        timeout_s: seconds that the engine may take for a batch. After that, all requests get EngineStuck until it answers.
        report: called with a sentence when the engine does not answer in time, and when it answers again.

    Attributes:
        stuck: reason to give to requests while the engine does not answer; empty while it does.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Inputs]], Answers],
        max_batch: int = 32,
        max_wait_s: float = 0.002,
        max_waiting: int = 2048,
        timeout_s: float = 10.0,
        report: Callable[[str], None] = lambda _sentence: None,
    ) -> None:
        self.max_batch = max_batch
        self.stuck = ""
        self._report = report
        self._run = run
        self._max_wait_s = max_wait_s
        self._timeout_s = timeout_s
        self._requests: FairQueue[_Request] = FairQueue()
        self._frames = SharedBudget(max_waiting)  # frames of the waiting requests
        self._arrived = asyncio.Event()
        self._last_batch = 1  # number of requests that may come together again
        self._has_waited = False  # for other requests, as long as a batch may
        self._running: list[_Request] = []
        self._began = 0.0
        self._jobs: queue.SimpleQueue[tuple[list[_Request], asyncio.Future[Answers]] | None] = queue.SimpleQueue()
        # It is a daemon because an engine that never answers must not keep the program from ending.
        self._thread = threading.Thread(target=self._run_jobs, name="tail", daemon=True)
        self._task: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to take requests, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        self._task = self._loop.create_task(self._work())
        self._check_engine()

    async def stop(self) -> None:
        """Answer the requests that wait and run, then end. If the engine does not answer in time, they get EngineStuck."""
        while not self.stuck and (self._requests or self._running):
            await asyncio.sleep(0.005)
        for each in (self._task, self._watch):
            if each:
                each.cancel()
        self._jobs.put(None)
        if not self.stuck:
            await asyncio.to_thread(self._thread.join)

    @property
    def waiting_frames(self) -> int:
        """Number of frames that wait for the engine."""
        return self._frames.held

    async def infer(self, inputs: Inputs, client: str = "") -> BatchedAnswers:
        """Answer one request of at most ``max_batch`` frames.

        Raises:
            Overloaded: too many frames wait.
            EngineStuck: the engine does not answer.
            Exception: whatever the engine raised for this batch.
        """
        if self.stuck:
            raise EngineStuck(self.stuck)
        if not self._frames.take(client, inputs.frames):
            raise Overloaded
        request = _Request(client, inputs, self._loop.create_future())
        self._requests.put(client, inputs.frames, request)
        self._arrived.set()
        return await request.future

    async def _work(self) -> None:
        while True:
            await self._gather()
            batch = self._take()
            self._last_batch = max(len(batch), self._last_batch - 1)  # forgets clients that have become quiet
            answered: asyncio.Future[Answers] = self._loop.create_future()
            self._running, self._began = batch, self._loop.time()
            self._jobs.put((batch, answered))
            try:
                self._hand_out(batch, await answered)
            except Exception as error:  # exceptions of engines have no common class; only this batch fails
                for request in batch:
                    request.fail(error)
            self._running = []
            if self.stuck:
                self.stuck = ""
                self._report("the engine answers again")

    async def _gather(self) -> None:
        """Wait until a batch should start."""
        while not self._requests:
            self._arrived.clear()
            await self._arrived.wait()
        if self._is_worth_running():
            return
        self._has_waited = False
        timer = self._loop.call_later(self._max_wait_s, self._end_wait)
        while not self._is_worth_running() and not self._has_waited:
            self._arrived.clear()
            await self._arrived.wait()
        timer.cancel()

    def _end_wait(self) -> None:
        self._has_waited = True
        self._arrived.set()

    def _is_worth_running(self) -> bool:
        """Whether the next batch is full, or as many requests wait as may come together."""
        return self._frames.held >= self.max_batch or len(self._requests) >= self._last_batch

    def _take(self) -> list[_Request]:
        batch: list[_Request] = []
        frames = 0
        while self._requests and (not batch or frames + self._requests.first().inputs.frames <= self.max_batch):
            request = self._requests.take()
            self._frames.give_back(request.client, request.inputs.frames)
            frames += request.inputs.frames
            batch.append(request)
        return batch

    @staticmethod
    def _hand_out(batch: list[_Request], answers: Answers) -> None:
        start = 0
        for request in batch:
            end = start + request.inputs.frames
            part = Answers(*(values[start:end] for values in answers))
            if not request.future.done():  # it is done if the client has gone
                request.future.set_result(BatchedAnswers(part, len(answers.label)))
            start = end

    def _run_jobs(self) -> None:
        """Run batches, in the thread of the engine."""
        while job := self._jobs.get():
            batch, answered = job
            result: Answers | Exception
            try:
                result = self._run([request.inputs for request in batch])
            except Exception as error:
                result = error
            try:
                self._loop.call_soon_threadsafe(_settle, answered, result)
            except RuntimeError:  # the event loop ended before this answer
                return
            del job, batch, answered, result  # otherwise this thread would keep their memory until the next batch

    def _check_engine(self) -> None:
        """Find out, from time to time, whether the engine takes too long for a batch."""
        self._watch = self._loop.call_later(self._timeout_s / CHECKS, self._check_engine)
        if not self._running or self.stuck or self._loop.time() - self._began <= self._timeout_s:
            return
        self.stuck = f"the engine has not answered for {self._timeout_s:g} s"
        self._report(self.stuck + "; requests are refused until it does; if it stays so, start this host again")
        waiting = list(self._running)
        while self._requests:
            waiting += self._take()
        for request in waiting:
            request.fail(EngineStuck(self.stuck))


def _settle(answered: "asyncio.Future[Answers]", result: Answers | Exception) -> None:
    if answered.done():  # the task that waits for the answer was cancelled
        return
    if isinstance(result, Exception):
        answered.set_exception(result)
    else:
        answered.set_result(result)
