"""The tables of README.md, docs/ and reports/README.md that show figures of reports/*.csv: python -m tests.readme_tables fills them."""

import re
from collections.abc import Callable
from pathlib import Path

from export.evaluation.csv_file import read_csv
from export.evaluation.paper import TITLES
from export.evaluation.rows import ConditionRow, MonitorRow

ROOT = Path(__file__).parents[1]
RESTORED, LOST, TIMES = 0.85, 0.02, 3.0
"""The goals: a share of the clean EFCY, clean accuracy, and a multiple of plain DefQ's EFCY under an adaptive attack."""

Cells = list[list[str]]


class Report:
    """Rows of a CSV under reports/ by network, attack, defence and RAD."""

    def __init__(self, name: str) -> None:
        rows = read_csv(ROOT / "reports" / f"{name}.csv", ConditionRow)
        self.rows = {(row.model, row.attack, row.defence, row.rad): row for row in rows}

    def __call__(self, metric: str, model: str, attack: str, defence: str, rad: int) -> float:
        return float(getattr(self.rows[model, attack, defence, rad], metric))

    def three(self, model: str, attack: str, defence: str) -> str:
        """T3-ER / EFCY / accuracy at RAD 5."""
        return " / ".join(f"{self(name, model, attack, defence, 5):.2f}" for name in ("t3_er", "efcy", "accuracy"))

    def two(self, model: str, attack: str, defence: str) -> str:
        """EFCY / accuracy at RAD 5."""
        return " / ".join(f"{self(name, model, attack, defence, 5):.2f}" for name in ("efcy", "accuracy"))


def marked(value: float, reached: bool, digits: int = 2) -> str:
    """Bold where a goal is reached."""
    return f"**{value:.{digits}f}**" if reached else f"{value:.{digits}f}"


def headline() -> Cells:
    report, lines = Report("comparison"), []
    for model, title in TITLES.items():
        for defence, name in (("none", "none"), ("defq", "DefQ"), ("gated", "gated DefQ")):
            cells = [report.three(model, attack, defence) for attack in ("clean", "linf", "l2", "l1")]
            lines.append([title if defence == "none" else "", name, *cells])
    return lines


def gate() -> Cells:
    """Restored EFCY as a share of clean EFCY, DefQ -> gated, and what clean frames pay."""
    report, lines = Report("comparison"), []
    for rad in (5, 10):
        for model, title in TITLES.items():
            clean = report("efcy", model, "clean", "none", rad)
            cells = []
            for attack in ("linf", "l2", "l1"):
                shares = [report("efcy", model, attack, each, rad) / clean for each in ("defq", "gated")]
                cells.append(" -> ".join(marked(share, share >= RESTORED) for share in shares))
            lines.append([f"{title}, RAD {rad}", *cells, *_paid(report, model, "gated", rad)])
    return lines


def _paid(report: Report, model: str, defence: str, rad: int) -> list[str]:
    """Accuracy that clean images lose, and their T3-ER before and after."""
    accuracy, after = (
        [report(metric, model, "clean", each, rad) for each in ("none", defence)] for metric in ("accuracy", "t3_er")
    )
    lost = accuracy[0] - accuracy[1]
    return [marked(lost, round(lost, 4) <= LOST, 3), f"{after[0]:.3f} -> {marked(after[1], after[1] >= after[0], 3)}"]


def last_exit() -> Cells:
    """Restored EFCY, gate -> gate and last exit, EFCY under the adaptive attack as a multiple of that of plain DefQ, and what
    clean frames pay."""
    report, adaptive, lines = Report("comparison"), Report("adaptive"), []
    for rad in (5, 10):
        for model, title in TITLES.items():
            clean = report("efcy", model, "clean", "none", rad)
            cells = []
            for attack in ("linf", "l2", "l1"):
                gated, both = (report("efcy", model, attack, each, rad) / clean for each in ("gated", "gated@last"))
                cells.append(f"{gated:.2f} -> {marked(both, both >= RESTORED)}")
            plain = adaptive("efcy", model, "adaptive:30", "defq", rad)
            known = [
                adaptive("efcy", model, "adaptive:30", each, rad) / plain
                for each in ("defq@last", "gated", "gated@last")
            ]
            times = [marked(each, each >= TIMES, 1) for each in known]
            cells += [times[0], f"{times[1]} -> {times[2]}", *_paid(report, model, "gated@last", rad)]
            lines.append([f"{title}, RAD {rad}", *cells])
    return lines


def attackers() -> Cells:
    report, lines = Report("adaptive"), []
    columns = [("linf", "none"), ("linf", "defq"), ("adaptive:30", "defq"), ("linf", "gated"), ("adaptive:30", "gated")]
    for model, title in TITLES.items():
        lines.append([title, *(report.two(model, *each) for each in [*columns, ("grey", "gated")])])
    return lines


def alarms() -> Cells:
    rows = read_csv(ROOT / "reports" / "monitor.csv", MonitorRow)
    waits = {(row.model, row.mix): row.mean for row in rows if (row.rad, row.event, row.defq) == (5, "alarm", "off")}
    return [[title, *(f"{waits[model, mix]:,.0f}" for mix in (0, 1, 0.5, 0.2))] for model, title in TITLES.items()]


TABLES: dict[str, dict[str, Callable[[], Cells]]] = {
    "README.md": {"| | undefended, L-inf | DefQ, blind L-inf |": attackers},
    "docs/evidence.md": {
        "| | defence | clean | L-inf | L2 | L1 |": headline,
        "| | undefended, L-inf | DefQ, blind L-inf |": attackers,
    },
    "docs/defence/monitor.md": {"| | frames between false alarms |": alarms},
    "reports/README.md": {
        "| restored EFCY / clean EFCY: DefQ -> gated |": gate,
        "| gate -> gate and last exit |": last_exit,
        "| | undefended, L-inf | DefQ, blind L-inf |": attackers,
    },
}


def filled(file: str) -> str:
    """The text of a file with its tables made anew: each is known by how its heading begins."""
    text = (ROOT / file).read_text()
    for heading, make in TABLES[file].items():
        table = re.compile(rf"^( *)({re.escape(heading)}.*\n) *(\|[-|]+\|\n)(?: *\|.*\n)+", re.MULTILINE)
        body = ["| " + " | ".join(cells) + " |\n" for cells in make()]

        def whole(found: re.Match[str], body: list[str] = body) -> str:
            return "".join(found[1] + line.replace("|  |", "| |") for line in (found[2], found[3], *body))

        text, count = table.subn(whole, text)
        if count != 1:
            raise ValueError(f"found {count} tables that begin with {heading} in {file}; expected one")
    return text


def main() -> None:
    for file in TABLES:
        (ROOT / file).write_text(filled(file))


if __name__ == "__main__":
    main()
