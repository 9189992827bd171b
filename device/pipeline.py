"""The loop: capture -> resize -> DefQ -> head -> decision, or the host's answer. One decision a frame, in frame order."""

import collections
import sys
import threading
import time
from typing import Callable, Deque, Dict, NamedTuple, Optional

import cv2
import numpy as np

from device.bundle import Bundle
from device.cameras import Camera, Frame
from device.engines import Engine, HeadResult
from device.errors import FrameError
from device.gate import Gate
from device.monitor import Monitor
from device.payload import Alternatives
from device.quantization import DefQ, check_frame
from device.sinks import Decision, Sink
from device.summary import Summary
from device.systemd import notify
from device.ticket import Ticket
from device.uplink import Uplink


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


class _Waiting(NamedTuple):
    """A frame that has been through the head."""

    frame: Frame
    pixels: np.ndarray  # at the network's size, before DefQ
    head: HeadResult
    ms: Dict[str, float]
    started_s: float
    ticket: Optional[Ticket]
    submitted_s: float
    quantised: bool
    attacked: Optional[bool]


class Pipeline:
    """Decides on every frame of a camera.

    Args:
        bundle: labels and shapes.
        engine: runs the head.
        threshold: confidence from which a frame leaves.
        defq: quantise frames; ``defq`` may be switched between two frames, as the preview does.
        uplink: to the host; without it the last device exit answers, as a fallback.
        sink: takes the decisions in frame order.
        gate: with DefQ on, quantise only the frames that it finds, with its tables and thresholds.
        rad: relative accuracy drop in percent, of the gate's threshold (default: the bundle's).
        monitor: sees every exit; while ``auto`` is set it switches DefQ on when it raises an alarm, and off again.

    ``attack``, if set, changes frames before they are quantised: for demonstrations. Its time counts in no stage.
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
        self.summary = Summary(bundle.relative_costs)
        self._engine = engine
        self._threshold = threshold
        self._gate = gate if defq else None
        self._rad = bundle.default_rad if rad is None else rad
        self._prepare = Preprocessor(bundle, defq and not bundle.defq_fused, self._gate)
        self._uplink = uplink
        self._sink = sink or Sink()
        self._waiting: Deque[_Waiting] = collections.deque()

    def run(self, camera: Camera, limit: Optional[int] = None, stop: Optional[threading.Event] = None) -> Summary:
        """Decide on frames until the source ends, ``limit`` frames are decided, or ``stop`` is set.

        A frame that cannot be used is skipped, counted and named once on stderr.

        Raises:
            CameraError: the source failed; what was decided before is complete and written.
        """
        read = 0
        camera.stop_event = stop
        try:
            while (limit is None or read < limit) and not (stop is not None and stop.is_set()):
                before_s = time.perf_counter()
                frame = camera.read()
                if frame is None:
                    break
                read += 1
                self._step(frame, before_s, camera.live)
                self._emit()
                notify("WATCHDOG=1")
        finally:
            self._emit(to_the_end=True)
            self.summary.dropped, self.summary.reopened = camera.dropped, camera.reopened
            self.summary.skipped += camera.skipped
            if self.monitor is not None:
                self.summary.alarms = self.monitor.alarms
        return self.summary

    def _step(self, frame: Frame, before_s: float, live: bool) -> None:
        started_s = time.perf_counter()
        try:
            pixels = self._prepare.resize(frame.pixels)
        except FrameError as error:
            self.summary.skipped += 1
            if self.summary.skipped == 1:
                print("warning: frame {} is skipped: {}".format(frame.index, error), file=sys.stderr, flush=True)
            return
        resized_s = time.perf_counter()
        ms = {"capture": (started_s - before_s) * 1e3, "resize": (resized_s - started_s) * 1e3}
        spent_s = 0.0  # by the attack
        if self.attack is not None:
            pixels = self.attack(frame, pixels)
            spent_s = time.perf_counter() - resized_s
            started_s, resized_s = started_s + spent_s, resized_s + spent_s
        if self.auto and self.monitor is not None:
            self.defq = self.monitor.attacked
        whole = self.defq and self._gate is None  # quantise whatever comes; a head may have it fused
        self._prepare.defq = whole and not self.bundle.defq_fused
        stage = self._gate.stage_for(pixels) if self.defq and self._gate is not None else None
        threshold = self._threshold if stage is None else stage.thresholds[self._rad]
        image = self._prepare.to_image(pixels, stage)
        quantised_s = time.perf_counter()
        head = self._engine.run(image, threshold, whole)
        now_s = time.perf_counter()
        ms["defq"] = (quantised_s - resized_s) * 1e3
        ms["head"] = (now_s - quantised_s) * 1e3
        if live:
            ms["age"] = (time.monotonic() - frame.timestamp_s - spent_s) * 1e3
        if self.monitor is not None and self.monitor.see(head.exit, whole):
            self._tell_of_attack(frame)
        attacked = None if self._gate is None else stage is not None
        ticket = None
        if head.activation is not None and self._uplink is not None:
            table = self.bundle.table if whole else None if stage is None else stage.table
            others = Alternatives(head.quantised, pixels, table)
            own = None if stage is None else threshold
            ticket = self._uplink.submit(head.activation, wait=not live, threshold=own, others=others)
            if self._uplink.connections == 1 and not live:
                ticket.wait()  # one frame at a time: no other frame's work in its latency
        else:
            ms["total"] = (now_s - started_s) * 1e3
        quantised = whole or stage is not None
        self._waiting.append(_Waiting(frame, pixels, head, ms, started_s, ticket, now_s, quantised, attacked))

    def _tell_of_attack(self, frame: Frame) -> None:
        if self.monitor is not None and self.monitor.attacked:
            told, defq = "warning: frames leave so late that an attack is likely, found at frame {}", "on"
        else:
            told, defq = "frames leave as usual again, found at frame {}", "off"
        told = told.format(frame.index) + ("; DefQ goes {}".format(defq) if self.auto else "")
        print(told, file=sys.stderr, flush=True)

    def _emit(self, to_the_end: bool = False) -> None:
        """Give the sink every decision whose turn has come; at the end wait for the answers that are out."""
        waiting = self._waiting
        while waiting:
            first = waiting[0]
            ticket = first.ticket
            if ticket is not None:
                if to_the_end or time.perf_counter() >= ticket.deadline_s:
                    ticket.wait()
                if not ticket.done():
                    return
            waiting.popleft()
            decision = self._decision(first)
            self.summary.add(decision)
            self._sink.write(decision, first.frame, first.pixels)

    def _decision(self, item: _Waiting) -> Decision:
        frame, _, head, ms, started_s, ticket, submitted_s, quantised, attacked = item
        label, confidence, exit_, source = head.label, head.confidence, head.exit, "edge"
        sent, form = 0, None
        if head.activation is not None:
            source, exit_ = "fallback", self.bundle.split
        if ticket is not None:
            sent = ticket.bytes_sent
            form = ticket.form if sent else None
            ms["host"] = (ticket.finished_s - submitted_s) * 1e3
            ms["total"] = (ticket.finished_s - started_s) * 1e3
            if "age" in ms:
                ms["age"] += ms["host"]
            if ticket.answer is not None:
                label, confidence, exit_ = ticket.answer
                source = "host"
        name = self.bundle.labels[label]
        return Decision(
            frame.index, label, name, confidence, exit_, source, ms, sent, frame.label, quantised, attacked, form
        )  # fmt: skip
