"""python -m export: train | calibrate | table | gate | monitor | search | attack | bundle | evaluate | triton | kit | demo."""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from device.errors import UsageError, run_command
from export import datasets, triton
from export.attacks import cli as attack
from export.bundle import BundleSettings, export_bundle
from export.evaluation.cli import add_arguments as add_evaluate_arguments
from export.evaluation.cli import run as evaluate_command
from export.evaluation.gate import calibrate_gate
from export.evaluation.monitor_shares import calibrate_monitor
from export.evaluation.subject import PER_SAMPLE, shipped_subject
from export.evaluation.table_search import search_table
from export.kit import cli as kit
from export.model_card import calibrate, write_card
from export.networks import NETWORKS, folded
from export.quantization_table import (
    TABLES,
    TableSettings,
    add_to_table,
    learn_table,
    read_table,
    table_provenance,
    write_table,
)
from export.training import RECIPES, train
from export.weights import file_sha256, load_network, save_network, weights_file

WEIGHTS_HELP = "other weights: ours, or of the public SDN code (docs/importing.md)"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m export", description="Train, calibrate, attack and export early-exit networks."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, model: bool = True, data: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        if model:
            sub.add_argument("--model", required=True, choices=sorted(NETWORKS))
        if data:
            sub.add_argument(
                "--data",
                metavar="DIR",
                help="CIFAR-10 or class folders of images (default: $CIFAR10_DIR, else a download)",
            )
        sub.add_argument("--debug", action="store_true", help="print the traceback of an error")
        return sub

    sub = command("train", "Train a network; goes on from its checkpoint after a kill.")
    sub.add_argument("--epochs", type=int)
    sub.add_argument("--peak-rate", type=float, help="highest learning rate of the one-cycle schedule")
    sub.add_argument("--batch", type=int, help="images a step (default 256)")
    sub.add_argument("--start", type=Path, metavar="FILE", help="safetensors to begin from instead of random weights")
    sub.add_argument(
        "--quantised", type=float, metavar="SHARE", help="of a batch to show quantised, 0 to 1 (default 0)"
    )
    sub.add_argument("--out", type=Path, metavar="FILE", help="default: models/MODEL.safetensors")
    sub.add_argument("--checkpoint", type=Path, metavar="FILE", help="default: build/train/MODEL.checkpoint")

    sub = command("calibrate", "Measure costs, accuracies and thresholds; write the model card.")
    sub.add_argument("--weights", type=Path, metavar="FILE", help=WEIGHTS_HELP)
    sub = command("table", "Learn Q_def by Algorithm 1 from DeepSloth L-inf.")
    sub.add_argument("--samples", type=int, default=1000, help="calibration images (default 1000)")
    sub.add_argument(
        "--range", type=int, nargs=2, default=(20, 60), metavar=("LOW", "HIGH"), help="of the steps (default 20 60)"
    )
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument(
        "--attack", choices=sorted(PER_SAMPLE), default="linf", help="whose traces to learn (default linf)"
    )
    sub.add_argument("--weights", type=Path, metavar="FILE", help=WEIGHTS_HELP)
    sub.add_argument("--out", type=Path, metavar="FILE", help="default: tables/MODEL.json")

    sub = command("gate", "Calibrate the noise gate of tables/MODEL.json.")
    sub.add_argument(
        "--blind", action="store_true",
        help="expect no attacker who knows the defence: attacked frames leave later, and more of them right",
    )  # fmt: skip
    sub.add_argument(
        "--last-exit", type=int, choices=(5, 10), metavar="RAD",
        help="another one, for bundles that end at the last exit for this RAD (bundle --last-exit)",
    )  # fmt: skip
    command("monitor", "Calibrate the attack monitor of tables/MODEL.json.")
    command("search", "Search a table that restores more than Q_def for a bounded loss on clean images.")

    attack.add_arguments(
        command(
            "attack", "Write clean and attacked test images as .npz frames for the device, or attack a device live."
        )
    )

    sub = command("bundle", "Export head, tail, thresholds and table for a device and its host.")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR")
    sub.add_argument("--split", type=int, default=3, help="exits on the device (default 3)")
    sub.add_argument("--rad", type=int, choices=(5, 10), default=5, help="default relative accuracy drop in percent")
    sub.add_argument("--fuse-defq", action="store_true", help="put DefQ into the head graph")
    sub.add_argument("--table", type=Path, metavar="FILE", help="default: tables/MODEL.json")
    sub.add_argument("--weights", type=Path, metavar="FILE", help=WEIGHTS_HELP)
    sub.add_argument("--frames", type=int, metavar="N",
        help="put the first N test images into it, clean and attacked, for device bench and preview")  # fmt: skip
    sub.add_argument("--archive", action="store_true", help="also write DIR.tar.gz")
    sub.add_argument(
        "--last-exit", action="store_true",
        help="end the network at its last exit for --rad: no attack makes a frame cost more",
    )  # fmt: skip

    add_evaluate_arguments(command("evaluate", "Attacks x defences in figures, and the reports.", model=False))

    triton.add_arguments(
        command("triton", "Write a bundle's tail as a model repository of NVIDIA Triton.", model=False, data=False)
    )

    kit.add_arguments(command("kit", "Build a flash kit for a board.", model=False, data=False))

    sub = command("demo", "Export, attack, serve and run: the whole story in one table.", model=False)
    sub.add_argument("--model", choices=sorted(NETWORKS), default="vgg16")
    sub.add_argument("--frames", type=int, default=300)
    sub.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR")

    arguments = parser.parse_args(argv)
    return run_command(lambda: COMMANDS[arguments.command](arguments), arguments.debug)


