"""Writes bundles: what a device and its host need of one network (format: DESIGN, "Bundle"; read by device/bundle/reader.py)."""

import hashlib
import json
import platform
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch

from device.bundle.reader import FORMAT, FORMAT_VERSION, pack_bundle
from device.errors import DataError, UsageError
from device.payload.forms import UINT8, deflated, quantised
from export.bundle.frame_set import FILE, MadeFrames, frames_of, pack_frames
from export.calibration.card import ModelCard, read_card
from export.calibration.shortened import shortened
from export.calibration.table_file import TableFile
from export.calibration.table_reader import own_table
from export.data import datasets
from export.data.classes import check_labels
from export.networks.model_files import ModelFiles, shipped
from export.networks.sdn import SDN
from export.networks.weights import load_network, to_tensor
from export.onnx import graphs, parts
from export.onnx import payload as graph_payload
from export.onnx.cuts import cheapest_handover
from export.onnx.parity import check_defq, check_exits, session
from export.onnx.parity_forms import check_forms

LEVELS = (255, 127, 63)  # of an activation as uint8; the first that takes a seventh of the bytes of float32


class BundleSettings(NamedTuple):
    """split: exits on the device. rad: default relative accuracy drop, percent. fuse_defq: DefQ inside the head graph.
    archive: also write the folder as .tar.gz. last_exit: frames leave at the card's last exit for ``rad``
    at the latest."""

    split: int = 3
    rad: int = 5
    fuse_defq: bool = False
    archive: bool = False
    last_exit: bool = False


def export_bundle(
    model: str,
    out: Path,
    settings: BundleSettings,
    data: str | Path | None = None,
    frame_count: int = 0,
    files: ModelFiles | None = None,
) -> Path:
    """Export a trained network with its card and table, check the graphs, and write the bundle.

    Args:
        files: where weights, card and table lie; the shipped ones by default.
        frame_count: test images to put into it, clean and attacked; export.datasets.load says where they come from.

    Raises:
        DataError: no weights, card or table, the table was learned on other weights, or no data for the frame set.
        UsageError: a split that the network does not have.
    """
    files = files or shipped(model)
    network, card, table = load_network(model, files.weights), read_card(files), own_table(files)
    check_labels(network, card.classes)
    whole, whole_card = network, card
    if settings.last_exit:
        network, card, table = shortened(network, card, table, settings.rad)
    check_settings(model, card, table, out, settings)
    # attacked as a whole: what was made for a bundle without a last exit serves here too
    frame_set = frames_of(whole, whole_card, settings.rad, data, frame_count) if frame_count else None
    frames, origin = check_frames(data, network.input_shape[1:])
    return write_bundle(model, network, card, table, out, settings, frames, origin, frame_set)


