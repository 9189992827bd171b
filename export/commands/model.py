"""python -m export train | calibrate | table | gate | monitor | search: from images to weights, card and table."""

import argparse
from collections.abc import Callable
from pathlib import Path

from device.errors import UsageError
from device.system.options import decimal, whole
from export.calibration.attacked_images import PER_SAMPLE
from export.calibration.calibrate import calibrate
from export.calibration.card import known_classes, write_card
from export.calibration.card_page import write_card_page
from export.calibration.gate import calibrate_gate
from export.calibration.model import CalibratedModel, calibrated_model
from export.calibration.monitor import calibrate_monitor
from export.calibration.search import search_table
from export.calibration.table import TableSettings, learn_table, table_provenance, write_table
from export.data import datasets
from export.data.classes import check_classes
from export.data.datasets import Dataset
from export.data.output import check_writable
from export.networks import folded
from export.networks.model_files import WEIGHTS_HELP, ModelFiles, beside, destination, find, made_here
from export.networks.training import RECIPES, train
from export.networks.weights import file_sha256, load_network, save_network


def add_commands(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """command: makes the parser of a command from its name and its help, with --model and --data."""
    sub = command("train", "Train a network; goes on from its checkpoint after a kill.")
    sub.add_argument("--epochs", type=whole(1, 100_000))
    sub.add_argument("--peak-rate", type=decimal(1e-9, 1000), help="highest learning rate of the one-cycle schedule")
    sub.add_argument("--batch", type=whole(2, 1 << 20), help="images a step (default 256)")
    sub.add_argument("--start", type=Path, metavar="FILE", help="safetensors to begin from instead of random weights")
    sub.add_argument(
        "--quantised", type=decimal(0, 1), metavar="SHARE", help="of a batch to show quantised, 0 to 1 (default 0)"
    )
    sub.add_argument("--out", type=Path, metavar="FILE", help="default: build/models/MODEL/weights.safetensors")
    sub.add_argument("--checkpoint", type=Path, metavar="FILE", help="default: build/train/MODEL.checkpoint")

    def of_weights(name: str, text: str, writes: str) -> argparse.ArgumentParser:
        sub = command(name, text)
        sub.add_argument("--weights", type=Path, metavar="FILE", help=WEIGHTS_HELP)
        sub.add_argument(
            "--out", type=Path, metavar="FILE",
            help=f"default: {writes}.json beside the weights; of shipped ones in build/models/MODEL",
        )  # fmt: skip
        return sub

    of_weights("calibrate", "Measure costs, accuracies and thresholds; write the model card.", "card")
    sub = of_weights("table", "Learn Q_def by Algorithm 1 from DeepSloth L-inf.", "table")
    sub.add_argument("--samples", type=whole(1), default=1000, help="calibration images (default 1000)")
    sub.add_argument(
        "--range",
        type=whole(1, 255),
        nargs=2,
        default=(20, 60),
        metavar=("LOW", "HIGH"),
        help="of the steps (default 20 60)",
    )
    sub.add_argument("--seed", type=whole(0), default=0)
    sub.add_argument(
        "--attack", choices=sorted(PER_SAMPLE), default="linf", help="whose traces to learn (default linf)"
    )

    sub = of_weights("gate", "Calibrate the noise gate of a table.", "table")
    sub.add_argument(
        "--blind", action="store_true",
        help="expect no attacker who knows the defence: attacked frames leave later, and more of them right",
    )  # fmt: skip
    sub.add_argument(
        "--last-exit", type=whole(0, 100), choices=(5, 10), metavar="RAD",
        help="another one, for bundles that end at the last exit for this RAD (bundle --last-exit)",
    )  # fmt: skip
    of_weights("monitor", "Calibrate the attack monitor of a table.", "table")
    of_weights("search", "Search a table that restores more than Q_def for a bounded loss on clean images.", "table")


def _train(arguments: argparse.Namespace) -> int:
    model: str = arguments.model
    for name in ("epochs", "batch", "peak_rate"):
        value = getattr(arguments, name)
        if value is not None and value <= 0:
            raise UsageError(f"found --{name.replace('_', '-')} {value}; expected more than 0")
    recipe = RECIPES[model]
    recipe = recipe._replace(
        epochs=arguments.epochs or recipe.epochs,
        peak_rate=arguments.peak_rate or recipe.peak_rate,
        batch=arguments.batch or recipe.batch,
        quantised=recipe.quantised if arguments.quantised is None else arguments.quantised,
    )
    if not 0 <= recipe.quantised <= 1:
        raise UsageError(f"found --quantised {recipe.quantised}; expected a share from 0 to 1")
    out = arguments.out or made_here(model).weights
    if out.suffix != ".safetensors":
        raise UsageError(f"found --out {out}; expected a file that ends in .safetensors")
    checkpoint = arguments.checkpoint or Path("build/train") / f"{model}.checkpoint"
    data = datasets.load(arguments.data)
    print(f"reads {data.source}; writes {out} and, after every epoch, {checkpoint}", flush=True)
    for file in (out, checkpoint):
        check_writable(file)
    begun = f"from weights {file_sha256(arguments.start)[:12]}" if arguments.start else "from random weights"
    network = train(model, data, recipe, checkpoint, arguments.start)
    recipe_text = ", ".join([begun, *(f"{name} {value}" for name, value in recipe._asdict().items())])
    save_network(network, out, recipe_text, data.sha256(), data.classes)
    files = beside(model, out)
    card = calibrate(files, load_network(model, out), data)
    write_card(card, files.card)
    write_card_page(card, files.card.with_suffix(".md"), files)
    print(f"wrote {out} and {files.card}; learn its table with: python -m export table {files.option}")
    return 0


def _calibrate(arguments: argparse.Namespace) -> int:
    files = _read(arguments)
    data = datasets.load(arguments.data)
    target = check_writable(destination(files).card if arguments.out is None else arguments.out)
    card = calibrate(files, load_network(files.model, files.weights), data)
    page = target.with_suffix(".md")
    write_card(card, target)
    write_card_page(card, page, files)
    print(f"wrote {target} and {page.name}")
    for rad, point in card.thresholds.items():
        print(f"RAD {rad} %: " + ", ".join(f"{name} {value}" for name, value in point._asdict().items()))
    return 0


def _table(arguments: argparse.Namespace) -> int:
    low, high = arguments.range
    if not 1 <= low < high <= 255:
        raise UsageError(f"found --range {low} {high}; expected 1 <= LOW < HIGH <= 255")
    if arguments.samples < 1:
        raise UsageError(f"found --samples {arguments.samples}; expected 1 or more")
    settings = TableSettings(arguments.samples, low, high, arguments.seed)
    attack = PER_SAMPLE[arguments.attack]
    files = _read(arguments)
    out = _table_out(arguments, files)
    network, data = load_network(files.model, files.weights), datasets.load(arguments.data)
    check_classes(network, data, known_classes(files))
    table, ratios, ids = learn_table(folded(network), data.calibration, settings, attack)
    write_table(out, files.model, table, table_provenance(settings, attack, ratios, ids, files.sha256))
    print(f"wrote {out}: steps {table.min()} to {table.max()}, mean {table.mean():.1f}")
    print(f"it has no noise gates, no attack monitor and no searched table yet; the commands gate, gate --last-exit 5, "
          f"monitor and search make them, as in: python -m export gate {files.option}")  # fmt: skip
    return 0


def _gate(arguments: argparse.Namespace) -> int:
    model, data, out = _calibrated(arguments)
    table, ending = model.own_table(), arguments.last_exit
    gate = calibrate_gate(model, data, arguments.blind, ending)
    if ending is None:
        table.extended("gate", gate, out)
    else:
        table.extended("last_exit_gates", {**table.content.get("last_exit_gates", {}), str(ending): gate}, out)
    print(f"wrote {out}: {gate}")
    return 0


def _monitor(arguments: argparse.Namespace) -> int:
    model, data, out = _calibrated(arguments)
    monitor = calibrate_monitor(model, data)
    print(f"wrote {model.own_table().extended('monitor', monitor, out)}; shares that leave at exits 1 to 3:")
    for rad, shares in monitor["shares"].items():
        print(f"RAD {rad} %: " + ", ".join(f"{name} {sum(each[:3]):.3f}" for name, each in shares.items()))
    return 0


def _search(arguments: argparse.Namespace) -> int:
    model, data, out = _calibrated(arguments)
    found = search_table(model, data)
    print(f"wrote {model.own_table().extended('searched', found, out)}; try it with: python -m export evaluate "
          f"{find(arguments.model, arguments.weights).option} --defenses defq,searched")  # fmt: skip
    return 0


def _read(arguments: argparse.Namespace) -> ModelFiles:
    """The files of the model that a command is about; says which."""
    files = find(arguments.model, arguments.weights)
    print(files.told(), flush=True)
    return files


def _calibrated(arguments: argparse.Namespace) -> tuple[CalibratedModel, Dataset, Path]:
    """A network with card and table, its data, and the file for the table that the command makes."""
    files = _read(arguments)
    out = _table_out(arguments, files)
    data = datasets.load(arguments.data)
    return calibrated_model(files, data), data, out


def _table_out(arguments: argparse.Namespace, files: ModelFiles) -> Path:
    return check_writable(destination(files).table if arguments.out is None else arguments.out)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "train": _train,
    "calibrate": _calibrate,
    "table": _table,
    "gate": _gate,
    "monitor": _monitor,
    "search": _search,
}
