"""python -m export attack: attacked frames as files, or a live attacker."""

import argparse
from pathlib import Path

from device.errors import UsageError
from device.system.options import whole
from export.attacks import DeepSlothLinf, UniversalLinf
from export.attacks.server import serve
from export.calibration.card import known_classes
from export.data import datasets
from export.data.classes import check_classes
from export.data.frames import to_pixels, write_frames
from export.networks.model_files import WEIGHTS_HELP, find, shown
from export.networks.weights import load_network, to_tensor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", type=Path, metavar="FILE", help=WEIGHTS_HELP)
    parser.add_argument("--images", type=whole(1), default=300)
    parser.add_argument("--form", choices=("linf", "universal"), default="linf")
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument("--out", type=Path, metavar="DIR", help="gets clean.npz and attacked.npz")
    parser.add_argument(
        "--serve", action="store_true", help="attack frames of a device's preview instead, as they come"
    )
    parser.add_argument("--split", type=whole(1, 1000), default=3, help="serve: exits on the device (default 3)")
    parser.add_argument("--steps", type=whole(1, 100), default=10, help="serve: gradient steps a frame (default 10)")
    parser.add_argument(
        "--address", default="127.0.0.1", help="serve: to listen on (default 127.0.0.1: this machine alone)"
    )
    parser.add_argument("--port", type=whole(0, 65535), default=8090, help="serve: 0 = any free one (default 8090)")
    parser.add_argument("--token", help="serve: that a device needs (default beyond this machine: made up and printed)")
    parser.add_argument("--threads", type=whole(1, 64), default=1, help="serve: of PyTorch (default 1)")


def run(arguments: argparse.Namespace) -> int:
    if arguments.images < 1:
        raise UsageError(f"found --images {arguments.images}; expected 1 or more")
    files = find(arguments.model, arguments.weights)
    network = load_network(arguments.model, files.weights)
    print(f"reads weights {shown(files.weights)}", flush=True)
    if arguments.serve:
        return serve(
            arguments.model, network, files.sha256, arguments.split, arguments.steps, arguments.address, arguments.port,
            arguments.token, arguments.threads,
        )  # fmt: skip
    if arguments.out is None:
        raise UsageError(
            "found neither --out nor --serve; expected a folder for the frames, or --serve for a live attacker"
        )
    data = datasets.load(arguments.data)
    check_classes(network, data, known_classes(files))
    images = data.test.take(arguments.images)
    clean = to_tensor(images.pixels)
    if arguments.form == "universal":
        learned_on = to_tensor(data.calibration.take(1000).pixels)
        attacked = (clean + UniversalLinf()(network, learned_on, arguments.seed)).clamp(0, 1)
    else:
        attacked = DeepSlothLinf()(network, clean, arguments.seed)
    write_frames(arguments.out / "clean.npz", images.pixels, images.labels)
    write_frames(arguments.out / "attacked.npz", to_pixels(attacked), images.labels)
    print(f"wrote {len(clean)} frames to {arguments.out}/clean.npz and attacked.npz; {data.order}")
    return 0
