"""python -m export evaluate: any combination on any data, or the reports under reports/."""

import argparse
import json
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from device.errors import DataError, UsageError
from export import datasets
from export.attacks.crafting import gradients
from export.datasets import Dataset
from export.defences import FORMS as DEFENCES
from export.evaluation import comparison, monitor, paper, transfer
from export.evaluation.grid import LAST, LOOP, evaluate
from export.evaluation.report import Rows, in_order, markdown_table, others, write_csv
from export.evaluation.subject import FORMS as ATTACKS
from export.evaluation.subject import Subject, shipped_subject, subject_of
from export.networks import NETWORKS

REPORTS = ("paper", "compare", "frontier", "adaptive", "transfer", "monitor")


class Size(NamedTuple):
    """On how many test images each part of a report runs. ``adaptive``: every defence is attacked anew. ``monitor``: clean
    ones, which cost no attack; ``runs``: simulations of each of its waits."""

    images: int = 1000
    l2: int = 1000
    l1: int = 1000
    sweep: int = 300
    adaptive: int = 300
    steps: tuple[int, ...] = (30, 100)
    monitor: int = 10_000
    runs: int = 200

    def by_attack(self) -> dict[str, int]:
        return {"clean": self.images, "linf": self.images, "l2": self.l2, "l1": self.l1}


QUICK = Size(images=100, l2=6, l1=6, sweep=50, adaptive=6, steps=(30,), monitor=1000, runs=20)
QUICK_CALIBRATION = 20  # images that universal perturbations, tables and thresholds behind a defence are learned on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        choices=sorted(NETWORKS),
        help="one network (reports: all three; with one, the rows of the others stay)",
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="other weights: ours, or of the public SDN code")
    parser.add_argument("--images", type=int, metavar="N", help="the first N test images (default: all)")
    parser.add_argument("--l2-images", type=int, metavar="N", help="reports: the first N for L2")
    parser.add_argument("--l1-images", type=int, metavar="N", help="reports: the first N for L1")
    parser.add_argument("--adaptive-images", type=int, metavar="N", help="reports: the first N for adaptive attacks")
    parser.add_argument("--adaptive-steps", metavar="N,N", help="reports: steps of adaptive attacks (default 30,100)")
    parser.add_argument("--attacks", default="clean,linf", help=f"{ATTACKS} (default clean,linf)")
    parser.add_argument(
        "--defenses",
        default="none,defq",
        help=f"{DEFENCES}; NAME{LOOP} calibrates the thresholds behind it, NAME{LAST} ends at the last exit "
        "(default none,defq)",
    )
    parser.add_argument("--rad", default="5,10", help="relative accuracy drops in percent (default 5,10)")
    parser.add_argument(
        "--pixels", choices=("8bit", "float"), default="8bit", help="round attacked images to 8 bits, or not"
    )
    parser.add_argument("--tables-of", choices=sorted(NETWORKS), help="defend with the table of another network")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures and exit histograms")
    for name in REPORTS:
        parser.add_argument(f"--{name}", action="store_true", help=f"the report {name}: Markdown, CSV and pictures")
    parser.add_argument("--quick", action="store_true", help="reports on 100 images and fewer, to see them work")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="of reports (default reports, with --quick build/reports)"
    )


def run(arguments: argparse.Namespace) -> int:
    data = datasets.load(arguments.data)
    for name in ("images", "l2_images", "l1_images", "adaptive_images"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UsageError(f"found --{name.replace('_', '-')} {value}; expected 1 or more")
    if any(getattr(arguments, name) for name in REPORTS):
        if arguments.weights or arguments.json:
            raise UsageError(
                "found --weights or --json beside a report; expected neither: reports are about the networks of models/ "
                "and write CSV; leave them out, or name --attacks and --defenses instead of a report"
            )
        return _reports(arguments, data)
    if arguments.model is None:
        raise UsageError(f"found no --model; expected one, or a report: {', '.join('--' + name for name in REPORTS)}")
    subject = subject_of(arguments.model, arguments.weights, data)
    images = data.test.take(arguments.images or len(data.test.labels))
    rows = evaluate(
        subject, data, images, arguments.attacks.split(","), arguments.defenses.split(","), _rads(arguments, subject),
        arguments.pixels == "8bit", arguments.tables_of,
    )  # fmt: skip
    columns = ("attack", "defence", "rad", "threshold", "t3_er", "efcy", "accuracy", "mean_cost")
    lines = [
        list(columns),
        *([f"{row[name]:.3f}" if isinstance(row[name], float) else str(row[name]) for name in columns] for row in rows),
    ]
    print(markdown_table(lines))
    if arguments.json:
        write_json(arguments.json, {"settings": facts(data), "rows": rows})
        print(f"wrote {arguments.json}")
    return 0


def _rads(arguments: argparse.Namespace, subject: Subject) -> tuple[int, ...]:
    rads = _numbers(arguments.rad, "--rad")
    if not set(rads) <= set(subject.thresholds):
        raise UsageError(
            f"found --rad {arguments.rad}; expected some of {sorted(subject.thresholds)}, divided by commas"
        )
    return rads


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(each) for each in text.split(","))
    except ValueError:
        raise UsageError(f"found {option} {text}; expected whole numbers, divided by commas") from None


