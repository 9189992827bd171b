"""Transfer: a table learned on one network defends another, an attack crafted on one is shown to another."""

from typing import Any

from export.calibration import score
from export.datasets import Dataset
from export.defences import defence_named
from export.evaluation.grid import evaluate, measure
from export.evaluation.report import markdown_table
from export.evaluation.subject import attacked, shipped_subject

Rows = list[dict[str, Any]]


def transfer(data: Dataset, models: tuple[str, ...], images: int) -> Rows:
    """Two square matrices of rows: ``kind`` is "table" or "attack", ``source`` the network learned or crafted on."""
    rows: Rows = []
    chosen = data.test.take(images)
    for model in models:
        subject = shipped_subject(model)
        none, defq = defence_named("none", model), defence_named("defq", model)
        for source in models:
            for row in evaluate(subject, data, chosen, ("linf",), ("defq",), tables_of=source):
                rows.append({"kind": "table", "source": source, **row})
            shown = attacked("linf", shipped_subject(source), data, chosen, none)
            for defence in (none, defq):
                scores = score(subject.network, defence(shown))
                for rad, threshold in subject.thresholds.items():
                    about = {
                        "kind": "attack",
                        "source": source,
                        "model": model,
                        "attack": "linf",
                        "defence": defence.name,
                    }
                    found = measure(scores, chosen.labels, subject, threshold, rad)
                    rows.append({**about, "pixels": "8 bit", "images": images, **found})
    return rows


def transfer_report(rows: Rows, rad: int = 5) -> str:
    """Markdown: EFCY / accuracy, one line a source, one column a network that is defended or attacked."""
    models = list(dict.fromkeys(row["model"] for row in rows))

    def matrix(kind: str, defence: str) -> str:
        lines = [["from \\ to", *models]]
        for source in models:
            found = {
                row["model"]: row
                for row in rows
                if (row["kind"], row["source"], row["defence"], row["rad"]) == (kind, source, defence, rad)
            }
            lines.append(
                [source, *(f"{found[model]['efcy']:.2f} / {found[model]['accuracy']:.2f}" for model in models)]
            )
        return markdown_table(lines)

    parts = [
        f"# Transfer, RAD {rad} %, L-inf, {rows[0]['images']} test images",
        "",
        "EFCY / accuracy.",
        "",
        "## A table learned on one network (line) defends another (column), attacked itself",
        "",
        matrix("table", "defq"),
        "",
        "## An attack crafted on one network (line), shown to another (column), no defence",
        "",
        matrix("attack", "none"),
        "",
        "## The same, behind the DefQ of the network that is attacked",
        "",
        matrix("attack", "defq"),
    ]
    return "\n".join(parts) + "\n"
