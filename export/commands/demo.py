"""defq demo: the main job from end to end. It exports a bundle, attacks frames, serves the tail and runs the device once for
each condition, then compares the runs."""

import argparse
import contextlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from device.bundle.reader import Bundle, load_bundle
from device.errors import EdgeError, HostError
from device.system.console import duration
from device.system.files import read_bounded
from device.system.json_text import read_json
from device.system.options import whole
from export.attacks.base import slowdown_gradient
from export.attacks.linf import DeepSlothLinf
from export.bundle.settings import BundleSettings
from export.bundle.writer import export_bundle
from export.calibration.card import read_card
from export.calibration.split_choice import SplitChoice, usual_split
from export.commands.demo_frames import FRAMES, SIDE, demo_frames, usual_count
from export.commands.options import add_data, add_debug, add_model
from export.data.frames import to_pixels, write_frames
from export.data.output import make_folder
from export.evaluation.demo_report import DemoCondition, DemoReport
from export.evaluation.histograms import exit_histograms
from export.evaluation.run_facts import write_json
from export.networks.find import model_names
from export.networks.loading import load_network
from export.networks.model_files import ModelFiles, find_own, in_folder, shipped
from export.networks.sdn import SDN, folded
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
MAX_SUMMARY_BYTES = 1 << 20
TIMES = {4: "four", 6: "six"}
TRIAL = 8
"""Frames that are attacked for a moment, to tell how long the attack will take."""


EXAMPLES = ("defq demo", "defq demo --model signs --frames 100 --out build/demo")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser, required=False, default="vgg16")
    add_data(parser)
    parser.add_argument(
        "--frames",
        type=whole(1),
        help=f"test images, or frames of a camera (default {FRAMES}, above {SIDE} x {SIDE} pixels fewer)",
    )
    parser.add_argument(
        "--split",
        type=whole(1, 1000),
        metavar="K",
        help="exits on the device (default: 3 for CIFAR-10, else chosen from where calibration images leave)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), metavar="DIR", help="folder of the report (default demo)"
    )
    add_debug(parser)


def run(arguments: argparse.Namespace) -> int:
    files = find_own(named(arguments.network)) if arguments.network else demo_files(arguments.model)
    return run_demo(files, arguments.frames, arguments.out, arguments.data, arguments.split)


def demo_files(model: str) -> ModelFiles:
    """The shipped files of a network, or those of a model folder."""
    return shipped(model) if model in model_names() else in_folder(Path(model))


def run_demo(files: ModelFiles, frames: int | None, out: Path, data: str | None, split: int | None = None) -> int:
    """Write report.json and exit_histograms.png to ``out`` and print the table.

    Args:
        frames: how many test images, or frames of the virtual camera where there is no data set; None for as many as suit the
            network's size.
        split: how many exits are on the device; None for the usual number of this network.
    """
    make_folder(out)
    (out / "report.json").unlink(missing_ok=True)  # a run that fails must not leave the figures of an older run
    print("1/4 frames", flush=True)
    network = folded(load_network(files))
    shown = demo_frames(files, network, frames or usual_count(network.input_shape[1:]), data)
    print(f"    {len(shown.pixels)} frames: {shown.source}", flush=True)
    print("2/4 bundle", flush=True)
    choice = SplitChoice(split, "as you asked") if split else usual_split(read_card(files), shown.rad)
    print(f"    {choice.told()}", flush=True)
    settings = BundleSettings(split=choice.split, rad=shown.rad)
    bundle = load_bundle(str(export_bundle(files.model, out / "bundle", settings, shown.data or data, files=files)))
    attack, clean = DeepSlothLinf(), to_tensor(shown.pixels)
    seconds = attack.iterations * len(clean) * gradient_s(network, clean[:TRIAL])
    print(
        f"3/4 attack: DeepSloth L-inf, eps 8/256, 30 iterations, rounded to 8 bits; about {duration(seconds)}",
        flush=True,
    )
    attacked = to_pixels(attack(network, clean))
    write_frames(out / "clean.npz", shown.pixels, shown.labels)
    write_frames(out / "attacked.npz", attacked, shown.labels)
    conditions = demo_conditions(bundle)
    print(f"4/4 the device, {TIMES[len(conditions)]} times, against the host", flush=True)
    runs = {}
    with host_process(out / "bundle") as url:
        for name, (which, defq) in conditions.items():
            runs[name] = run_device(out, f"{which}.npz", defq, url, name)
    report = DemoReport(files.model, bundle.split, shown.source, shown.rad, shown.measure, runs)
    write_json(out / "report.json", report.as_json())
    exit_histograms(report, out / "exit_histograms.png")
    print("\n" + report.table())
    print(f"\nwrote {out}/report.json and {out}/exit_histograms.png")
    return 0


def demo_conditions(bundle: Bundle) -> dict[str, tuple[str, str]]:
    """The conditions of CONDITIONS that a bundle knows: a bundle without a gate has no gated DefQ."""
    if bundle.gate is None:
        print("    gated DefQ is left out: this model's table has no noise gate", flush=True)
    return {name: each for name, each in CONDITIONS.items() if each[1] != "gated" or bundle.gate is not None}


def gradient_s(network: SDN, images: Tensor) -> float:
    """Seconds that one gradient of the attack takes for an image: the faster of two, after one that prepares PyTorch for so many
    images (for signs the first took a quarter longer than those of the attack itself)."""
    times_s = []
    for _ in range(3):
        started_s = time.perf_counter()
        slowdown_gradient(network, images)
        times_s.append(time.perf_counter() - started_s)
    return min(times_s[1:]) / len(images)


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


def run_device(out: Path, frames: str, defq: str, url: str, name: str) -> DemoCondition:
    """Run the device as a process of its own and return its figures.

    Raises:
        EdgeError: it failed, or its summary lacks a figure.
    """
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
    try:
        return DemoCondition.from_summary(read_json(read_bounded(str(summary), MAX_SUMMARY_BYTES)))
    except (OSError, ValueError) as error:
        raise EdgeError(f"could not read the figures of condition {name} in {summary} ({error})") from error