def check_frames(data: str | Path | None, size: tuple[int, int], count: int = 200) -> tuple[np.ndarray, str]:
    """Frames to compare the graphs with PyTorch on, uint8 (n, height, width, 3), and where they come from: test
    images of the data set where there is one, else noise smoothed to look like an image.

    Args:
        data: a folder, or None for the places that datasets.load knows.
        size: (height, width) of the network's input.

    Raises:
        DataError: ``data`` or $CIFAR10_DIR names a data set that cannot be read.
    """
    try:
        return datasets.load(data, size, download=False).test.pixels[:count], "test images"
    except DataError:
        if datasets.named(data):
            raise
    generator = np.random.default_rng(0)
    (height, width), patches = size, 4
    coarse = generator.integers(0, 256, (count, patches, patches, 3)).astype(np.float32)
    smooth = coarse.repeat(-(-height // patches), axis=1).repeat(-(-width // patches), axis=2)[:, :height, :width]
    fine = generator.normal(0, 12, (count, height, width, 3))
    return np.clip(smooth + fine, 0, 255).astype(np.uint8), "synthetic frames"


def write_bundle(
    model: str,
    network: SDN,
    card: ModelCard,
    table: TableFile,
    out: Path,
    settings: BundleSettings,
    frames: np.ndarray,
    origin: str = "frames",
    frame_set: MadeFrames | None = None,
) -> Path:
    """Write the bundle of any SDN.

    Args:
        model: a name for it.
        network: in evaluation mode.
        card: of which classes, relative costs and thresholds are needed (export.calibration.calibrate measures it).
        table: of which the steps alone are needed.
        out: the folder; an existing bundle in it is replaced, anything else is left alone.
        frames: uint8 (n, h, w, c) to compare the graphs with PyTorch on; ``origin`` names them.
        frame_set: for the device's bench and preview (export.frame_set.make_frames makes it).

    Raises:
        DataError: the graphs do not agree with PyTorch, the table was learned on other weights, or labels or frame set are
            not of this network.
    """
    check_settings(model, card, table, out, settings)
    check_labels(network, card.classes)
    steps = table.steps
    thresholds = {str(rad): float(point.threshold) for rad, point in card.thresholds.items()}
    calibration = card.as_json()
    exported = parts.export_blocks(network)
    models = _models(exported, network.input_shape, settings, thresholds[str(settings.rad)], steps)
    levels = _levels(models["head_flat"], frames[:50])
    check_exits(network, models, settings.split, thresholds[str(settings.rad)], frames, origin)
    if settings.fuse_defq:
        check_defq(models["head"], steps, frames, origin)
    check_forms(models, steps, levels, thresholds[str(settings.rad)], frames, origin)

    contents = {f"{name}.onnx": graph.SerializeToString() for name, graph in models.items()}
    contents["table.json"] = (json.dumps(table.as_json(), indent=1) + "\n").encode()
    contents["labels.txt"] = ("\n".join(card.classes) + "\n").encode()
    about_frames: dict[str, Any] = {}
    if frame_set is not None:
        contents[FILE], about_frames["frames"] = pack_frames(frame_set, network.input_shape, len(card.classes))
    files: dict[str, Any] = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in contents.items()
    }
    activation = models["tail"].graph.input[0].type.tensor_type.shape.dim
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "id": f"{model}-split{settings.split}-{files['tail.onnx']['sha256'][:8]}",
        "model": model,
        "split": settings.split,
        "labels": list(card.classes),
        "input": {
            "name": "image", "shape": list(network.input_shape), "dtype": "float32", "range": [0, 1],
            "color_order": "RGB", "layout": "NCHW",
        },
        "activation": {
            "name": "activation", "shape": [each.dim_value for each in activation[1:]], "dtype": "float32", "levels": levels,
        },
        "exits": [
            {"exit": number, "relative_cost": cost, "side": "device" if number <= settings.split else "host"}
            for number, cost in enumerate(card.relative_costs, start=1)
        ],
        "thresholds": thresholds,
        "default_rad": settings.rad,
        "graphs": {
            name: {
                "file": f"{name}.onnx", "opset": parts.OPSET, "ir_version": parts.IR_VERSION,
                "inputs": [each.name for each in graph.graph.input], "outputs": [each.name for each in graph.graph.output],
            }
            for name, graph in models.items()
        },
        "defq": {"file": "table.json", "fused": settings.fuse_defq, "table": steps.tolist()},
        "calibration": {name: calibration.get(name) for name in ("thresholds", "accuracy_calibration", "images", "shares")},
        "provenance": {"weights_sha256": card.weights_sha256, "table_attack": table.attack and table.attack.as_json()},
        "tools": {
            "python": platform.python_version(), "torch": torch.__version__, "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        **about_frames,
        "files": files,
    }  # fmt: skip
    contents["manifest.json"] = (json.dumps(manifest, indent=1) + "\n").encode()
    _replace(out, contents)
    print(f"wrote {manifest['id']} to {out} ({sum(len(each) for each in contents.values()) / 1e6:.1f} MB)")
    if settings.archive:
        archive = out.parent / f"{out.name}.tar.gz"
        pack_bundle(str(out), str(archive))
        print(f"wrote {archive}")
    return out


def check_settings(model: str, card: ModelCard, table: TableFile, out: Path, settings: BundleSettings) -> None:
    """Say what stands against a bundle before anything that takes long.

    Raises:
        UsageError: a split that the network does not have, or a folder that holds something else.
        DataError: the table was learned on other weights.
    """
    exits = len(card.relative_costs)
    if not 1 <= settings.split <= exits - 1:
        raise UsageError(
            f"found --split {settings.split}; expected 1 to {exits - 1}, the internal classifiers of {model}"
            + (" before its last exit" if settings.last_exit else "")
        )
    if table.weights_sha256 not in (None, card.weights_sha256):
        raise DataError(
            f"found a table learned on weights {str(table.weights_sha256)[:12]}; the weights are {str(card.weights_sha256)[:12]}; "
            f"bake it again with: python -m export table --model {model}"
        )
    if out.exists() and not out.is_dir():
        raise UsageError(f"found a file at {out}; expected a folder to write the bundle to; choose another --out")
    if out.is_dir() and any(out.iterdir()) and not (out / "manifest.json").is_file():
        raise UsageError(
            f"found a folder with other files at {out}; expected a new or empty one, or an earlier bundle; choose another --out"
        )


def _models(
    exported: parts.ExportedBlocks,
    shape: tuple[int, ...],
    settings: BundleSettings,
    threshold: float,
    steps: np.ndarray,
) -> dict[str, onnx.ModelProto]:
    """All graphs by name."""
    split = settings.split
    nested, again = cheapest_handover(exported, split)
    table = steps if settings.fuse_defq else None
    return {
        "head": graphs.nested_head(nested, split, shape, threshold, again=again, table=table),
        "head_flat": graphs.flat_head(exported, split, shape, threshold),
        "tail": graphs.tail(exported, split),
        "from_uint8": graph_payload.from_uint8(exported.shapes[split - 1]),
        "from_coefficients": graph_payload.from_coefficients(exported, split, shape),
    }


def _levels(head: onnx.ModelProto, frames: np.ndarray) -> int:
    """The finest of LEVELS with which activations of these frames take a seventh of their bytes in float32."""
    activation = session(head).run(["activation"], {"image": to_tensor(frames).numpy()})[0]
    for levels in LEVELS:
        values = quantised(activation, levels).values
        if sum(len(deflated(each.tobytes(), UINT8)) for each in values) <= activation.nbytes / 7:
            return levels
    return LEVELS[-1]


def _replace(out: Path, contents: dict[str, bytes]) -> None:
    """Write the files beside the folder and swap: a run that is cut off leaves no half bundle under the name."""
    partial = out.with_name(out.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, content in contents.items():
            (partial / name).write_bytes(content)
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UsageError(
            f"could not write the bundle to {out} ({error.strerror}); expected a folder with {sum(map(len, contents.values())) >> 20} MB of space; choose another --out"
        ) from error
