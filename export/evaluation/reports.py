"""Writes the reports: Markdown, CSV and pictures about all three networks, or about one of them, where the rows of the others
stay as they are."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from export.calibration.cost import RADS
from export.calibration.model import shipped_model
from export.data.images import Dataset
from export.data.output import check_writable, write_output
from export.evaluation import adaptive, comparison, frontier, monitor, paper, transfer
from export.evaluation.csv_file import write_csv
from export.evaluation.rows import ConditionRow, Counted, MonitorRow, Row, TransferRow, in_order, others
from export.evaluation.run_facts import facts, write_json

AnyRow = TypeVar("AnyRow", bound=Row)


class Size(NamedTuple):
    """Number of test images for each part of a report.

    images: clean and under L-inf. l2, l1: under these attacks. sweep: for the frontier. adaptive: for each number of steps;
    each defence is attacked for itself. monitor: clean images for the monitor. runs: simulations of each of its waits.
    """

    images: int = 1000
    l2: int = 1000
    l1: int = 1000
    sweep: int = 1000
    adaptive: Mapping[int, int] = MappingProxyType({30: 1000, 100: 200})
    monitor: int = 10_000
    runs: int = 200

    def by_attack(self) -> dict[str, int]:
        return {"clean": self.images, "linf": self.images, "l2": self.l2, "l1": self.l1}


QUICK = Size(images=100, l2=6, l1=6, sweep=50, adaptive={30: 6}, monitor=1000, runs=20)


class Run(NamedTuple):
    """One run: its data, the networks that it is about, its size and its folder."""

    data: Dataset
    models: tuple[str, ...]
    size: Size
    out: Path

    def rows(
        self, name: str, form: type[AnyRow], make: Callable[[], list[AnyRow]], images: Mapping[Counted, int]
    ) -> list[AnyRow]:
        """The rows that ``make`` gives, together with the rows of other networks that the report has already. Both must be
        about the same numbers of images, which is checked before ``make`` begins hours of crafting.

        Args:
            name: of the report.
            form: the class of its rows.
            images: the numbers of test images that rows are about.

        Raises:
            DataError: they are about different numbers of images, or the report that is there cannot be read.
        """
        there = len(self.data.test.labels)
        counts = {counted: min(count, there) for counted, count in images.items()}
        kept = others(self.out / f"{name}.csv", form, self.models, counts)
        return in_order(make() + kept, paper.MODELS)

    def write(self, name: str, text: str, rows: Sequence[Row]) -> None:
        write_output(self.out / f"{name}.md", text)
        write_csv(rows, self.out / f"{name}.csv")
        print(f"{text}\nwrote {self.out}/{name}.md and {name}.csv", flush=True)


def write_reports(names: Sequence[str], run: Run) -> None:
    """The reports with these names of REPORTS, and run.json."""
    started = time.time()
    check_writable(run.out / "run.json")
    for name in names:
        REPORTS[name](run)
    _note(names, run)
    print(f"wrote {run.out}/ in {(time.time() - started) / 60:.1f} minutes")


def _paper(run: Run) -> None:
    from export.evaluation import figures  # draws: matplotlib only where it is needed

    images = run.size.by_attack()
    rows = run.rows("paper", ConditionRow, lambda: paper.collect(run.data, run.models, images), _counted(images))
    run.write("paper", paper.report(rows, run.data.test_title()), rows)
    if paper.MODELS[0] in run.models:  # these two show one network, always the same
        first = shipped_model(paper.MODELS[0])
        figures.attacked_forms(first, run.data, min(run.size.l2, 50), run.out / "figure2.png")
        figures.confidence_bars(first, run.data, run.out / "figure5.png")
    figures.heat_maps(paper.MODELS, run.out / "figure4.png")
    figures.exit_histograms(rows, _models_of(rows), run.out / "figure6.png")


def _compare(run: Run) -> None:
    images = run.size.by_attack()
    rows = run.rows(
        "comparison", ConditionRow, lambda: comparison.compare(run.data, run.models, images), _counted(images)
    )
    took = comparison.times()
    text = "\n".join(comparison.comparison_report(rows, run.data.test_title(), took, rad) for rad in RADS)
    run.write("comparison", text, rows)


def _frontier(run: Run) -> None:
    from export.evaluation import figures

    count = run.size.sweep
    images = _counted(dict.fromkeys(("clean", "linf"), count))
    rows = run.rows("frontier", ConditionRow, lambda: frontier.sweep(run.data, run.models, count), images)
    run.write("frontier", frontier.frontier_report(rows, run.data.test_title()), rows)
    figures.frontier(rows, _models_of(rows), run.out / "frontier.png")


def _adaptive(run: Run) -> None:
    images = adaptive.attackers(run.size.adaptive)
    rows = run.rows("adaptive", ConditionRow, lambda: adaptive.adapt(run.data, run.models, images), _counted(images))
    text = "\n".join(adaptive.adaptive_report(rows, run.data.test_title(), rad) for rad in RADS)
    run.write("adaptive", text, rows)


def _transfer(run: Run) -> None:
    images = run.size.by_attack()

    def make() -> list[TransferRow]:
        rows = transfer.transfer(run.data, paper.MODELS, run.size.images, run.models)
        return rows + (transfer.norms(run.data, images) if transfer.NORMS_OF in run.models else [])

    rows = run.rows("transfer", TransferRow, make, _counted(images))
    run.write("transfer", transfer.transfer_report(rows), rows)


def _monitor(run: Run) -> None:
    clean, harmed = run.size.monitor, run.size.images
    rows = run.rows(
        "monitor",
        MonitorRow,
        lambda: monitor.watch(run.data, run.models, clean, harmed, run.size.runs),
        {Counted("clean images"): clean, Counted("attacked images"): harmed},
    )
    run.write("monitor", monitor.monitor_report(rows, run.data.test_title()), rows)


REPORTS: dict[str, Callable[[Run], None]] = {
    "paper": _paper,
    "compare": _compare,
    "frontier": _frontier,
    "adaptive": _adaptive,
    "transfer": _transfer,
    "monitor": _monitor,
}


def _counted(images: Mapping[str, int]) -> dict[Counted, int]:
    """Numbers of images by attack."""
    return {Counted("images", attack): count for attack, count in images.items()}


def _models_of(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row.model for row in rows))


def _note(names: Sequence[str], run: Run) -> None:
    """Write run.json: the size of each report and the tools that made it. Its ``models`` include those whose rows stayed."""
    file = run.out / "run.json"
    try:
        runs = json.loads(file.read_text())
    except (OSError, ValueError):
        runs = {}
    for name in names:
        there = {*run.models, *runs.get(name, {}).get("models", ())}
        models = [model for model in paper.MODELS if model in there]
        runs[name] = {**facts(run.data), "models": models, **run.size._asdict(), "adaptive": dict(run.size.adaptive)}
    write_json(file, runs)
