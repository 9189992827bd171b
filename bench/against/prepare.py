"""python -m bench.against.prepare --model NAME --out DIR: the graphs, bundles and frames of one network for the comparison."""

import argparse
import sys
from pathlib import Path

from bench.against.contenders import write_contenders
from device.system.console import run_command
from export.bundle.comparison_frames import comparison_frames
from export.bundle.frame_set import frames_of
from export.calibration.card import read_card
from export.calibration.table_reader import own_table
from export.networks.loading import load_network
from export.networks.model_files import find


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.against.prepare", description=__doc__)
    parser.add_argument("--model", required=True, help="a shipped name or a model folder")
    parser.add_argument("--data", help="as of defq bundle")
    parser.add_argument(
        "--split", type=int, default=3, help="exits on the device in the contenders with a split (default 3)"
    )
    parser.add_argument("--frames", type=int, default=60, help="of each kind (default 60)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--debug", action="store_true")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _run(arguments), arguments.debug)


def _run(arguments: argparse.Namespace) -> int:
    files = find(arguments.model, None)
    network, card, table = load_network(files), read_card(files), own_table(files)
    fit, group, source = files.description.fit, files.description.group, files.description.data_source
    made = frames_of(network, card, 5, arguments.data, arguments.frames, fit, group, source)
    frames, _ = comparison_frames(arguments.data, network.input_shape[1:], fit=fit, group=group, source=source)
    write_contenders(files.model, network, card, table, arguments.split, frames, made, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
