"""Writes bundles: what a device and its host need of one network (device/bundle/reader.py reads them)."""

import json
from pathlib import Path

import numpy as np

from device.bundle.reader import pack_bundle
from device.errors import DataError
from device.pictures.fit import STRETCH
from export.bundle.ceiling import ceiling_of
from export.bundle.comparison_frames import comparison_frames
from export.bundle.frame_set import FILE, MadeFrames, frames_of, pack_frames
from export.bundle.graph_set import activation_levels, bundle_graphs, traffic_of
from export.bundle.int8 import calibration_images, in_int8
from export.bundle.manifest import manifest
from export.bundle.settings import BundleSettings, check_settings
from export.bundle.twin import TwinPart, twin_part
from export.calibration.card import ModelCard, read_card
from export.calibration.shortened import shortened
from export.calibration.table_file import TableFile
from export.calibration.table_reader import own_table
from export.data.classes import check_labels
from export.data.images import Dataset, Images
from export.data.output import replace_folder
from export.networks.loading import load_network
from export.networks.model_files import ModelFiles, shipped
from export.networks.sdn import SDN
from export.onnx.parity import check_defq, check_exits
from export.onnx.parity_forms import check_forms
from export.onnx.parts import export_blocks


def export_bundle(
    model: str,
    out: Path,
    settings: BundleSettings,
    data: Dataset | str | Path | None = None,
    frame_count: int = 0,
    files: ModelFiles | None = None,
) -> Path:
    """Export a trained network with its card and table, check the graphs, and write the bundle.

    Args:
        data: a data set, the folder of one, or None for the places that datasets.load knows.
        frame_count: number of test images to put into the bundle, clean and attacked.
        files: where weights, card and table lie; the shipped ones by default.

    Raises:
        DataError: weights, card or table are absent, the table was learned on other weights, or there are no data for the
            frame set.
        UsageError: the network has no such split.
    """
    files = files or shipped(model)
    network, card, table = load_network(files), read_card(files), own_table(files)
    check_labels(network, card.classes)
    whole, whole_card = network, card
    if settings.last_exit:
        network, card, table = shortened(network, card, table, settings.rad)
    check_settings(model, card, table, out, settings)
    fit, group, source = files.description.fit, files.description.group, files.description.data_source
    calibration = calibration_images(data, network, card.classes, fit, group, source, needed=settings.int8)
    # The whole network is attacked, so that a frame set that was made for a bundle without a last exit serves here too.
    frame_set = (
        frames_of(
            whole,
            whole_card,
            settings.rad,
            data,
            frame_count,
            fit,
            group,
            source,
            files.attacks,
        )
        if frame_count
        else None
    )
    frames, origin = comparison_frames(data, network.input_shape[1:], fit=fit, group=group, source=source)
    twin = twin_part(files, settings.twin, settings, card, frames, origin) if settings.twin else None
    return write_bundle(model, network, card, table, out, settings, frames, origin, frame_set, fit, calibration, twin)


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
    fit: str = STRETCH,
    calibration: Images | None = None,
    twin: TwinPart | None = None,
) -> Path:
    """Write the bundle of any SDN.

    Args:
        model: a name for it.
        network: in evaluation mode.
        card: of which classes, relative costs and thresholds are needed (export.calibration.calibrate measures it).
        table: of which the steps alone are needed.
        out: the folder; an existing bundle in it is replaced, anything else is left alone.
        frames: uint8 (n, h, w, c) to compare the graphs with PyTorch on.
        origin: what these frames are, for the messages.
        frame_set: for the device's bench and preview (export.bundle.frame_set.make_frames makes it).
        fit: how the device brings its frames to the size of the network (device/pictures/fit.py).
        calibration: images that a bundle in 8 bits is calibrated with, and on which the ceiling is measured; without them a
            bundle in float32 has no ceiling.
        twin: the hardened twin that the bundle carries beside the network.

    Raises:
        DataError: the graphs do not agree with PyTorch, the table was learned on other weights, or labels or frame set are
            not of this network.
    """
    check_settings(model, card, table, out, settings)
    check_labels(network, card.classes)
    if settings.int8 and calibration is None:
        raise DataError(
            "found no calibration images for a bundle in 8 bits; expected some, because they set the scales"
        )
    threshold = float(card.thresholds[settings.rad].threshold)
    exported = export_blocks(network)
    traffic = traffic_of(network, card, settings.rad)
    graphs = bundle_graphs(exported, network.input_shape, settings, threshold, table.steps, traffic)
    split = settings.exits_on_device(len(card.relative_costs))
    levels = activation_levels(graphs["head_flat"], frames[:50]) if "tail" in graphs else None
    check_exits(network, graphs, split, threshold, frames, origin)
    comparison = None
    if settings.int8 and calibration is not None:
        graphs, levels, card, comparison = in_int8(
            network, exported, graphs, card, table.steps, settings, calibration, frames, origin
        )
        threshold = float(card.thresholds[settings.rad].threshold)
    if settings.fuse_defq:
        check_defq(graphs["head"], table.steps, frames, origin)
    if levels is not None:
        check_forms(graphs, table.steps, levels, threshold, frames, origin)

    contents = {f"{name}.onnx": graph.SerializeToString() for name, graph in graphs.items()}
    contents["table.json"] = (json.dumps(table.as_json(), indent=1) + "\n").encode()
    contents["labels.txt"] = ("\n".join(card.classes) + "\n").encode()
    contents.update(twin.contents if twin else {})
    about_frames = None
    if frame_set is not None:
        contents[FILE], about_frames = pack_frames(frame_set, network.input_shape, len(card.classes))
    about = manifest(
        model, network, fit, card, table, settings, graphs, levels, about_frames, comparison, contents, exported.shapes
    )
    if twin:
        about["twin"] = dict(twin.about)
    contents["manifest.json"] = (json.dumps(about, indent=1) + "\n").encode()
    if "tail" in graphs and (ceiling := ceiling_of(contents, calibration)):
        contents["manifest.json"] = (json.dumps({**about, "ceiling": ceiling}, indent=1) + "\n").encode()
    replace_folder(out, contents)
    print(f"wrote {about['id']} to {out} ({sum(len(each) for each in contents.values()) / 1e6:.1f} MB)")
    if settings.archive:
        archive = out.parent / f"{out.name}.tar.gz"
        pack_bundle(str(out), str(archive))
        print(f"wrote {archive}")
    return out
