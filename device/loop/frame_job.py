"""A frame on its way from the camera to its decision."""

import time
from typing import Dict, NamedTuple, Optional

import numpy as np

from device.bundle.reader import Bundle
from device.cameras.base import Frame
from device.defence.base import Treatment
from device.engines.base import HeadResult
from device.link.host_request import HostRequest
from device.loop.sinks import Decision


class FrameJob(NamedTuple):
    """A frame that has been through the head.

    All times are readings of time.perf_counter(), in seconds.
    """

    frame: Frame
    """As the camera gave it."""
    pixels: np.ndarray
    """The frame before its treatment, uint8 (height, width, channels) of the network's input."""
    treatment: Treatment
    """What was done to the frame before the head saw it. The image in it belongs to a later frame by now."""
    head: HeadResult
    """The head's answer."""
    ms: Dict[str, float]
    """Milliseconds that each stage up to the head took."""
    started_s: float
    """When the camera handed the frame over."""
    headed_s: float
    """When the head had answered."""
    born_s: Optional[float]
    """When the sensor was exposed; None where the source is no live camera."""
    request: Optional[HostRequest]
    """The request to the host; None for a frame that the host is not asked about."""
    capped: bool = False
    """Whether the host is not asked because of the ceiling."""
    twin: bool = False
    """Whether the hardened twin's head answered."""

    def wait(self) -> None:
        """Wait until the host has answered, or will not answer any more."""
        if self.request is not None:
            self.request.wait()

    def done(self) -> bool:
        """Whether the decision can be made without waiting."""
        return self.request is None or self.request.done()

    def decision(self, bundle: Bundle, queued: bool) -> Decision:
        """The decision on the frame. Call it when the job is done: the frame's latency ends with this call.

        Args:
            queued: whether the frame had to wait until an earlier frame was decided.
        """
        frame, head, request = self.frame, self.head, self.request
        label, confidence, exit_, source = head.label, head.confidence, head.exit, "edge"
        if head.activation is not None:
            source, exit_ = "fallback", bundle.split
        sent, form, ready_s, capped = 0, None, self.headed_s, self.capped
        ms = dict(self.ms)
        if request is not None:
            sent, ready_s = request.bytes_sent, request.finished_s
            form = request.form if sent else None
            ms["host"] = (request.finished_s - self.headed_s) * 1e3
            capped = request.capped and request.answer is None
            if request.answer is not None:
                label, confidence, exit_ = request.answer
                source = "host"
        now_s = time.perf_counter()
        if queued:
            ms["order"] = (now_s - ready_s) * 1e3
        ms["total"] = (now_s - self.started_s) * 1e3
        if self.born_s is not None:
            ms["age"] = (now_s - self.born_s) * 1e3
        return Decision(
            frame.index, label, bundle.label_name(label), confidence, exit_, source, ms, sent, frame.label,
            self.treatment.quantised, self.treatment.found, form, capped, self.twin,
        )  # fmt: skip
