"""Heads in 8 bits beside the same in float32: their times, and what 8 bits change on test images."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from bench.head import session
from bench.measure import table
from bench.subject import Subject
from export.bundle.comparison_frames import comparison_frames
from export.bundle.graph_set import traffic_of
from export.bundle.int8 import SCALE_IMAGES
from export.calibration.card import read_card
from export.calibration.cost import score
from export.calibration.int8 import Int8Comparison, recalibrated
from export.data import datasets
from export.evaluation.timing import interleaved
from export.networks.weights import to_tensor
from export.onnx.cuts import Traffic, cheapest_handover
from export.onnx.graphs import nested_head
from export.onnx.int8 import quantised_blocks
from export.onnx.parts import ExportedBlocks, export_blocks, joined, model
from export.onnx.scores import graph_scores

FORMS = ("float32", "int8")
IMAGES = 1000
"""Of the test split, at most. Thresholds take all of the calibration split, as in the export."""
TRAFFIC_FRAMES = 100
RANDOM_FRAMES = 20
"""That set the scales of networks with random weights."""
LAYERS = "layers without exits"
Calls = dict[str, Callable[[], Any]]


def run(subjects: list[Subject]) -> dict[str, Any]:
    """Microseconds of processor time a frame in both forms, and for trained networks what becomes of exits, labels and accuracy."""
    return {subject.name: _run_one(subject) for subject in subjects}


def _run_one(subject: Subject) -> dict[str, Any]:
    network, shape = subject.network, subject.bundle.input_shape
    exported = export_blocks(network)
    if not subject.trained:
        frames = comparison_frames(None, shape[1:], RANDOM_FRAMES)[0]
        both = dict(zip(FORMS, (exported, quantised_blocks(exported, shape, to_tensor(frames).numpy())), strict=True))
        return {"times": _times(both, subject, {}, frames, None)}
    assert subject.files is not None
    card, about = read_card(subject.files), subject.files.description
    data = datasets.load(None, shape[1:], about.fit, about.group, source=about.data_source, download=False)
    calibration, test = data.calibration, data.test.take(IMAGES)
    quantised = quantised_blocks(exported, shape, to_tensor(data.calibration.pixels[:SCALE_IMAGES]).numpy())
    rad = subject.bundle.default_rad
    new = recalibrated(card, graph_scores(quantised, shape, calibration.pixels), calibration.labels)
    thresholds = dict(zip(FORMS, (float(each.thresholds[rad].threshold) for each in (card, new)), strict=True))
    scores = graph_scores(quantised, shape, test.pixels)
    compared = Int8Comparison.of(
        scores, thresholds["int8"], score(network, test.pixels), thresholds["float32"], test.labels, list(card.relative_costs)
    )  # fmt: skip
    both = dict(zip(FORMS, (exported, quantised), strict=True))
    times = _times(both, subject, thresholds, calibration.pixels, traffic_of(network, card, rad))
    return {"times": times, "test": compared.as_json()}


def _times(
    both: dict[str, ExportedBlocks],
    subject: Subject,
    thresholds: dict[str, float],
    frames: np.ndarray,
    traffic: Traffic | None,
) -> dict[str, dict[str, float]]:
    """By what is measured the microseconds of both forms.

    Args:
        thresholds: of trained networks, for the mean over calibration images.
        frames: uint8 (n, h, w, c).
    """
    shape, exits = subject.bundle.input_shape, len(both["float32"].exits)
    images = to_tensor(frames[:TRAFFIC_FRAMES]).numpy()
    found: dict[str, dict[str, float]] = {}
    for split in sorted({subject.bundle.split, exits}):
        heads = {}
        for form, exported in both.items():
            nested, repeat, cuts = cheapest_handover(exported, split, traffic)
            heads[form] = session(nested_head(nested, split, shape, 0.5, cuts, repeat).SerializeToString())
        name = "all exits" if split == exits else f"{split} exits"
        for what, threshold in (("exit 1", 0.0), ("last", 2.0)):
            feed = {"image": images[:1], "threshold": np.array([threshold], np.float32)}
            calls: Calls = {form: partial(head.run, None, feed) for form, head in heads.items()}
            found[f"{name}, {what}"] = interleaved(calls, clock=time.thread_time)
        if thresholds:
            calls = {form: partial(_over, heads[form], images, thresholds[form]) for form in FORMS}
            times = interleaved(calls, rounds=9, clock=time.thread_time)
            found[f"{name}, clean traffic"] = {form: us / len(images) for form, us in times.items()}
    bare: Calls = {
        form: partial(_layers(exported, shape).run, None, {"pixels": images[:1]}) for form, exported in both.items()
    }
    found[LAYERS] = interleaved(bare, clock=time.thread_time)
    return found


def _over(head: Any, images: np.ndarray, threshold: float) -> None:
    """Run a head on all images, one by one."""
    given = np.array([threshold], np.float32)
    for image in images:
        head.run(None, {"image": image[None], "threshold": given})


def _layers(exported: ExportedBlocks, shape: tuple[int, ...]) -> Any:
    """The blocks and the final classifier alone."""
    whole, last = joined(*exported.blocks, exported.exits[-1]), len(exported.exits) - 1
    graph = helper.make_graph(
        whole.nodes, "layers", [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, *shape])],
        [helper.make_tensor_value_info(f"softmax{last}", TensorProto.FLOAT, [1, "classes"])], whole.weights,
    )  # fmt: skip
    return session(onnx.ModelProto.SerializeToString(model(graph, LAYERS)))


def report(results: dict[str, Any]) -> str:
    rows = [["one thread, processor time", "frame", "float32 µs", "int8 µs", "float32 / int8"]]
    tests = [["test images", "same exit", "same label", "accuracy, int8 (float32)", "mean cost, int8 (float32)"]]
    for name, each in results.items():
        for what, times in each["times"].items():
            before, after = (times[form] for form in FORMS)
            rows.append([name, what, f"{before:.0f}", f"{after:.0f}", f"{before / after:.2f}"])
        if "test" in each:
            found = each["test"]
            tests.append(
                [
                    f"{name} ({found['images']})",
                    f"{found['same_exits']:.1%}",
                    f"{found['same_labels']:.1%}",
                    f"{found['accuracy']:.3f} ({found['accuracy_float32']:.3f})",
                    f"{found['mean_cost']:.3f} ({found['mean_cost_float32']:.3f})",
                ]
            )
    return "\n\n".join(table(each) for each in (rows, tests) if len(each) > 1)
