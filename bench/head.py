"""The nested head, compared to the bare layers that a frame needs and to the flat head."""

import time
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from bench.measure import table
from bench.subject import Subject
from device.engines.onnx_runtime import session_options
from export.evaluation.timing import interleaved
from export.onnx import parts


def session(model: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model, session_options(1), providers=["CPUExecutionProvider"])


def bare_layers(exported: parts.ExportedBlocks, shape: tuple[int, ...], exits: int) -> onnxruntime.InferenceSession:
    """Blocks and classifiers up to an exit and nothing else: no early-exit rule and no cut."""
    span = exported.span(0, exits - 1)
    enter = helper.make_node("Identity", ["image"], ["pixels"])
    outputs = [helper.make_tensor_value_info(f"softmax{exits - 1}", TensorProto.FLOAT, None)]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, *shape])]
    graph = helper.make_graph([enter, *span.nodes], "bare", inputs, outputs, span.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", parts.OPSET)], ir_version=parts.IR_VERSION)
    return session(onnx.ModelProto.SerializeToString(model))


def run(subjects: list[Subject]) -> dict[str, Any]:
    """Microseconds for a frame that leaves at each exit of the device and, where there is a host, for one that does not leave."""
    return {subject.name: _run_one(subject) for subject in subjects}


def _run_one(subject: Subject) -> dict[str, Any]:
    bundle = subject.bundle
    exported = parts.export_blocks(subject.network)
    nested, flat = session(bundle.read("head")), session(bundle.read("head_flat"))
    bare = [bare_layers(exported, bundle.input_shape, exits) for exits in range(1, bundle.split + 1)]
    stays = [0] if bundle.split < len(exported.exits) else []
    result: dict[str, Any] = {}
    for exits in (*range(1, bundle.split + 1), *stays):
        image, threshold = frame_leaving_at(bare, bundle.input_shape, exits)
        feed = {"image": image, "threshold": threshold}
        found = int(nested.run(["exit"], feed)[0][0])
        if found != exits:
            raise RuntimeError(f"found a frame that leaves at exit {found}; expected {exits}")
        needed = bare[(exits or bundle.split) - 1]
        result[f"exit {exits}" if exits else "stays"] = interleaved(
            {
                "bare": partial(needed.run, None, {"image": image}),
                "nested": partial(nested.run, None, feed),
                "flat": partial(flat.run, None, feed),
            },
            clock=time.thread_time,
        )
    if subject.trained and stays:
        shares = bundle.manifest["calibration"]["shares"][str(bundle.default_rad)][: bundle.split]
        weights = [*shares, 1 - sum(shares)]
        result["clean traffic"] = {
            form: float(sum(weight * times[form] for weight, times in zip(weights, list(result.values()), strict=True)))
            for form in ("bare", "nested", "flat")
        }
    return result


def frame_leaving_at(
    bare: list[onnxruntime.InferenceSession], shape: tuple[int, ...], exits: int
) -> tuple[np.ndarray, np.ndarray]:
    """An image float32 (1, *shape) and a threshold (1,) with which it leaves at exit ``exits`` (0: not at all).

    Random images are tried until one is more confident there than at all exits before. The cost of a layer does not depend on
    the picture.

    Args:
        bare: the layers up to each exit.
    """
    generator = np.random.default_rng(0)
    channels, height, width = shape
    for _ in range(2000):
        coarse = generator.random((1, channels, 4, 4), np.float32)
        coarse = coarse.repeat(-(-height // 4), axis=2).repeat(-(-width // 4), axis=3)[:, :, :height, :width]
        image = np.clip(coarse + generator.normal(0, 0.05, coarse.shape), 0, 1).astype(np.float32)
        if exits == 0:
            return image, np.array([2], np.float32)
        confidences = [float(layers.run(None, {"image": image})[0].max()) for layers in bare[:exits]]
        earlier = max(confidences[:-1], default=0.0)
        if confidences[-1] > earlier + 1e-4:
            return image, np.array([(confidences[-1] + earlier) / 2], np.float32)
    raise RuntimeError(f"no frame that leaves at exit {exits} among 2000")


def report(results: dict[str, Any]) -> str:
    rows = [
        [
            "one thread, processor time",
            "frame",
            "bare layers µs",
            "nested head µs",
            "nested / bare",
            "flat head µs",
            "nested / flat",
        ]
    ]
    for model, conditions in results.items():
        for name, times in conditions.items():
            nested = times["nested"]
            rows.append(
                [
                    model,
                    name,
                    f"{times['bare']:.0f}",
                    f"{nested:.0f}",
                    f"{nested / times['bare']:.2f}",
                    f"{times['flat']:.0f}",
                    f"{nested / times['flat']:.2f}",
                ]
            )
    return table(rows)
