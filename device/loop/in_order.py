"""Hands finished frames over in the order in which they came from the camera."""

import collections
import threading
from typing import Callable, Deque, NamedTuple, Optional

from device.loop.frame_job import FrameJob


class _Place(NamedTuple):
    job: FrameJob
    queued: bool


class InOrder:
    """A queue of frames on their way. A frame that is finished while no earlier frame waits is handed over at once, in the
    thread that puts it. Frames that wait for the host are handed over by a thread of the queue when the answer comes.

    Args:
        hand_over: takes a finished job, and whether the job had to wait behind an earlier one. Only one thread at a time
            calls it. An exception that it raises ends the queue, and is raised again in the thread that puts frames.
    """

    def __init__(self, hand_over: Callable[[FrameJob, bool], None]) -> None:
        self._hand_over = hand_over
        self._changed = threading.Condition()  # guards all that follows
        self._line: Deque[_Place] = collections.deque()
        self._closed = False
        self._failure: Optional[BaseException] = None
        self._thread: Optional[threading.Thread] = None

    def put(self, job: FrameJob) -> None:
        """Take the next frame, without waiting for its answer."""
        with self._changed:
            self._raise()
            if not self._line and job.done():
                self._hand_over(job, False)
                return
            self._line.append(_Place(job, bool(self._line)))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="decisions", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait_empty(self, seconds: float) -> bool:
        """Wait until all frames are handed over, for at most ``seconds``. False when frames are left that may still be handed over."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._line or self._failure is not None, seconds)

    def close(self) -> None:
        """End the thread. Frames that are still in the queue are not handed over."""
        with self._changed:
            self._closed = True
            self._line.clear()
            self._changed.notify_all()
            self._raise()

    def _raise(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            self._line.clear()
            self._closed = True
            raise failure

    def _work(self) -> None:
        try:
            while self._one_wait():
                pass
        except BaseException as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _one_wait(self) -> bool:
        """Wait for the first frame, and hand over it and the finished frames behind it. False when the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._line or self._closed)
            if self._closed:
                return False
            first = self._line[0]
        first.job.wait()
        with self._changed:
            while self._line and self._line[0].job.done() and not self._closed:
                self._hand_over(*self._line[0])
                self._line.popleft()
            self._changed.notify_all()
        return True
