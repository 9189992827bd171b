"""The loop: a frame is captured, fitted to the network, treated by the defence, and classified by the head or the host.

There is one decision for each frame, and decisions come in the order of frames.
"""

import sys
import time
from typing import Callable, Optional

import numpy as np

from device.bundle.reader import Bundle
from device.cameras.base import Camera, Frame
from device.defence.base import Treatment
from device.defence.ceiling import Ceiling
from device.defence.controller import Controller
from device.engines.base import Engine
from device.errors import FrameError
from device.link.host_client import HostClient
from device.link.host_request import HostRequest
from device.loop.frame_job import FrameJob
from device.loop.in_order import InOrder
from device.loop.preprocess import Preprocessor
from device.loop.sinks import Sink
from device.loop.summary import Summary
from device.payload.base import Sendable
from device.system.stop_flag import StopFlag
from device.system.systemd import notify, wait_alive

Attack = Callable[[Frame, np.ndarray], np.ndarray]
"""A frame and its pixels at the network's size, uint8 (height, width, channels) -> the same pixels under attack."""


class Pipeline:
    """Decides on every frame of a camera.

    The sink gets each decision as soon as it is known and the decisions on all earlier frames were handed over. The loop does
    not wait for the host: the sink is called in the loop's thread or in a thread that waits for answers, never in both at once.

    Args:
        bundle: labels and shapes.
        engine: runs the head.
        controller: names the defence for each frame and the engine where it is the hardened twin's, and is told what was done to the frame and where it left.
        host: answers the frames that stay; without it the last device exit answers, as a fallback.
        sink: takes the decisions in frame order.
        ceiling: decides which of the frames that stay may be sent; without it all may.

    ``attack``, if set, changes frames before they are treated, for demonstrations. No stage includes the time that it takes.
    ``before_frame``, if set, is called in the loop's thread before each frame is read. Mode and attack may be changed there.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        controller: Controller,
        host: Optional[HostClient] = None,
        sink: Optional[Sink] = None,
        ceiling: Optional[Ceiling] = None,
    ) -> None:
        self.bundle = bundle
        self.controller = controller
        self.ceiling = ceiling if host is not None else None
        """None where all frames that stay may be sent, or where there is no host."""
        self.attack: Optional[Attack] = None
        self.before_frame: Optional[Callable[[], None]] = None
        self.summary = Summary(bundle.relative_costs, self.ceiling)
        self._engine = engine
        self._prepare = Preprocessor(bundle)
        self._host = host
        self._sink = sink or Sink()
        self._losses = _Losses()
        self._named_a_skip = False

    def run(self, camera: Camera, limit: Optional[int] = None, stop: Optional[StopFlag] = None) -> Summary:
        """Decide on frames until the source ends, ``limit`` frames are decided, or ``stop`` is set.

        A frame that cannot be used is skipped, counted and named once on stderr.

        Raises:
            CameraError: the source failed. All decisions that were made before are in the sink.
        """
        read = 0
        camera.stop_flag = stop
        line = InOrder(self._decide)
        try:
            while (limit is None or read < limit) and not (stop is not None and stop.is_set()):
                if self.before_frame is not None:
                    self.before_frame()
                before_s = time.perf_counter()
                frame = camera.read()
                if frame is None:
                    break
                read += 1
                job = self._through_the_head(frame, before_s, camera.live)
                if job is not None:
                    line.put(job)
                self._losses.tell(self.summary, camera)
                notify("WATCHDOG=1")
        finally:
            try:
                if self._host is not None:
                    wait_alive(line.wait_empty)  # every request ends with its time-out at the latest
            finally:
                self._losses.tell(self.summary, camera)
                monitor = self.controller.monitor
                if monitor is not None:
                    monitor.settle()
                    self.summary.alarms = monitor.alarms
                line.close()
        return self.summary

    def _through_the_head(self, frame: Frame, before_s: float, live: bool) -> Optional[FrameJob]:
        """Fit a frame to the network, treat it, run the head, and send it to the host where it stays. None for a frame that
        cannot be used."""
        started_s = time.perf_counter()
        try:
            pixels = self._prepare.resize(frame.pixels)
        except FrameError as error:
            self.summary.skipped += 1
            if not self._named_a_skip:
                self._named_a_skip = True
                print("warning: frame {} is skipped: {}".format(frame.index, error), file=sys.stderr, flush=True)
            return None
        resized_s = time.perf_counter()
        ms = {"capture": (started_s - before_s) * 1e3, "resize": (resized_s - started_s) * 1e3}
        spent_s = 0.0  # by the attack
        if self.attack is not None:
            pixels = self.attack(frame, pixels)
            spent_s = time.perf_counter() - resized_s
            started_s, resized_s = started_s + spent_s, resized_s + spent_s
        twin = self.controller.engine
        treatment = self.controller.defence.treat(pixels)
        quantised_s = time.perf_counter()
        head = (twin or self._engine).run(treatment.image, treatment.threshold, treatment.fused)
        headed_s = time.perf_counter()
        ms["defq"] = (quantised_s - resized_s) * 1e3
        ms["head"] = (headed_s - quantised_s) * 1e3
        born_s = None
        if live:  # converts between the two clocks, which are the same on most systems
            born_s = time.perf_counter() - (time.monotonic() - frame.timestamp_s) + spent_s
        self.controller.saw(treatment, head.exit, frame.index)
        request, capped = None, False
        ceiling = self.ceiling
        if head.activation is not None and self._host is not None:
            capped = ceiling is not None and not ceiling.admits(head.confidence, treatment.threshold)
            if not capped:
                request = self._sent(self._host, Sendable(head.activation, pixels, treatment.table), treatment, live)
        if ceiling is not None:
            ceiling.count(request is not None and request.taken, self.controller.mode)
        return FrameJob(
            frame, pixels, treatment, head, ms, started_s, headed_s, born_s, request, capped, twin is not None
        )

    def _sent(self, host: HostClient, sendable: Sendable, treatment: Treatment, live: bool) -> HostRequest:
        """Send a frame to the host."""
        may_pay = None if self.ceiling is None else self.ceiling.pay
        request = host.submit(sendable, not live, treatment.threshold, may_pay)
        if host.connections == 1 and not live:
            # one frame at a time, so that the latency of a frame includes no work on another
            wait_alive(request.wait, host.timeout_s)
        return request

    def _decide(self, job: FrameJob, queued: bool) -> None:
        decision = job.decision(self.bundle, queued)
        self.summary.add(decision)
        self._sink.write(decision, job.frame, job.pixels)


class _Losses:
    """Adds the losses that a camera counts to a summary: each loss once, also when the camera serves several runs."""

    NAMES = ("skipped", "dropped", "reopened")

    def __init__(self) -> None:
        self._camera: Optional[Camera] = None
        self._told = dict.fromkeys(self.NAMES, 0)

    def tell(self, summary: Summary, camera: Camera) -> None:
        if camera is not self._camera:
            self._camera, self._told = camera, dict.fromkeys(self.NAMES, 0)
        for name in self.NAMES:
            count = getattr(camera, name)
            if count != self._told[name]:
                setattr(summary, name, getattr(summary, name) + count - self._told[name])
                self._told[name] = count
