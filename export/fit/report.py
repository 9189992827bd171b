"""report.md of a fit: what was made, what it gives, what it does not, and what to do next."""

import shlex

from device.system.console import duration
from export.fit.advice import advice
from export.fit.findings import Findings, table
from export.fit.report_defence import defence, limits, traffic
from export.fit.report_network import network, thresholds
from export.fit.settings import RAD

FAINT = 0.05
"""Loss of EFCY under attack below which the attack hardly slows the network down."""


def report(found: Findings) -> str:
    """The report in Markdown. Its pictures lie in the folder report/ beside it."""
    parts = [
        _head(found),
        ["## What to do next", "", *(f"* {each}" for each in advice(found))],
        _commands(found),
        _photographs(found),
        network(found),
        thresholds(found),
        defence(found),
        traffic(found),
        limits(found),
        _made(found),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _head(found: Findings) -> list[str]:
    card, settings = found.model.card, found.settings
    conditions = (("clean", "none"), ("linf", "none"), ("linf", "defq"))
    clean, harmed, defended = (found.row(*each) for each in conditions)
    rows = [["", "right", "leave on the device", "mean cost", "to the host, kB a frame"]]
    for name, row in (
        ("clean frames", clean),
        ("attacked frames", harmed),
        ("attacked frames, DefQ on", defended),
    ):
        device = found.on_device(row)
        sent = (1 - device) * found.traffic.smallest / 1e3
        rows.append([name, f"{row.accuracy:.1%}", f"{device:.0%}", f"{row.mean_cost:.2f}", f"{sent:.1f}"])
    lines = [
        f"# {settings.backbone}, {settings.size} x {settings.size} pixels: {len(found.data.classes)} classes of your own",
        "",
        f"The whole network is right on {card.accuracy_test[-1]:.1%} of {len(found.data.test.labels)} test photographs, of which nothing was "
        f"learned. Frames that are easy leave it early, at one of its {len(card.relative_costs) - 1} exits; "
        f"{found.exits_on_device()} on the device. With early exits (RAD {RAD} %), on {clean.images} test photographs:",
        "",
        table(rows),
        "",
        "Cost: 1 is the whole network. Attacked: by DeepSloth, which changes each pixel by at most 8 of 255 levels to keep frames from leaving.",
    ]
    if clean.efcy - harmed.efcy < FAINT:
        lines += [
            "",
            f"**The attack hardly slows this network down** (EFCY {clean.efcy:.2f} clean, {harmed.efcy:.2f} attacked).",
        ]
    return lines


def _commands(found: Findings) -> list[str]:
    bundle, folder = shlex.quote(found.bundle), shlex.quote(found.model_folder)
    monitored = found.model.own_table().monitor is not None
    mode = "auto" if monitored else "on"
    return [
        "```sh",
        f"defq preview --bundle {bundle} --source v4l2:///dev/video0  # what the camera sees, in a browser",
        f'defq preview --bundle {bundle} --source "bundle:clean?loop=1&rate=15"  # without a camera: test photographs, and an attack to switch on',
        f"defq bench --bundle {bundle}  # latency, exits and traffic: clean, attacked and defended",
        f"defq serve --bundle {bundle} --port 8000  # the host, for frames that do not leave on the device",
        f"defq run --bundle {bundle} --source v4l2:///dev/video0 --host http://HOST:8000 --defq {mode} --jsonl decisions.jsonl",
        f"defq evaluate --model {folder} --attacks clean,linf,l2 --defenses none,defq,jpeg:75",
        "```",
        "",
        "Every step is also a command of its own that takes this folder: `defq train`, `calibrate`, `table`, `gate`, `monitor`, `search`, `evaluate` and "
        f"`bundle` with `--model {folder}`. The same `defq fit` then makes anew what follows from it, and keeps what does not.",
    ]


def _photographs(found: Findings) -> list[str]:
    data, settings = found.data, found.settings
    fitted = f"{settings.size} x {settings.size} pixels by {settings.fit}"
    fewest = min(int(count.min()) for count in found.counts()[1:])
    few = (
        f" Some class has only {fewest} photographs to calibrate or to test with: one photograph more or less changes its accuracy by {1 / max(fewest, 1):.0%}."
        if fewest < 10
        else ""
    )
    return [
        "## Photographs",
        "",
        f"{data.source[0].upper()}{data.source[1:]}, brought to {fitted}, as the camera's frames will be.{few}",
        "",
        found.scan.rstrip("\n"),
        "",
        "![Photographs of each class, as the network sees them](report/samples.png)",
    ]


def _made(found: Findings) -> list[str]:
    rows = [["step", "time", "result"]]
    rows += [[name, duration(record.seconds), record.result] for name, record in found.steps.items()]
    total = sum(record.seconds for record in found.steps.values())
    return [
        "## How it was made",
        "",
        table(rows),
        "",
        f"Together {duration(total)} on this machine, without the report. The model card is in card.md.",
    ]
