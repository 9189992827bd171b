"""The loop: capture -> resize -> DefQ -> head -> decision, or the host's answer. One decision a frame, in frame order."""

import sys
import threading
import time
from typing import Callable, Optional

import cv2
import numpy as np

from device.bundle.reader import Bundle
from device.cameras import Camera, Frame
from device.defence.defq import DefQ, check_frame
from device.defence.gate import Gate
from device.defence.monitor import Monitor
from device.engines import Engine, HeadResult
from device.errors import FrameError
from device.link.host_client import Uplink
from device.link.host_request import Ticket
from device.loop.frame_job import FrameJob, Treatment
from device.loop.in_order import InOrder
from device.loop.sinks import Sink
from device.loop.summary import Summary
from device.payload.forms import Alternatives
from device.system.systemd import notify, wait_alive


class Preprocessor:
    """Turns camera frames into the network's input, with or without DefQ. Buffers are reused: one thread.

    Args:
        bundle: input shape and table.
        defq: apply DefQ here (a head with fused DefQ does it itself); ``defq`` may be switched between two frames.
        gate: instead, each of its stages with its table.
    """

    def __init__(self, bundle: Bundle, defq: bool, gate: Optional[Gate] = None) -> None:
        self._channels, self._height, self._width = bundle.input_shape
        self.defq = defq and gate is None
        self._quantiser = DefQ(bundle.table)
        self._stages = {stage.level: DefQ(stage.table) for stage in gate.stages()} if gate is not None else {}
        self._image = np.zeros((1, *bundle.input_shape), np.float32)
        self._white = np.full((1, 1, 1), 255, np.float32)

    def resize(self, pixels: np.ndarray) -> np.ndarray:
        """Bring a frame to the network's size and channels.

        Args:
            pixels: uint8 (h, w, 3) RGB, (h, w, 1) or (h, w) grey.

        Returns:
            uint8 (height, width, channels) of the network, contiguous.

        Raises:
            FrameError: another type or shape.
        """
        check_frame(pixels)
        if pixels.shape[:2] != (self._height, self._width):
            shrinks = pixels.shape[0] >= self._height and pixels.shape[1] >= self._width
            pixels = cv2.resize(
                pixels, (self._width, self._height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            )
        colours = pixels.shape[2] if pixels.ndim == 3 else 1
        if colours != self._channels:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB if self._channels == 3 else cv2.COLOR_RGB2GRAY)
        return pixels.reshape(self._height, self._width, self._channels)

    def to_image(self, pixels: np.ndarray, stage: Optional[Gate] = None) -> np.ndarray:
        """DefQ, if it is on, and the scale to [0, 1].

        Args:
            pixels: as ``resize`` gives them.
            stage: of the gate, that found this frame.

        Returns:
            float32 (1, channels, height, width) in [0, 1], valid until the next call.
        """
        if stage is not None:
            planes = self._stages[stage.level].planes(pixels)
        elif self.defq:
            planes = self._quantiser.planes(pixels)
        else:
            planes = pixels.transpose(2, 0, 1)
        np.divide(planes, self._white, out=self._image[0])
        return self._image


Attack = Callable[[Frame, np.ndarray], np.ndarray]
"""A frame and its pixels at the network's size, uint8 (height, width, channels) -> the same pixels under attack."""


