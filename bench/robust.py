"""python -m bench.robust --model signs: do labels and exits hold when the camera moves, and in front of what is on a desk?

Test photographs are filmed by the virtual camera photos: (device/cameras/movement.py), still and moving, and decided by defq run with all
exits on the device. The same is done with what they show cut out (export/data/cutout.py) and pasted in front of a plain grey, which
shows what the cutting alone does, and in front of scikit-image's photographs. The cut needs plain backgrounds.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench.measure import machine, table
from device.bundle.reader import load_bundle
from device.cameras.open import open_camera
from device.errors import EdgeError
from device.system.console import run_command
from device.system.options import whole
from export.bundle.settings import BundleSettings
from export.bundle.writer import export_bundle
from export.commands.inputs import data_of
from export.data import datasets
from export.data.cutout import pasted
from export.data.images import Images
from export.data.output import make_folder, write_output
from export.networks.find import model_names
from export.networks.model_files import ModelFiles, in_folder, shipped

AMOUNTS = (0.0, 0.5, 1.0, 2.0)
LARGER = 2
"""Photographs are filmed at this multiple of the network's size, so that nothing blurs when the camera comes closer."""
FRAME = 4
"""Frames of the camera have this multiple of the network's size."""
GREY = 200
BACKGROUNDS = {"as taken": AMOUNTS, "plain grey": (0.0,), "photographs": (0.0, 1.0)}
"""Amounts of movement before each background."""
MODES = ("off", "on", "gated")


@dataclass(frozen=True, slots=True)
class Cell:
    """One film under one mode of DefQ.

    Args:
        background: a key of BACKGROUNDS.
        amount: of movement; 0 is a still camera.
        defq: off, on or gated.
        frames: how many were decided.
        accuracy: share of frames with the right label.
        t3_er, efcy: where they left.
        exits: number of frames that left at each exit.
    """

    background: str
    amount: float
    defq: str
    frames: int
    accuracy: float
    t3_er: float
    efcy: float
    exits: list[int]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.robust", description=__doc__)
    parser.add_argument("--model", default="signs", help="the name of a model, or a model folder (default signs)")
    parser.add_argument("--data", metavar="DIR", help="its photographs (default: as defq evaluate finds them)")
    parser.add_argument("--photographs", type=whole(1), default=200, help="of the test split (default 200)")
    parser.add_argument("--frames", type=whole(1), default=10, help="of a photograph for a moving camera (default 10)")
    parser.add_argument("--out", type=Path, default=Path("build/robust.json"), help="default build/robust.json")
    parser.add_argument("--debug", action="store_true", help="print the traceback of an error")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _run(arguments), arguments.debug)


def _run(arguments: argparse.Namespace) -> int:
    name = arguments.model
    files = shipped(name) if name in model_names() else in_folder(Path(name))
    classes, images = test_photographs(files, arguments.data, arguments.photographs)
    with tempfile.TemporaryDirectory() as scratch:
        bundle = export_bundle(
            files.model, Path(scratch) / "bundle", BundleSettings(split=None), arguments.data, files=files
        )
        cells = []
        for background, amounts in BACKGROUNDS.items():
            folder = Path(scratch) / background.replace(" ", "-")
            write_photographs(in_front_of(background, images), classes, folder)
            for amount in amounts:
                cells += film(
                    bundle, folder, background, amount, len(images.labels) * (arguments.frames if amount else 1)
                )
    make_folder(arguments.out.parent)
    results = {
        "machine": machine(),
        "model": files.model,
        "photographs": len(images.labels),
        "cells": [asdict(each) for each in cells],
    }
    write_output(arguments.out, json.dumps(results, indent=1) + "\n")
    print("\n" + report(cells) + f"\n\nwrote {arguments.out}")
    return 0


def test_photographs(files: ModelFiles, data: str | None, count: int) -> tuple[tuple[str, ...], Images]:
    """The classes and the first test photographs, LARGER than the network takes them, fitted as they were for it."""
    found, (height, width) = data_of(data, files), files.description.input_size
    remembered = files.description.photographs
    folder = data or (remembered.folder if remembered else None)
    larger = datasets.load(
        folder, (height * LARGER, width * LARGER), found.fit, found.group, source=files.description.data_source
    )
    return larger.classes, larger.test.take(count)


def in_front_of(background: str, images: Images) -> Images:
    """The photographs with another background: a key of BACKGROUNDS."""
    if background == "as taken":
        return images
    height, width = images.pixels.shape[1:3]
    behind = [np.full((height, width, 3), GREY, np.uint8)]
    if background == "photographs":
        with open_camera(f"photos:?size={width}x{height}&frames=2&seed=1") as camera:
            taken = [camera.read() for _ in range(48)]
        behind = [frame.pixels for frame in taken if frame is not None]
    return images._replace(pixels=pasted(images.pixels, behind))


def write_photographs(images: Images, classes: tuple[str, ...], folder: Path) -> None:
    """One folder a class, one PNG a photograph."""
    for number, (pixels, label) in enumerate(zip(images.pixels, images.labels, strict=True)):
        file = folder / classes[label] / f"{number:05}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))


def film(bundle: Path, folder: Path, background: str, amount: float, frames: int) -> list[Cell]:
    """Film a folder of photographs once for each mode of DefQ that the bundle knows."""
    about = load_bundle(str(bundle))
    height, width = about.input_shape[1] * FRAME, about.input_shape[2] * FRAME
    count = sum(1 for each in folder.rglob("*.png"))
    source = f"photos:{folder}?size={width}x{height}&amount={amount:g}&frames={frames // count}"
    cells = []
    for defq in MODES:
        if defq == "gated" and about.gate is None:
            continue
        figures = _decided(bundle, source, defq, frames)
        cells.append(
            Cell(background, amount, defq, figures["frames"], figures["accuracy"], figures["t3_er"], figures["efcy"],
                 figures["exit_histogram"])
        )  # fmt: skip
        print(f"{background}, movement {amount:g}, DefQ {defq}: {figures['accuracy']:.3f} right", flush=True)
    return cells


def _decided(bundle: Path, source: str, defq: str, frames: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        return _summary(bundle, source, defq, frames, Path(scratch) / "summary.json")


def _summary(bundle: Path, source: str, defq: str, frames: int, summary: Path) -> dict[str, Any]:
    command = [
        sys.executable, "-m", "device", "run", "--bundle", str(bundle), "--source", source, "--defq", defq,
        "--frames", str(frames), "--threads", "1", "--summary", str(summary),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise EdgeError(f"the device ended with exit code {done.returncode} on {source}: {done.stderr.strip()}")
    figures: dict[str, Any] = json.loads(summary.read_text())
    return figures


def report(cells: list[Cell]) -> str:
    rows = [["background", "movement", "DefQ", "frames", "right", "T3-ER", "EFCY", "exits"]]
    for each in cells:
        moves = f"{each.amount:g}" if each.amount else "still"
        exits = " ".join(f"{count / each.frames:.2f}" for count in each.exits)
        rows.append([each.background, moves, each.defq, str(each.frames), f"{each.accuracy:.3f}", f"{each.t3_er:.2f}", f"{each.efcy:.2f}", exits])  # fmt: skip
    return table(rows)


if __name__ == "__main__":
    sys.exit(main())
