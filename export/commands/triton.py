"""defq triton: a bundle's tail as a model repository of NVIDIA Triton Inference Server."""

import argparse
import shlex
from pathlib import Path

from device.bundle.reader import load_bundle
from device.system.options import decimal, whole
from export.bundle.triton import write_repository
from export.commands.options import add_debug

EXAMPLES = (
    "defq triton --bundle build/vgg16 --out build/repository",
    "defq triton --bundle build/vgg16.tar.gz --out build/repository --max-batch 64 --max-wait-ms 5",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", required=True, metavar="DIR", help="folder or .tar.gz")
    parser.add_argument("--out", type=Path, required=True, metavar="REPO", help="for: tritonserver --model-repository")
    parser.add_argument(
        "--max-batch", type=whole(1, 1 << 20), default=32, metavar="N", help="frames in one batch (default 32)"
    )
    parser.add_argument(
        "--max-wait-ms",
        type=decimal(0, 1000),
        default=2,
        metavar="MS",
        help="latency that batching may add (default 2)",
    )
    add_debug(parser)


def run(arguments: argparse.Namespace) -> int:
    bundle = load_bundle(arguments.bundle)
    model = write_repository(bundle, arguments.out, arguments.max_batch, arguments.max_wait_ms)
    print(f"wrote {model}; serve it with: tritonserver --model-repository {shlex.quote(str(arguments.out))}")
    return 0
