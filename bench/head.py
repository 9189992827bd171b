"""The nested head, compared to the bare layers that a frame needs and to the flat head."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from bench.measure import table
from device.bundle.reader import Bundle, load_bundle
from device.engines.onnx_runtime import session_options
from export.evaluation.timing import interleaved
from export.networks.loading import load_network
from export.networks.model_files import shipped
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


def run(bundles: Path, models: list[str]) -> dict[str, Any]:
    """Microseconds for a frame that leaves at each exit of the device and for one that does not leave.

    Random frames are tried with random thresholds until one leaves at the exit in question; the cost of a layer does not
    depend on the picture.
    """
    results = {}
    for model in models:
        bundle = load_bundle(str(bundles / model))
        results[model] = _run_one(bundle)
    return results


def _run_one(bundle: Bundle) -> dict[str, Any]:
    exported = parts.export_blocks(load_network(shipped(bundle.model)))
    nested, flat = session(bundle.read("head")), session(bundle.read("head_flat"))
    bare = {exits: bare_layers(exported, bundle.input_shape, exits) for exits in range(1, bundle.split + 1)}
    result: dict[str, Any] = {}
    for exits in (*range(1, bundle.split + 1), 0):
        image, threshold = frame_leaving_at(nested, bundle.input_shape, exits)
        feed = {"image": image, "threshold": threshold}
        needed = bare[exits or bundle.split]
        result[f"exit {exits}" if exits else "stays"] = interleaved(
            {
                "bare": partial(needed.run, None, {"image": image}),
                "nested": partial(nested.run, None, feed),
                "flat": partial(flat.run, None, feed),
            }
        )
    shares = bundle.manifest["calibration"]["shares"][str(bundle.default_rad)][: bundle.split]
    weights = [*shares, 1 - sum(shares)]
    result["clean traffic"] = {
        form: float(sum(weight * times[form] for weight, times in zip(weights, list(result.values()), strict=True)))
        for form in ("bare", "nested", "flat")
    }
    return result


def frame_leaving_at(
    head: onnxruntime.InferenceSession, shape: tuple[int, ...], exits: int
) -> tuple[np.ndarray, np.ndarray]:
    """An image float32 (1, *shape) and a threshold (1,) with which it leaves at exit ``exits`` (0: not at all)."""
    generator = np.random.default_rng(0)
    channels, height, width = shape
    for _ in range(2000):
        coarse = generator.random((1, channels, 4, 4), np.float32)
        coarse = coarse.repeat(-(-height // 4), axis=2).repeat(-(-width // 4), axis=3)[:, :, :height, :width]
        image = np.clip(coarse + generator.normal(0, 0.05, coarse.shape), 0, 1).astype(np.float32)
        threshold = np.array([generator.uniform(0.2, 1.0)], np.float32)
        if head.run(["exit"], {"image": image, "threshold": threshold})[0][0] == exits:
            return image, threshold
    raise RuntimeError(f"no frame that leaves at exit {exits} among 2000")


def report(results: dict[str, Any]) -> str:
    rows = [
        ["one thread", "frame", "bare layers µs", "nested head µs", "nested / bare", "flat head µs", "nested / flat"]
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
