"""Live cameras: a thread keeps the newest frame, and a camera that fails is opened again."""

import sys
import threading
import time
from typing import Callable, Optional

from device.cameras.base import Camera, Frame
from device.cameras.live_source import NoFrame, Patience, Shot, Source
from device.errors import CameraError
from device.system.stop_flag import StopFlag
from device.system.systemd import notify

LOOK_S = 0.2  # how often a reader that waits looks whether it shall stop, or the camera is stuck


class _Worker:
    """A capture thread, as its reader sees it."""

    def __init__(self) -> None:
        self.deadline_s: Optional[float] = None  # later than this it is stuck; None while it pauses
        self.late = ""  # what is to be said then
        self.opened_s = 0.0

    def expect(self, seconds: float, late: str) -> None:
        self.late = late.format(seconds)
        self.deadline_s = time.monotonic() + seconds


class NewestFrame:
    """Reads a camera in a thread, hands over its newest frame, and opens it again when it fails.

    Until the first frame any failure is final: a camera that never worked is not waited for. From then on one that raises,
    gives empty frames or none at all is named once on stderr, closed, and opened again after growing pauses. A driver that
    blocks for ever holds its thread, not the reader: the thread is left alone and a new one opens the camera.

    Args:
        open_source: opens the camera; may raise.
        name: of the camera, for sentences, as in "camera /dev/video0".
        patience: all limits of time.

    Raises:
        CameraError: it cannot be opened now.
    """

    def __init__(self, open_source: Callable[[], Source], name: str, patience: Patience) -> None:
        self.dropped = 0
        self.reopened = 0
        self._open = open_source
        self._name = name
        self._patience = patience
        self._condition = threading.Condition()  # guards all that follows
        self._newest: Optional[Frame] = None
        self._index = 0
        self._opened = False
        self._ended = False
        self._failure: Optional[CameraError] = None
        self._failing = False
        self._reason = ""
        self._last_s = 0.0  # of the last frame
        self._pause_s = patience.pause_s
        self._start(0.0)
        with self._condition:
            if not self._condition.wait_for(lambda: self._opened or self._failure is not None, patience.open_s):
                self._fail(NoFrame("it did not open within {:g} s".format(patience.open_s)))
            if self._failure is not None:
                raise self._failure

    def get(self, stop: Optional[StopFlag] = None) -> Optional[Frame]:
        """The newest frame that was not handed over yet; waits for one. None when ``stop`` is set, or after ``stop()``.

        Raises:
            CameraError: the camera failed before its first frame, or did not come back within ``give_up_s``.
        """
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._newest is not None or self._ended, LOOK_S)
                frame, self._newest = self._newest, None
                if frame is not None:
                    return frame
                if not self._ended:
                    self._supervise()
                if self._failure is not None:
                    raise self._failure
                if self._ended or (stop is not None and stop.is_set()):
                    return None
            notify("WATCHDOG=1")  # waiting for a camera to come back is no reason to restart the service

    def stop(self) -> None:
        """End the thread after the frame that it waits for; one that is stuck is left behind."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()
        self._thread.join(2.0)

    def _start(self, pause_s: float) -> None:
        self._worker = _Worker()
        self._thread = threading.Thread(target=self._work, args=(self._worker, pause_s), daemon=True)
        self._thread.start()

    def _work(self, worker: _Worker, pause_s: float) -> None:
        """Open, grab, close and again, until another thread has taken over or all has ended."""
        patience = self._patience
        while self._rest(worker, pause_s):
            source: Optional[Source] = None
            try:
                worker.expect(patience.open_s, "it did not open within {:g} s")
                source = self._open()
                going = self._tell_opened(worker)
                while going:
                    worker.expect(patience.stall_s, "it gave no frame for {:g} s")
                    going = self._take(worker, source.grab())
            except Exception as error:
                with self._condition:
                    if worker is self._worker:
                        self._fail(error)
                        pause_s = self._next_pause()
            finally:
                worker.expect(patience.stall_s, "it did not close within {:g} s")
                _close(source)

    def _rest(self, worker: _Worker, pause_s: float) -> bool:
        """Pause; whether to go on then."""
        with self._condition:
            worker.deadline_s = None
            self._condition.wait_for(lambda: self._ended or worker is not self._worker, pause_s)
            return worker is self._worker and not self._ended

    def _tell_opened(self, worker: _Worker) -> bool:
        with self._condition:
            self._opened = True
            worker.opened_s = time.monotonic()
            self._condition.notify_all()
            return worker is self._worker and not self._ended

    def _take(self, worker: _Worker, shot: Shot) -> bool:
        """Keep a frame; whether to go on."""
        with self._condition:
            if worker is not self._worker or self._ended:
                return False
            now_s = time.monotonic()
            if self._failing:
                self._failing = False
                self.reopened += 1
                _tell("{} is back after {:.1f} s".format(self._name, now_s - self._last_s))
            if now_s - worker.opened_s > self._patience.longest_pause_s:
                self._pause_s = self._patience.pause_s
            self._last_s = now_s
            self.dropped += self._newest is not None
            read_s = now_s if shot.exposure_s is None else shot.exposure_s
            self._newest = Frame(self._index, shot.pixels, None, read_s)
            self._index += 1
            self._condition.notify_all()
            return True

    def _supervise(self) -> None:
        """Leave a thread that is stuck; end an outage that lasts too long. Called by the reader, with the lock held."""
        worker, now_s = self._worker, time.monotonic()
        if worker.deadline_s is not None and now_s > worker.deadline_s:
            self._fail(NoFrame(worker.late))
            if not self._ended:
                self._start(self._next_pause())
        if self._failing and now_s - self._last_s > self._patience.give_up_s:
            self._end(CameraError("found no frame from {} for {:.0f} s ({}); expected a steady stream; check its cable and "
                                  "power, and whether another program uses it".format(
                                      self._name, now_s - self._last_s, self._reason)))  # fmt: skip

    def _next_pause(self) -> float:
        pause_s = self._pause_s
        self._pause_s = min(2 * pause_s, self._patience.longest_pause_s)
        return pause_s

    def _fail(self, error: BaseException) -> None:
        """Note a failure, name the first of an outage. Called with the lock held."""
        self._reason = (str(error) or type(error).__name__).splitlines()[0].partition(";")[0]
        if not self._index:
            if not isinstance(error, CameraError):
                error = CameraError("{} failed ({}); expected a steady stream of frames; check its cable and power, and whether "
                                    "another program uses it".format(self._name, self._reason))  # fmt: skip
            self._end(error)
        elif not self._failing:
            self._failing = True
            _tell("warning: {} failed ({}); it is opened again until it answers, for {:g} s at most".format(
                self._name, self._reason, self._patience.give_up_s))  # fmt: skip

    def _end(self, failure: CameraError) -> None:
        self._failure, self._ended = failure, True
        self._condition.notify_all()


class LiveCamera(Camera):
    """A camera that sends frames by itself. A leaf says in ``open_source`` how it is opened.

    Args:
        name: of the camera, for sentences; without passwords.
        patience: all limits of time.

    Raises:
        CameraError: it cannot be opened now.
    """

    live = True

    def __init__(self, name: str, patience: Patience) -> None:
        super().__init__()
        self._name = name
        self._frames = NewestFrame(self.open_source, name, patience)

    def open_source(self) -> Source:
        """Open the camera, in the thread that will use it.

        Raises:
            CameraError: it cannot be opened now.
        """
        raise NotImplementedError

    def describe(self) -> str:
        return self._name

    def read(self) -> Optional[Frame]:
        try:
            return self._frames.get(self.stop_flag)
        finally:
            self.dropped, self.reopened = self._frames.dropped, self._frames.reopened

    def close(self) -> None:
        self._frames.stop()


def _close(source: Optional[Source]) -> None:
    try:
        if source is not None:
            source.close()
    except Exception as error:  # it is let go of because it failed: that it fails here too helps nobody
        _tell("warning: a camera could not be closed ({})".format(error))


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
