"""A frame on its way from the camera to its decision."""

import time
from typing import Dict, NamedTuple, Optional

import numpy as np

from device.bundle.reader import Bundle
from device.cameras import Frame
from device.defence.base import Treatment
from device.engines import HeadResult
from device.link.host_request import HostRequest
from device.loop.sinks import Decision


class FrameJob(NamedTuple):
    """A frame that has been through the head.

    Times are of time.perf_counter(). ``ms``: the stages up to here, in milliseconds. ``born_s``: of a live camera, the
    sensor's exposure. ``request``: of a frame that the host was asked about.
    """

    frame: Frame
    pixels: np.ndarray
    treatment: Treatment
    head: HeadResult
    ms: Dict[str, float]
    started_s: float
    headed_s: float
    born_s: Optional[float]
    request: Optional[HostRequest]

    def wait(self) -> None:
        """Until there is an answer, or it is known that there is none."""
        if self.request is not None:
            self.request.wait()

    def done(self) -> bool:
        """Whether it can be decided now."""
        return self.request is None or self.request.done()

    def decision(self, bundle: Bundle, queued: bool) -> Decision:
        """The decision, whose times end now. For a job that is done.

        Args:
            queued: an earlier frame was still on its way when this one had been through the head.
        """
        frame, head, request = self.frame, self.head, self.request
        label, confidence, exit_, source = head.label, head.confidence, head.exit, "edge"
        if head.activation is not None:
            source, exit_ = "fallback", bundle.split
        sent, form, ready_s = 0, None, self.headed_s
        ms = dict(self.ms)
        if request is not None:
            sent, ready_s = request.bytes_sent, request.finished_s
            form = request.form if sent else None
            ms["host"] = (request.finished_s - self.headed_s) * 1e3
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
            self.treatment.quantised, self.treatment.found, form,
        )  # fmt: skip