class Pipeline:
    """Decides on every frame of a camera.

    A decision is given to the sink as soon as it is known and those of all earlier frames are out. The loop never waits
    for an answer of the host, so the sink is called from its thread or from one that waits for answers, one at a time.

    Args:
        bundle: labels and shapes.
        engine: runs the head.
        threshold: confidence from which a frame leaves.
        defq: quantise frames; ``defq`` may be switched between two frames, as the preview does.
        uplink: to the host; without it the last device exit answers, as a fallback.
        sink: takes the decisions in frame order.
        gate: with DefQ on, quantise only the frames that it finds, with its tables and thresholds; not while ``auto`` is set.
        rad: relative accuracy drop in percent, of the gate's threshold (default: the bundle's).
        monitor: sees every exit; while ``auto`` is set it has all frames quantised from an alarm to the all-clear.

    ``attack``, if set, changes frames before they are quantised: for demonstrations. Its time counts in no stage.
    ``before_frame``, if set, is called in the loop's thread before each frame is read; all may be switched there.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        threshold: float,
        defq: bool = True,
        uplink: Optional[Uplink] = None,
        sink: Optional[Sink] = None,
        gate: Optional[Gate] = None,
        rad: Optional[int] = None,
        monitor: Optional[Monitor] = None,
    ) -> None:
        self.bundle = bundle
        self.defq = defq
        self.auto = False
        self.monitor = monitor
        self.attack: Optional[Attack] = None
        self.before_frame: Optional[Callable[[], None]] = None
        self.summary = Summary(bundle.relative_costs)
        self._engine = engine
        self._threshold = threshold
        self._gate = gate if defq else None
        self._rad = bundle.default_rad if rad is None else rad
        self._prepare = Preprocessor(bundle, defq and not bundle.defq_fused, self._gate)
        self._uplink = uplink
        self._sink = sink or Sink()
        self._losses = _Losses()
        self._named_a_skip = False

    def run(self, camera: Camera, limit: Optional[int] = None, stop: Optional[threading.Event] = None) -> Summary:
        """Decide on frames until the source ends, ``limit`` frames are decided, or ``stop`` is set.

        A frame that cannot be used is skipped, counted and named once on stderr.

        Raises:
            CameraError: the source failed; what was decided before is complete and written.
        """
        read = 0
        camera.stop_event = stop
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
                if self._uplink is not None:
                    wait_alive(line.wait_empty)  # all that is on its way ends with its time-out
            finally:
                self._losses.tell(self.summary, camera)
                if self.monitor is not None:
                    self.monitor.settle()
                    self.summary.alarms = self.monitor.alarms
                line.close()
        return self.summary

    def _through_the_head(self, frame: Frame, before_s: float, live: bool) -> Optional[FrameJob]:
        """All that the device does for a frame; None for one that cannot be used."""
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
        if self.auto and self.monitor is not None:
            self.defq = self.monitor.attacked
        # auto means all frames and the bundle's table: how often frames leave behind that is what the monitor knows
        gate = None if self.auto else self._gate
        stage = gate.stage_for(pixels) if self.defq and gate is not None else None
        treatment = self._treatment(gate, stage)
        self._prepare.defq = treatment.whole and not self.bundle.defq_fused
        image = self._prepare.to_image(pixels, stage)
        quantised_s = time.perf_counter()
        head = self._engine.run(image, treatment.threshold, treatment.whole)
        headed_s = time.perf_counter()
        ms["defq"] = (quantised_s - resized_s) * 1e3
        ms["head"] = (headed_s - quantised_s) * 1e3
        born_s = None
        if live:  # between the two clocks, which most systems have as one
            born_s = time.perf_counter() - (time.monotonic() - frame.timestamp_s) + spent_s
        if self.monitor is not None and self.monitor.see(head.exit, treatment.quantised):
            self._tell_of_attack(frame)
        ticket = self._sent(head, pixels, treatment, live)
        return FrameJob(frame, pixels, treatment, head, ms, started_s, headed_s, born_s, ticket)

    def _treatment(self, gate: Optional[Gate], stage: Optional[Gate]) -> Treatment:
        """What is done to a frame that a stage of the gate has found, or none, or where no gate is asked."""
        found = None if gate is None else stage is not None
        if stage is not None:
            return Treatment(stage.thresholds[self._rad], stage.table, False, found)
        whole = self.defq and gate is None
        return Treatment(self._threshold, self.bundle.table if whole else None, whole, found)

    def _sent(self, head: HeadResult, pixels: np.ndarray, treatment: Treatment, live: bool) -> Optional[Ticket]:
        """Hand a frame that did not leave over to the host."""
        if head.activation is None or self._uplink is None:
            return None
        others = Alternatives(pixels, treatment.table)
        own = treatment.threshold if treatment.found else None
        ticket = self._uplink.submit(head.activation, wait=not live, threshold=own, others=others)
        if self._uplink.connections == 1 and not live:
            # one frame at a time: no other frame's work in its latency
            wait_alive(ticket.wait, self._uplink.timeout_s)
        return ticket

    def _tell_of_attack(self, frame: Frame) -> None:
        if self.monitor is not None and self.monitor.attacked:
            told, defq = "warning: frames leave so late that an attack is likely, found at frame {}", "on"
        else:
            told, defq = "frames leave as usual again, found at frame {}", "off"
        told = told.format(frame.index) + ("; DefQ goes {}".format(defq) if self.auto else "")
        print(told, file=sys.stderr, flush=True)

    def _decide(self, job: FrameJob, queued: bool) -> None:
        decision = job.decision(self.bundle, queued)
        self.summary.add(decision)
        self._sink.write(decision, job.frame, job.pixels)


class _Losses:
    """Brings what a camera counts over into a summary, each frame once, however often it is told."""

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
