"""manifest.json of a bundle: everything that a reader would otherwise have to be told (device/bundle/reader.py reads it)."""

import hashlib
import math
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import onnxruntime
import torch

from device.bundle.reader import FLOAT32, FORMAT, FORMAT_VERSION, FORMAT_VERSION_WITHOUT_TAIL, INT8, bundle_id
from device.pictures.fit import STRETCH
from export.bundle.int8 import GRAPHS as IN_INT8
from export.bundle.settings import BundleSettings
from export.calibration.card import ModelCard
from export.calibration.int8 import Int8Comparison
from export.calibration.table_file import TableFile
from export.networks.sdn import SDN
from export.onnx.parts import IR_VERSION, OPSET


def manifest(
    model: str,
    network: SDN,
    fit: str,
    card: ModelCard,
    table: TableFile,
    settings: BundleSettings,
    graphs: Mapping[str, onnx.ModelProto],
    levels: int | None,
    frames: Mapping[str, Any] | None,
    comparison: Int8Comparison | None,
    contents: Mapping[str, bytes],
    shapes: Sequence[tuple[int, ...]],
) -> dict[str, Any]:
    """The manifest, JSON-ready.

    Args:
        fit: how the device brings frames to the size of the network (device/pictures/fit.py).
        graphs: by name; each is the file NAME.onnx.
        levels: of an activation as uint8; None where all exits are on the device.
        frames: how the frame set was made, where there is one.
        comparison: of 8 bits with float32, where head and tail compute in 8 bits.
        contents: of all other files of the bundle, by their names.
        shapes: of the features behind each block, without the batch axis.
    """
    files: dict[str, Any] = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in contents.items()
    }
    split = settings.exits_on_device(len(card.relative_costs))
    calibration = card.as_json()
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION if "tail" in graphs else FORMAT_VERSION_WITHOUT_TAIL,
        "id": bundle_id(model, settings.split, files["head.onnx" if settings.split is None else "tail.onnx"]["sha256"]),
        "model": model,
        "split": split,
        "labels": list(card.classes),
        "input": {
            "name": "image", "shape": list(network.input_shape), "dtype": "float32", "range": [0, 1],
            "color_order": "RGB", "layout": "NCHW", "fit": fit,
        },
        **({} if fit == STRETCH else {"requires": ["fit"]}),  # releases that do not know it would stretch
        **({"activation": _activation(graphs["tail"], levels)} if "tail" in graphs else {}),
        "exits": [
            {"exit": number, "relative_cost": cost, "side": "device" if number <= split else "host",
             **({"values": math.prod(shapes[number - 1])} if number <= len(shapes) else {})}
            for number, cost in enumerate(card.relative_costs, start=1)
        ],
        "thresholds": {str(rad): float(point.threshold) for rad, point in card.thresholds.items()},
        "default_rad": settings.rad,
        "graphs": {
            name: {
                "file": f"{name}.onnx", "opset": OPSET, "ir_version": IR_VERSION,
                "precision": INT8 if comparison and name in IN_INT8 else FLOAT32,
                "inputs": [each.name for each in graph.graph.input], "outputs": [each.name for each in graph.graph.output],
            }
            for name, graph in graphs.items()
        },
        "defq": {"file": "table.json", "fused": settings.fuse_defq, "table": table.steps.tolist()},
        "calibration": {
            **{name: calibration.get(name) for name in ("thresholds", "accuracy_calibration", "images", "shares")},
            **({"int8": comparison.as_json()} if comparison else {}),
        },
        "provenance": {"weights_sha256": card.weights_sha256, "table_attack": table.attack and table.attack.as_json()},
        "tools": {
            "python": platform.python_version(), "torch": torch.__version__, "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        **({"frames": dict(frames)} if frames else {}),
        "files": files,
    }  # fmt: skip


def _activation(tail: onnx.ModelProto, levels: int | None) -> dict[str, Any]:
    """What the head hands over to the tail."""
    shape = tail.graph.input[0].type.tensor_type.shape.dim
    return {"name": "activation", "shape": [each.dim_value for each in shape[1:]], "dtype": "float32", "levels": levels}
