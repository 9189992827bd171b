"""The tail as the host runs it, in stages that frames leave, compared to the flat graph."""

import time
from typing import Any

import numpy as np
import onnxruntime

from bench.measure import table
from bench.subject import Subject
from device.bundle.reader import Bundle
from device.errors import DataError
from export.attacks.linf import DeepSlothLinf
from export.data import datasets
from export.data.frames import to_pixels
from export.networks.sdn import folded
from export.networks.weights import to_tensor
from host.app.tail import Tail

BATCHES = (1, 4, 16, 32)
ROUNDS = 15
FRAMES_A_ROUND = 64
CLEAN_IMAGES, ATTACKED_IMAGES = 400, 100
ITERATIONS = 15  # of the attack; with so many no frame leaves early


def run(subjects: list[Subject]) -> dict[str, Any]:
    """Frames a second of the flat tail and how many times as many the host's tail answers, for each traffic and batch.

    The traffic is what a device would send of the test images: the activations of those that do not leave there. Empty
    where there is no data set. Both tails get the same batches in turn.
    """
    results: dict[str, Any] = {}
    for subject in subjects:
        bundle = subject.bundle
        try:
            pixels = datasets.load(None, bundle.input_shape[1:], download=False).test.pixels
        except DataError:
            return {}
        attacked = DeepSlothLinf(iterations=ITERATIONS)(
            folded(subject.network), to_tensor(pixels[:ATTACKED_IMAGES]), progress=False
        )
        traffic = {
            "clean": activations(bundle, pixels[:CLEAN_IMAGES]),
            "attacked": activations(bundle, to_pixels(attacked)),
        }
        tails = Tail(bundle, stages=False), Tail(bundle)
        results[subject.name] = {
            name: {batch: compare(*tails, sent, bundle.threshold(bundle.default_rad), batch) for batch in BATCHES}
            for name, sent in traffic.items()
        }
    return results


def activations(bundle: Bundle, pixels: np.ndarray) -> np.ndarray:
    """What the device sends of frames uint8 (n, h, w, 3): float32 (m, ...), m <= n."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    head = onnxruntime.InferenceSession(bundle.read("head_flat"), options, providers=["CPUExecutionProvider"])
    threshold = np.array([bundle.threshold(bundle.default_rad)], np.float32)
    sent = []
    for start in range(0, len(pixels), 50):
        images = to_tensor(pixels[start : start + 50]).numpy()
        exit_, activation = head.run(["exit", "activation"], {"image": images, "threshold": threshold})
        sent.append(activation[exit_ == 0])
    return np.concatenate(sent)


def compare(flat: Tail, ours: Tail, sent: np.ndarray, threshold: float, batch: int) -> dict[str, float]:
    """Frames a second of ``flat`` and how many times as many ``ours`` answers, by the clock and by processor time.

    Each batch counts with its median over the rounds. Processor time minds little what else the machine does.

    Raises:
        AssertionError: their answers differ.
    """
    frames = np.resize(sent, (FRAMES_A_ROUND, *sent.shape[1:]))  # repeats them where there are few
    limits = np.full((batch, 1), threshold, np.float32)
    batches = [frames[start : start + batch] for start in range(0, FRAMES_A_ROUND, batch)]
    seconds = {tail: np.empty((2, 2 + ROUNDS, len(batches))) for tail in (flat, ours)}
    for number in range(2 + ROUNDS):  # in the first two rounds the tail adapts to the traffic
        for place, some in enumerate(batches):
            answers = {}
            for tail in (flat, ours) if (place + number) % 2 else (ours, flat):
                begun = time.perf_counter(), time.process_time()
                answers[tail] = tail.run(some, limits)
                seconds[tail][:, number, place] = time.perf_counter() - begun[0], time.process_time() - begun[1]
            assert (answers[flat].exit == answers[ours].exit).all()
            assert (answers[flat].label == answers[ours].label).all()
            assert np.abs(answers[flat].confidence - answers[ours].confidence).max() <= 1e-6
    one, other = (np.median(seconds[tail][:, 2:], axis=1).sum(axis=1) for tail in (flat, ours))
    wall, processor = one / other
    return {"flat": FRAMES_A_ROUND / float(one[0]), "ratio": float(wall), "processor_ratio": float(processor)}


def report(results: dict[str, Any]) -> str:
    if not results:
        return "The tail in stages: not measured, because there is no data set (set CIFAR10_DIR)."
    head = "tail in stages / flat, by the clock, by processor time (flat, frames/s)"
    rows = [[head, "traffic", *(f"batch {batch}" for batch in BATCHES)]]
    for model, traffic in results.items():
        for name, batches in traffic.items():
            cells = [
                f"{each['ratio']:.2f}, {each['processor_ratio']:.2f} ({each['flat']:.0f})" for each in batches.values()
            ]
            rows.append([model, name, *cells])
    return table(rows)
