"""report.md of a fit: what was made, what it gives, and what it does not."""

import shlex
from typing import NamedTuple

import numpy as np

from export.calibration.model import CalibratedModel
from export.data.images import Dataset
from export.evaluation.markdown import markdown_table
from export.evaluation.rows import ConditionRow
from export.fit.defence_steps import row_of
from export.fit.effort import Effort
from export.fit.pictures import Judged, confusion_counts
from export.fit.progress import duration
from export.fit.settings import RAD, FitSettings
from export.fit.state import StepRecord

NAMES = {"clean": "clean", "linf": "attacked", "adaptive": "attacked by someone who knows DefQ"}
DEFENCES = {"none": "none", "defq": "DefQ", "gated": "DefQ behind the gate"}


class Findings(NamedTuple):
    """Everything that the report tells.

    final: test photographs with the answers of all exits. rows: the figures of the step measure. steps: the record of every
    step so far. model_folder, bundle: for the commands. split: number of exits on the device.
    """

    settings: FitSettings
    data: Dataset
    model: CalibratedModel
    effort: Effort
    final: Judged
    rows: list[ConditionRow]
    steps: dict[str, StepRecord]
    model_folder: str
    bundle: str
    split: int


def report(found: Findings) -> str:
    """The report in Markdown. Its pictures lie in the folder report/ beside it."""
    parts = [
        _head(found),
        _photographs(found),
        _network(found),
        _thresholds(found),
        _defence(found),
        _limits(found),
        _next(found),
        _made(found),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _head(found: Findings) -> list[str]:
    clean, harmed, defended = (
        row_of(found.rows, *each) for each in (("clean", "none"), ("linf", "none"), ("linf", "defq"))
    )
    card = found.model.card
    lines = [
        f"# {found.settings.backbone}, {found.settings.size} x {found.settings.size} pixels: {len(found.data.classes)} classes of your own",
        "",
        f"The whole network is right on {card.accuracy_test[-1]:.1%} of {len(found.data.test.labels)} test photographs, which nothing was learned from. "
        f"With early exits (RAD {RAD} %) a clean frame costs {clean.mean_cost:.0%} of the whole network on average, and {clean.accuracy:.1%} "
        f"of the {clean.images} photographs that were measured are right. An attacker who changes the frames invisibly makes them cost "
        f"{harmed.mean_cost:.0%} and leaves {harmed.accuracy:.1%} right. DefQ brings that back to {defended.mean_cost:.0%} and {defended.accuracy:.1%}.",
    ]
    gain = clean.efcy - harmed.efcy
    if gain < 0.05:
        lines += [
            "",
            f"**The attack hardly slows this network down** (EFCY {clean.efcy:.2f} to {harmed.efcy:.2f}): see the limits below.",
        ]
    return lines


def _photographs(found: Findings) -> list[str]:
    data = found.data
    labels = [
        np.bincount(part.labels, minlength=len(data.classes)) for part in (data.train, data.calibration, data.test)
    ]
    rows = [["class", "to train", "to calibrate", "to test"]]
    rows += [[name, *(str(count[label]) for count in labels)] for label, name in enumerate(data.classes)]
    rows.append(["**all**", *(f"**{count.sum()}**" for count in labels)])
    group = (
        f" Photographs with the same match of `{found.settings.group}` are in one split."
        if found.settings.group
        else ""
    )
    fewest = min(int(count.min()) for count in labels[1:])
    few = (
        f" Some class has only {fewest} photographs to calibrate or to test with: one photograph more or less changes its accuracy by {1 / max(fewest, 1):.0%}."
        if fewest < 10
        else ""
    )
    return [
        "## Photographs",
        "",
        f"{data.source}; {data.order}.{group} They are brought to {found.settings.size} x {found.settings.size} pixels by {found.settings.fit}, and so are the camera's frames.{few}",
        "",
        markdown_table(rows),
        "",
        "![Photographs of each class, as the network sees them](report/samples.png)",
    ]


def _network(found: Findings) -> list[str]:
    data, card = found.data, found.model.card
    counts = confusion_counts(found.final, len(data.classes))
    np.fill_diagonal(counts, 0)
    worst = [
        (int(counts[at]), at)
        for at in zip(*np.unravel_index(np.argsort(-counts, axis=None)[:3], counts.shape), strict=True)
    ]
    told = [f"{data.classes[true]} for {data.classes[answer]} ({count})" for count, (true, answer) in worst if count]
    rows = [["exit", "relative cost", "accuracy, calibration", "accuracy, test"]]
    last = len(card.relative_costs)
    for number, (cost, calibration, test) in enumerate(
        zip(card.relative_costs, card.accuracy_calibration, card.accuracy_test, strict=True), start=1
    ):
        rows.append(["final" if number == last else str(number), f"{cost:.3f}", f"{calibration:.3f}", f"{test:.3f}"])
    return [
        "## Network",
        "",
        "Accuracy when every photograph leaves at one exit:",
        "",
        markdown_table(rows),
        "",
        "![Accuracy by exit, and where photographs leave](report/exits.png)",
        "",
        "The final classifier confuses most often: " + ", ".join(told) + "."
        if told
        else "The final classifier confuses no two classes of the test photographs.",
        "",
        "![Confusion matrix of the final classifier](report/confusion.png)",
    ]


def _thresholds(found: Findings) -> list[str]:
    card, calibration = found.model.card, len(found.data.calibration.labels)
    rows = [["RAD", "threshold", "accuracy", "mean cost", "EFCY", "T3-ER", "last exit", "a frame then costs at most"]]
    for rad, point in card.thresholds.items():
        last = card.last_exits[rad]
        rows.append(
            [
                f"{rad} %",
                f"{point.threshold:.2f}",
                f"{point.accuracy:.3f}",
                f"{point.mean_cost:.3f}",
                f"{point.efcy:.3f}",
                f"{point.t3_er:.3f}",
                str(last.exit),
                f"{last.relative_cost:.2f}",
            ]
        )
    few = (
        f" There are {calibration}: one photograph is {1 / calibration:.1%}, so that thresholds and last exits are rough."
        if calibration < 200
        else ""
    )
    return [
        "## Thresholds and what they cost",
        "",
        "A frame leaves at the first exit whose confidence reaches the threshold. RAD is the share of the final classifier's accuracy that may be "
        f"given up for that. Thresholds were chosen, and these figures measured, on calibration photographs.{few}",
        "",
        markdown_table(rows),
        "",
        "![Accuracy against mean cost for every threshold](report/costs.png)",
    ]


def _defence(found: Findings) -> list[str]:
    rows = [["frames", "defence", "photographs", "EFCY", "T3-ER", "mean cost", "accuracy"]]
    for row in found.rows:
        if row.rad == RAD:
            rows.append(
                [
                    NAMES[row.attack],
                    DEFENCES[row.defence],
                    str(row.images),
                    *(f"{figure:.2f}" for figure in (row.efcy, row.t3_er, row.mean_cost, row.accuracy)),
                ]
            )
    clean, plain = row_of(found.rows, "clean", "defq"), row_of(found.rows, "clean", "none")
    costs = plain.accuracy - clean.accuracy
    table = found.model.own_table()
    left_out = [f"* **{name}**: {record.left_out}" for name, record in found.steps.items() if record.left_out]
    used = f"Algorithm 1 had {found.effort.linf} photographs under attack, the gate {found.effort.linf} (L-inf), {found.effort.slow} (L2) and {found.effort.adaptive} (attacker who knows it), the monitor {found.effort.linf}."
    return [
        "## Attack and defence",
        "",
        f"DeepSloth, L-inf, changes each pixel by 8 of 255 at most. RAD {RAD} %, test photographs. EFCY is 1 if all frames leave at no cost, and 0 if all use the whole network; T3-ER is the share that leaves at exits 1 to 3.",
        "",
        markdown_table(rows),
        "",
        f"DefQ always on takes {max(costs, 0):.1%} of the accuracy of clean frames"
        + (
            ". There is no monitor to switch it on only while an attack goes on."
            if table.monitor is None
            else "; with `--defq auto` it is on only while the monitor sees an attack."
        ),
        "",
        "![Where photographs leave: clean, attacked and defended](report/leaving.png)",
        "",
        "![Photographs clean, attacked and defended, and the differences](report/attack.png)",
        "",
        f"The table has steps from {table.steps.min():.0f} to {table.steps.max():.0f}. {used}",
        *(["", "Left out, because these photographs do not allow it:", "", *left_out] if left_out else []),
    ]


def _limits(found: Findings) -> list[str]:
    lines = []
    for defence in ("defq", "gated"):
        rows = [row for row in found.rows if (row.attack, row.defence, row.rad) == ("adaptive", defence, RAD)]
        lines += [
            f"EFCY {row.efcy:.2f}, accuracy {row.accuracy:.2f} ({DEFENCES[defence]}, {row.images} photographs, 30 steps)"
            for row in rows
        ]
    clean = row_of(found.rows, "clean", "none")
    return [
        "## Limits",
        "",
        "* **An attacker who knows DefQ** and its table computes gradients through it. Such an attacker left: "
        + "; ".join(lines)
        + f". Clean frames have EFCY {clean.efcy:.2f}, accuracy {clean.accuracy:.2f}. More steps harm more.",
        "* DefQ restores early exits. It does not make an unknown frame known: the network answers one of its classes for whatever it sees.",
        "* The figures hold for frames like these photographs. Another camera, light or background is another distribution; keep some photographs of it for a test.",
        "* Photographs of one scene or one person in two splits make all figures too good: `--group` keeps them together.",
        "* An attack on frames of a camera has to survive the camera. The figures are for an attacker who changes the pixels behind it, which is worse.",
    ]


def _next(found: Findings) -> list[str]:
    bundle, folder = shlex.quote(found.bundle), shlex.quote(found.model_folder)
    mode = "on" if found.model.own_table().monitor is None else "auto"
    return [
        "## Go on",
        "",
        "```sh",
        f'defq preview --bundle {bundle} --source "bundle:clean?loop=1&rate=15"  # test photographs in a browser, with an attack to switch on',
        f"defq preview --bundle {bundle} --source v4l2:///dev/video0  # the same with a camera",
        f"defq bench --bundle {bundle}  # latency, exits and traffic: clean, attacked and defended",
        f"defq serve --bundle {bundle} --port 8000  # the host, for frames that do not leave on the device",
        f"defq run --bundle {bundle} --source v4l2:///dev/video0 --host http://HOST:8000 --defq {mode} --jsonl decisions.jsonl",
        f"defq evaluate --model {folder} --attacks clean,linf,l2 --defenses none,defq,jpeg:75",
        "```",
        "",
        "Every step is a command of its own that takes the same folder: `defq train`, `calibrate`, `table`, `gate`, `monitor`, `search` and `bundle` with "
        f"`--model {folder}`. The same `defq fit` goes on from there.",
    ]


def _made(found: Findings) -> list[str]:
    rows = [["step", "time", "result"]]
    rows += [[name, duration(record.seconds), record.result.replace("|", "/")] for name, record in found.steps.items()]
    total = sum(record.seconds for record in found.steps.values())
    return [
        "## How it was made",
        "",
        markdown_table(rows),
        "",
        f"Together {duration(total)} on this machine. The model card is in card.md.",
    ]
