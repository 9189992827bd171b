"""The part of a bundle that carries the hardened twin: its head, and its tail unless the twin answers everything on the device.

It is optional: releases that do not know the member ``twin`` of manifest.json use the bundle without it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from device.errors import DataError, UsageError
from device.system.files import read_bounded
from device.system.json_text import read_json
from export.bundle.graph_set import bundle_graphs, traffic_of
from export.bundle.settings import BundleSettings
from export.calibration.card import ModelCard, read_card
from export.calibration.json_fields import Fields
from export.calibration.table_reader import own_table
from export.calibration.twin import FILE, FORMAT, FORMAT_VERSION, twin_files
from export.networks.loading import load_network
from export.networks.model_files import ModelFiles, shown
from export.onnx.parity import check_exits
from export.onnx.parts import IR_VERSION, OPSET, export_blocks

HEAD, BOTH = "head", "both"
FORMS = (HEAD, BOTH)
"""What ``--twin`` takes: the twin's head alone, with all of its exits, or head and tail."""
GRAPHS = ("head", "head_flat", "tail")
MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class TwinPart:
    """What a twin adds to a bundle.

    Args:
        contents: files by their names.
        about: the member ``twin`` of manifest.json.
    """

    contents: Mapping[str, bytes]
    about: Mapping[str, Any]


def twin_part(
    files: ModelFiles, form: str, settings: BundleSettings, card: ModelCard, frames: np.ndarray, origin: str
) -> TwinPart:
    """Export the twin of a network.

    Args:
        files: of the network, in whose folder the twin lies.
        form: one of FORMS.
        settings: of the bundle.
        card: of the network.
        frames: uint8 (n, h, w, c) to compare the graphs with PyTorch on.
        origin: what these frames are, for the messages.

    Raises:
        UsageError: there is no twin, or it has too few exits for the split.
        DataError: it is damaged, or the twin of other weights, or its graphs do not agree with PyTorch.
    """
    twin = twin_files(files)
    defq = _needs_defq(files, twin)
    network, own, table = load_network(twin), read_card(twin), own_table(twin)
    if own.classes != card.classes:
        raise DataError(
            f"found a twin of other classes in {shown(twin.weights.parent)}; expected those of the network; make it again with: "
            f"defq harden {files.option}"
        )
    exits = len(own.relative_costs)
    split = None if form == HEAD or settings.split is None else settings.split
    if split is not None and split >= exits:
        raise UsageError(
            f"found --split {split} for a twin that ends at exit {exits}; expected at most {exits - 1}, or --twin {HEAD}, which has "
            "all exits of the twin on the device"
        )
    chosen = replace(settings, split=split, fuse_defq=False, int8=False, last_exit=False)
    threshold = float(own.thresholds[settings.rad].threshold)
    exported = export_blocks(network)
    traffic = traffic_of(network, own, settings.rad)
    graphs = bundle_graphs(exported, network.input_shape, chosen, threshold, table.steps, traffic)
    count = chosen.exits_on_device(exits)
    check_exits(network, graphs, count, threshold, frames, origin)
    kept = {name: graphs[name] for name in GRAPHS if name in graphs}
    contents = {f"twin_{name}.onnx": graph.SerializeToString() for name, graph in kept.items()}
    contents["twin_table.json"] = (json.dumps(table.as_json(), indent=1) + "\n").encode()
    about = {
        "split": count,
        "exits": [
            {"exit": number, "relative_cost": cost, "side": "device" if number <= count else "host"}
            for number, cost in enumerate(own.relative_costs, start=1)
        ],
        "thresholds": {str(rad): float(point.threshold) for rad, point in own.thresholds.items()},
        "graphs": {
            name: {
                "file": f"twin_{name}.onnx", "opset": OPSET, "ir_version": IR_VERSION,
                "inputs": [each.name for each in graph.graph.input], "outputs": [each.name for each in graph.graph.output],
            }
            for name, graph in kept.items()
        },
        "defq": {"file": "twin_table.json", "before": defq},
        "provenance": {"weights_sha256": own.weights_sha256},
    }  # fmt: skip
    if "tail" in kept:
        shape = kept["tail"].graph.input[0].type.tensor_type.shape.dim
        about["activation"] = {
            "name": "activation",
            "shape": [each.dim_value for each in shape[1:]],
            "dtype": "float32",
        }
    return TwinPart(contents, about)


def _needs_defq(files: ModelFiles, twin: ModelFiles) -> bool:
    """Whether DefQ belongs before the twin, as its file says.

    Raises:
        UsageError: there is no twin. DataError: its file is damaged, or it is the twin of other weights.
    """
    file = twin.weights.with_name(FILE)
    again = f"make it with: defq harden {files.option}"
    if not file.is_file():
        raise UsageError(f"found no twin in {shown(file.parent)}; expected one; {again}")
    try:
        fields = Fields.of(read_json(read_bounded(str(file), MAX_FILE_BYTES)))
        written = (fields.content.get("format"), fields.content.get("format_version"))
        if written != (FORMAT, FORMAT_VERSION):
            raise ValueError(f"found format {written[0]!r} in version {written[1]!r}")
        of, own, defq = fields.text("of_sha256"), fields.text("weights_sha256"), fields.content.get("defq")
        if not isinstance(defq, bool):
            raise ValueError("found no yes or no under defq")
    except (OSError, ValueError) as error:
        raise DataError(f"could not read {file} ({error}); expected it as defq harden writes it; {again}") from error
    if of != files.sha256 or own != twin.sha256:
        raise DataError(
            f"found the twin of weights {of[:12]} in {shown(file.parent)}; expected that of {files.sha256[:12]}; {again}"
        )
    return defq
