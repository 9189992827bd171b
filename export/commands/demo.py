"""defq demo: the main job from end to end. It exports a bundle, attacks frames, serves the tail and runs the device six
times, then compares the runs."""

import argparse
import contextlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from device.bundle.reader import Bundle, load_bundle
from device.cameras.open import open_camera
from device.errors import DataError, EdgeError, HostError
from device.loop.preprocess import Preprocessor
from device.system.options import whole
from export.attacks.linf import DeepSlothLinf
from export.bundle.settings import BundleSettings
from export.bundle.writer import export_bundle
from export.calibration.card import read_card
from export.calibration.cost import score
from export.commands.inputs import check_data_named
from export.commands.options import add_data, add_debug, add_model
from export.data import datasets
from export.data.classes import check_classes
from export.data.frames import to_pixels, write_frames
from export.data.output import make_folder, write_output
from export.evaluation.histograms import exit_histograms
from export.networks.find import model_names
from export.networks.loading import load_network
from export.networks.model_files import ModelFiles, find_own, in_folder, shipped
from export.networks.sdn import folded
from export.networks.user_code import named
from export.networks.weights import to_tensor

CONDITIONS = {
    "clean": ("clean", "off"),
    "clean_defq": ("clean", "on"),
    "clean_gated": ("clean", "gated"),
    "attacked": ("attacked", "off"),
    "attacked_defq": ("attacked", "on"),
    "attacked_gated": ("attacked", "gated"),
}
KEPT = ("frames", "edge_exit_ratio", "t3_er", "efcy", "latency_ms", "frames_to_host", "bytes_to_host", "exit_histogram")
DOWNLOAD_LIMIT_S = 90
PHOTO_RAD = 10
"""The networks were not trained on photographs: at RAD 5 too few of them leave early for an attack to be seen."""
PHOTO_SOURCE = "photos:?size=480x480"  # square, as the networks' input
PHOTO_STEP = 3  # every third frame of the virtual camera: neighbours look alike


EXAMPLES = ("defq demo", "defq demo --model mobilenet --frames 100 --out build/demo")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser, required=False, default="vgg16")
    add_data(parser)
    parser.add_argument("--frames", type=whole(1), default=300, help="test images, or frames of a camera (default 300)")
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), metavar="DIR", help="folder of the report (default demo)"
    )
    add_debug(parser)


def run(arguments: argparse.Namespace) -> int:
    files = find_own(named(arguments.network)) if arguments.network else demo_files(arguments.model)
    return run_demo(files, arguments.frames, arguments.out, arguments.data)


def demo_files(model: str) -> ModelFiles:
    """The shipped files of a network, or those of a model folder."""
    return shipped(model) if model in model_names() else in_folder(Path(model))


def run_demo(files: ModelFiles, frames: int, out: Path, data: str | None) -> int:
    """Write report.json and exit_histograms.png to ``out`` and print the table.

    Args:
        frames: how many test images, or frames of the virtual camera where there is no data set.
    """
    make_folder(out)
    (out / "report.json").unlink(missing_ok=True)  # a run that fails must not leave the figures of an older run
    print("1/4 frames", flush=True)
    clean, labels, source = demo_frames(files, frames, data)
    print(f"    {len(clean)} frames: {source}", flush=True)
    print("2/4 bundle", flush=True)
    rad, measure = (PHOTO_RAD, "agreement") if labels is None else (5, "accuracy")
    bundle = load_bundle(
        str(export_bundle(files.model, out / "bundle", BundleSettings(rad=rad), data=data, files=files))
    )
    print("3/4 attack: DeepSloth L-inf, eps 8/256, 30 iterations, rounded to 8 bits", flush=True)
    network = folded(load_network(files))
    if clean.shape[1:3] != bundle.input_shape[1:]:
        clean = shrunk(clean, bundle)
    if labels is None:
        labels = score(network, clean).classes[-1]  # the answer of the undefended full network for the clean frame
    attacked = to_pixels(DeepSlothLinf()(network, to_tensor(clean)))
    write_frames(out / "clean.npz", clean, labels)
    write_frames(out / "attacked.npz", attacked, labels)
    print("4/4 the device, six times, against the host", flush=True)
    report: dict[str, Any] = {
        "model": files.model,
        "split": bundle.split,
        "source": source,
        "rad": rad,
        "conditions": {},
    }
    with host_process(out / "bundle") as url:
        for name, (which, defq) in CONDITIONS.items():
            figures = run_device(out, f"{which}.npz", defq, url, name)
            kept = {key: figures[key] for key in KEPT}
            report["conditions"][name] = {**kept, measure: figures["accuracy"]}
    write_output(out / "report.json", json.dumps(report, indent=1) + "\n")
    exit_histograms(report, out / "exit_histograms.png")
    print("\n" + report_table(report, measure))
    print(f"\nwrote {out}/report.json and {out}/exit_histograms.png")
    return 0


