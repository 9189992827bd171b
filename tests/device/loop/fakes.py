"""What the tests of the loop share: a camera, sinks, engines, and a pipeline over them."""

import time

import numpy as np

from device.cameras.base import Camera, Frame
from device.defence.controller import Controller
from device.engines.base import HeadResult
from device.loop.pipeline import Pipeline
from device.loop.sinks import Sink


class ListCamera(Camera):
    """Frames of a list."""

    def __init__(self, frames, live=False, labels=None, age_s=0.0):
        super().__init__()
        self.live = live
        self.left = [
            Frame(index, frame, None if labels is None else int(labels[index]), time.monotonic() - age_s)
            for index, frame in enumerate(frames)
        ]

    def read(self):
        return self.left.pop(0) if self.left else None


class KeptSink(Sink):
    """Keeps decisions, and what they were made on."""

    def __init__(self):
        self.decisions = []
        self.frames = []
        self.pixels = []

    def write(self, decision, frame, pixels):
        self.decisions.append(decision)
        self.frames.append(frame)
        self.pixels.append(pixels)


class RecordingEngine:
    """Keeps what the head is given: image, threshold and whether it is to quantise; no frame leaves."""

    def __init__(self, bundle):
        self.seen = []
        self._activation = np.zeros((1, *bundle.activation_shape), np.float32)

    def run(self, image, threshold, defq=False):
        self.seen.append((image.copy(), threshold, defq))
        return HeadResult(0, 0.1, 0, self._activation)


class LeavingEngine:
    """Every frame leaves at exit 1, or none does."""

    def __init__(self, bundle):
        self.leaves = True
        self._activation = np.zeros((1, *bundle.activation_shape), np.float32)

    def run(self, image, threshold, defq=False):
        return HeadResult(0, 1.0, 1, None) if self.leaves else HeadResult(0, 0.1, 0, self._activation)


def make_pipeline(bundle, engine, mode="off", sink=None, host=None, monitor=None, threshold=0.62, rad=None):
    """A pipeline with its controller."""
    return Pipeline(bundle, engine, Controller(bundle, rad, mode, monitor, threshold), host, sink)