def _reports(arguments: argparse.Namespace, data: Dataset) -> int:
    from export.evaluation import figures  # draws: matplotlib only where it is needed

    size = QUICK if arguments.quick else Size()
    if arguments.quick:
        data = data._replace(calibration=data.calibration.take(QUICK_CALIBRATION))
    size = size._replace(
        images=arguments.images or size.images,
        sweep=min(size.sweep, arguments.images or size.sweep),
        l2=arguments.l2_images or min(size.l2, arguments.images or size.l2),
        l1=arguments.l1_images or min(size.l1, arguments.images or size.l1),
        adaptive=arguments.adaptive_images or size.adaptive,
        monitor=arguments.images or size.monitor,
        steps=_numbers(arguments.adaptive_steps, "--adaptive-steps") if arguments.adaptive_steps else size.steps,
    )
    out: Path = arguments.out or Path("build/reports" if arguments.quick else "reports")
    out.mkdir(parents=True, exist_ok=True)
    models = (arguments.model,) if arguments.model else paper.MODELS
    started = time.time()

    def whole(name: str, attacks: Mapping[str, int], make: Callable[[], Rows]) -> Rows:
        there = {attack: min(count, len(data.test.labels)) for attack, count in attacks.items()}
        kept = others(out / f"{name}.csv", models, there)  # refused before hours of crafting, not after
        return in_order(make() + kept, paper.MODELS)

    each = size.by_attack()
    if arguments.paper:
        rows = whole("paper", each, lambda: paper.collect(data, models, each))
        _write(out, "paper", paper.report(rows), rows)
        if arguments.model in (None, paper.MODELS[0]):  # these two show one network, always the same
            first = shipped_subject(paper.MODELS[0])
            figures.attacked_forms(first, data, min(size.l2, 50), out / "figure2.png")
            figures.confidence_bars(first, data, out / "figure5.png")
        figures.heat_maps(paper.MODELS, out / "figure4.png")
        figures.exit_histograms(rows, _models_of(rows), out / "figure6.png")
    if arguments.compare:
        rows = whole("comparison", each, lambda: comparison.compare(data, models, each))
        took = comparison.times()
        text = "\n".join(comparison.comparison_report(rows, took, rad) for rad in (5, 10))
        _write(out, "comparison", text, rows)
    if arguments.frontier:
        swept = dict.fromkeys(("clean", "linf"), size.sweep)
        rows = whole("frontier", swept, lambda: comparison.sweep(data, models, size.sweep))
        _write(out, "frontier", comparison.frontier_report(rows), rows)
        figures.frontier(rows, _models_of(rows), out / "frontier.png")
    if arguments.adaptive:
        known = dict.fromkeys(comparison.attackers(size.steps), size.adaptive)
        rows = whole("adaptive", known, lambda: comparison.adapt(data, models, known))
        text = "\n".join(comparison.adaptive_report(rows, rad) for rad in (5, 10))
        _write(out, "adaptive", text, rows)
    if arguments.transfer:

        def moved() -> Rows:
            rows = transfer.transfer(data, paper.MODELS, size.images, models)
            return rows + (transfer.norms(data, each) if transfer.NORMS_OF in models else [])

        rows = whole("transfer", each, moved)
        _write(out, "transfer", transfer.transfer_report(rows), rows)
    if arguments.monitor:
        rows = whole("monitor", {}, lambda: monitor.watch(data, models, size.monitor, size.images, size.runs))
        _write(out, "monitor", monitor.monitor_report(rows), rows)
    _note_run(
        out, [name for name in REPORTS if getattr(arguments, name)], {**facts(data), "models": models, **size._asdict()}
    )
    print(f"wrote {out}/ in {(time.time() - started) / 60:.1f} minutes")
    return 0


def _models_of(rows: Rows) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row["model"] for row in rows))


def _note_run(out: Path, names: list[str], about: dict[str, Any]) -> None:
    """run.json: of what size each report is, and what made it. ``models``: also those whose rows were there and stayed."""
    file = out / "run.json"
    try:
        runs = json.loads(file.read_text())
    except (OSError, ValueError):
        runs = {}
    for name in names:
        there = {*about["models"], *runs.get(name, {}).get("models", ())}
        runs[name] = {**about, "models": [model for model in paper.MODELS if model in there]}
    write_json(file, runs)


def _write(out: Path, name: str, text: str, rows: Rows) -> None:
    (out / f"{name}.md").write_text(text)
    write_csv(rows, out / f"{name}.csv")
    print(f"{text}\nwrote {out}/{name}.md and {name}.csv", flush=True)


def facts(data: Dataset) -> dict[str, object]:
    """What a figure means little without."""
    return {
        "data": "CIFAR-10" if data.classes == datasets.LABELS else "images of a folder",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gradients": gradients(),
        "machine": platform.machine(),
    }


def write_json(file: Path, content: object) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise DataError(
            f"could not write {file} ({error.strerror}); expected a file that can be written; choose another"
        ) from error
