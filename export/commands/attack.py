"""defq attack: attacked frames as files, or a live attacker of a device's preview."""

import argparse
from pathlib import Path

from device.errors import UsageError
from device.system.options import whole
from export.attacks.linf import DeepSlothLinf
from export.attacks.server import serve
from export.attacks.universal import UniversalLinf
from export.calibration.card import known_classes
from export.commands.inputs import data_for, find_files
from export.commands.options import add_data, add_debug, add_model, add_split, add_weights
from export.data.classes import check_classes
from export.data.frames import to_pixels, write_frames
from export.networks.loading import load_network
from export.networks.model_files import shown
from export.networks.weights import to_tensor

EXAMPLES = (
    "defq attack --model vgg16 --images 200 --out build/frames",
    "defq attack --model vgg16 --serve --address 0.0.0.0",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_weights(parser)
    add_data(parser)
    add = parser.add_argument
    add("--images", type=whole(1), default=300, help="test images to attack (default 300)")
    add(
        "--form",
        choices=("linf", "universal"),
        default="linf",
        help="each image on its own, or one perturbation for all (default linf)",
    )
    add("--seed", type=whole(0), default=0, help="of the attack's random numbers (default 0)")
    add("--out", type=Path, metavar="DIR", help="gets clean.npz and attacked.npz")
    add("--serve", action="store_true", help="attack the frames of a device's preview instead, as they come")
    add_split(parser, "with --serve: exits on the device, as of the bundle (default 3)")
    add("--steps", type=whole(1, 100), default=10, help="with --serve: gradient steps for a frame (default 10)")
    add(
        "--address",
        default="127.0.0.1",
        help="with --serve: address to listen on (default 127.0.0.1: this machine alone)",
    )
    add("--port", type=whole(0, 65535), default=8090, help="with --serve: port, 0 for any free one (default 8090)")
    add(
        "--token",
        help="with --serve: token that a device must send (default on other addresses than this machine's: a new one, printed)",
    )
    add("--threads", type=whole(1, 64), default=1, help="with --serve: threads of PyTorch (default 1)")
    add_debug(parser)


def run(arguments: argparse.Namespace) -> int:
    files = find_files(arguments)
    network = load_network(files)
    print(f"reads weights {shown(files.weights)}", flush=True)
    if arguments.serve:
        return serve(
            files.model, network, files.sha256, arguments.split, arguments.steps, arguments.address, arguments.port,
            arguments.token, arguments.threads,
        )  # fmt: skip
    if arguments.out is None:
        raise UsageError(
            "found neither --out nor --serve; expected a folder for the frames, or --serve for a live attacker"
        )
    data = data_for(arguments, files)
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