def demo_frames(files: ModelFiles, count: int, data: str | None) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Frames uint8 (n, h, w, 3), their labels where they are known, and what they are, in words.

    Raises:
        DataError: ``data``, $CIFAR10_DIR or $SIGNS_DIR names a data set that cannot be read.
    """
    description = files.description
    try:
        network = load_network(files)
        check_data_named(data, files)
        found = datasets.load(
            data,
            network.input_shape[1:],
            description.fit,
            description.group,
            source=description.data_source,
            download_limit_s=DOWNLOAD_LIMIT_S,
        )
        check_classes(network, found, read_card(files).classes)
        images = found.test.take(count)
        return images.pixels, images.labels, found.test_title()
    except DataError as error:
        if datasets.named(data, description.data_source):
            raise
        print(f"    no data set: {error}", flush=True)
    with open_camera(PHOTO_SOURCE) as camera:
        taken = [camera.read() for _ in range(count * PHOTO_STEP)][::PHOTO_STEP]
    frames = np.stack([frame.pixels for frame in taken if frame is not None])
    return (
        frames,
        None,
        "photos: frames of a virtual camera (no data set here); agreement with the full network on the clean frame",
    )


def shrunk(frames: np.ndarray, bundle: Bundle) -> np.ndarray:
    """Camera frames at the size that the network sees: uint8 (n, height, width, 3)."""
    prepare = Preprocessor(bundle)
    return np.stack([prepare.resize(frame) for frame in frames])


@contextlib.contextmanager
def host_process(bundle: Path, *options: str) -> Iterator[str]:
    """Start a host on a free port, give its URL, and stop it at the end.

    Raises:
        HostError: the host did not start within a minute.
    """
    command = [sys.executable, "-m", "host", "serve", "--bundle", str(bundle), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    timer = threading.Timer(60, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        timer.cancel()
        found = re.search(r"http://\S+", line)
        if not found:
            raise HostError(f"the host did not start ({line.strip() or 'it printed nothing'}); see its message above")
        yield found.group()
    finally:
        timer.cancel()
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_device(out: Path, frames: str, defq: str, url: str, name: str) -> dict[str, Any]:
    """Run the device as a process of its own and return its summary."""
    summary, decisions = out / f"{name}.json", out / f"{name}.jsonl"
    decisions.unlink(missing_ok=True)  # the device would append to the lines of an older run
    command = [
        sys.executable, "-m", "device", "run", "--bundle", str(out / "bundle"), "--source", f"npz:{out / frames}",
        "--host", url, "--require-host", "--defq", defq, "--connections", "1", "--timeout-ms", "10000",
        "--payload", "fp32",  # the same form in all runs, so that only exits change their traffic
        "--jsonl", str(decisions), "--summary", str(summary),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise EdgeError(
            f"the device ended with exit code {done.returncode} under condition {name}: {done.stderr.strip()}"
        )
    figures: dict[str, Any] = json.loads(summary.read_text())
    return figures


def report_table(report: dict[str, Any], measure: str) -> str:
    """The report as a table for the console."""
    rows = [["", "on device", "T3-ER", "EFCY", measure, "mean ms", "p99 ms", "to host", "kB sent"]]
    for name, figures in report["conditions"].items():
        latency = figures["latency_ms"]
        rows.append(
            [
                name.replace("_defq", " + DefQ").replace("_gated", " + gated DefQ"),
                f"{figures['edge_exit_ratio']:.0%}",
                f"{figures['t3_er']:.2f}",
                f"{figures['efcy']:.2f}",
                f"{figures[measure]:.2f}",
                f"{latency['mean']:.2f}",
                f"{latency['p99']:.2f}",
                str(figures["frames_to_host"]),
                f"{figures['bytes_to_host'] / 1000:.0f}",
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(
        [
            f"{report['model']}, exits 1..{report['split']} on the device, RAD {report['rad']} %, {report['source']}",
            *lines,
        ]
    )