def _train(arguments: argparse.Namespace) -> int:
    model: str = arguments.model
    recipe = RECIPES[model]
    recipe = recipe._replace(
        epochs=arguments.epochs or recipe.epochs,
        peak_rate=arguments.peak_rate or recipe.peak_rate,
        batch=arguments.batch or recipe.batch,
        quantised=recipe.quantised if arguments.quantised is None else arguments.quantised,
    )
    if not 0 <= recipe.quantised <= 1:
        raise UsageError(f"found --quantised {recipe.quantised}; expected a share from 0 to 1")
    checkpoint = arguments.checkpoint or Path("build/train") / f"{model}.checkpoint"
    data = datasets.load(arguments.data)
    begun = f"from weights {file_sha256(arguments.start)[:12]}" if arguments.start else "from random weights"
    network = train(model, data, recipe, checkpoint, arguments.start)
    out = arguments.out or weights_file(model)
    save_network(network, out, ", ".join([begun, *(f"{name} {value}" for name, value in recipe._asdict().items())]))
    card = write_card(calibrate(model, load_network(model, out), data, out), out)
    print(f"wrote {out} and {card}; bake its table with: python -m export table --model {model}")
    return 0


def _calibrate(arguments: argparse.Namespace) -> int:
    weights = arguments.weights or weights_file(arguments.model)
    card = calibrate(arguments.model, load_network(arguments.model, weights), datasets.load(arguments.data), weights)
    print(f"wrote {write_card(card, weights)}")
    for rad, point in card["thresholds"].items():
        print(f"RAD {rad} %: " + ", ".join(f"{name} {value}" for name, value in point.items()))
    return 0


def _table(arguments: argparse.Namespace) -> int:
    low, high = arguments.range
    if not 1 <= low < high <= 255:
        raise UsageError(f"found --range {low} {high}; expected 1 <= LOW < HIGH <= 255")
    if arguments.samples < 1:
        raise UsageError(f"found --samples {arguments.samples}; expected 1 or more")
    settings = TableSettings(arguments.samples, low, high, arguments.seed)
    attack = PER_SAMPLE[arguments.attack]
    network = load_network(arguments.model, arguments.weights)
    table, ratios, ids = learn_table(folded(network), datasets.load(arguments.data).calibration, settings, attack)
    out = arguments.out or TABLES / f"{arguments.model}.json"
    sha256 = file_sha256(arguments.weights or weights_file(arguments.model))
    write_table(out, arguments.model, table, table_provenance(settings, attack, ratios, ids, sha256))
    print(f"wrote {out}: steps {table.min()} to {table.max()}, mean {table.mean():.1f}")
    if out == TABLES / f"{arguments.model}.json":
        again = ", ".join(
            f"python -m export {name} --model {arguments.model}"
            for name in ("gate", "gate --last-exit 5", "monitor", "search")
        )
        print(f"its noise gates, its attack monitor and its searched table are gone; make them with: {again}")
    return 0


def _gate(arguments: argparse.Namespace) -> int:
    subject, ending = shipped_subject(arguments.model), arguments.last_exit
    gate = calibrate_gate(subject, datasets.load(arguments.data), arguments.blind, ending)
    file = TABLES / f"{arguments.model}.json"
    if ending is None:
        add_to_table(file, "gate", gate)
    else:
        add_to_table(file, "last_exit_gates", {**read_table(file).get("last_exit_gates", {}), str(ending): gate})
    print(f"wrote {file}: {gate}")
    return 0


def _monitor(arguments: argparse.Namespace) -> int:
    file = TABLES / f"{arguments.model}.json"
    table = np.array(read_table(file)["table"])
    monitor = calibrate_monitor(shipped_subject(arguments.model), datasets.load(arguments.data), table)
    print(f"wrote {add_to_table(file, 'monitor', monitor)}; shares that leave at exits 1 to 3:")
    for rad, shares in monitor["shares"].items():
        print(f"RAD {rad} %: " + ", ".join(f"{name} {sum(each[:3]):.3f}" for name, each in shares.items()))
    return 0


def _search(arguments: argparse.Namespace) -> int:
    file = TABLES / f"{arguments.model}.json"
    found = search_table(shipped_subject(arguments.model), datasets.load(arguments.data))
    print(f"wrote {add_to_table(file, 'searched', found)}; try it with: python -m export evaluate --model "
          f"{arguments.model} --defenses defq,searched")  # fmt: skip
    return 0


def _bundle(arguments: argparse.Namespace) -> int:
    if arguments.frames is not None and arguments.frames < 1:
        raise UsageError(f"found --frames {arguments.frames}; expected 1 or more")
    settings = BundleSettings(
        arguments.split, arguments.rad, arguments.fuse_defq, arguments.archive, arguments.last_exit
    )
    export_bundle(
        arguments.model,
        arguments.out,
        settings,
        arguments.table,
        arguments.data,
        arguments.weights,
        arguments.frames or 0,
    )
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from export.demo import run_demo  # draws figures: matplotlib only where it is needed

    return run_demo(arguments.model, arguments.frames, arguments.out, arguments.data)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "train": _train,
    "calibrate": _calibrate,
    "table": _table,
    "gate": _gate,
    "monitor": _monitor,
    "search": _search,
    "attack": attack.run,
    "bundle": _bundle,
    "evaluate": evaluate_command,
    "triton": triton.run,
    "kit": kit.run,
    "demo": _demo,
}
