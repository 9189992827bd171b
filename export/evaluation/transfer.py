"""Transfer between networks: a table that was learned on one network defends another, and images that were attacked on one
network are shown to another."""

from export.calibration.attacked_images import attacked, scores_of
from export.calibration.model import shipped_model
from export.calibration.table_reader import shipped_table
from export.data.images import Dataset
from export.defences import defence_named
from export.evaluation.conditions import Condition, evaluate, measure
from export.evaluation.learned_tables import defq_learned_from
from export.evaluation.markdown import markdown_table
from export.evaluation.rows import TransferRow

NORMS_OF = "mobilenet"  # attacks on it take the least time; a table from L2 takes 27,500 gradients


def transfer(
    data: Dataset, models: tuple[str, ...], images: int, about: tuple[str, ...] | None = None
) -> list[TransferRow]:
    """The rows of two square matrices, of the kinds "table" and "attack".

    Args:
        images: number of test images.
        about: make only the cells from or to these networks; None: all cells.
    """
    rows: list[TransferRow] = []
    chosen = data.test.take(images)
    for name in models:
        model = shipped_model(name)
        none, defq = defence_named("none"), defence_named("defq", model.table)
        for source in models:
            if about and name not in about and source not in about:
                continue
            for row in evaluate(model, data, chosen, ("linf",), ("defq",), table=shipped_table(source)):
                rows.append(TransferRow(kind="table", source=source, **vars(row)))
            shown = attacked("linf", shipped_model(source), data, chosen, none)
            for defence in (none, defq):
                scores = scores_of(model, defence(shown))
                for rad, threshold in model.thresholds.items():
                    row = measure(scores, chosen.labels, model, threshold, rad, Condition("linf", defence.name))
                    rows.append(TransferRow(kind="attack", source=source, **vars(row)))
    return rows


def norms(data: Dataset, images: dict[str, int], name: str = NORMS_OF) -> list[TransferRow]:
    """Tables that were learned from attacks of each norm, against attacks of each norm; the rows are of the kind "norm".

    Args:
        images: number of test images for each attack.
    """
    model = shipped_model(name)
    rows: list[TransferRow] = []
    for source in ("linf", "l2", "l1"):
        defence = defq_learned_from(source, model, data)
        for attack, count in images.items():
            for row in evaluate(model, data, data.test.take(count), (attack,), [defence]):
                rows.append(TransferRow(kind="norm", source=source, **vars(row)))
    return rows


def transfer_report(rows: list[TransferRow], rad: int = 5) -> str:
    """Markdown: EFCY / accuracy, one line a source, one column a network that is defended or attacked."""
    models = list(dict.fromkeys(row.model for row in rows if row.kind == "table"))

    def matrix(kind: str, defence: str) -> str:
        lines = [["from \\ to", *models]]
        for source in models:
            found = {
                row.model: row
                for row in rows
                if (row.kind, row.source, row.defence, row.rad) == (kind, source, defence, rad)
            }
            lines.append([source, *(f"{found[model].efcy:.2f} / {found[model].accuracy:.2f}" for model in models)])
        return markdown_table(lines)

    parts = [
        f"# Transfer, RAD {rad} %, L-inf, {rows[0].images} test images",
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
        "",
        f"## Tables learned from the traces of one norm (line) against another (column), {NORMS_OF}",
        "",
        _norms(rows, rad),
    ]
    return "\n".join(parts) + "\n"


def _norms(rows: list[TransferRow], rad: int) -> str:
    attacks = ("clean", "linf", "l2", "l1")
    lines = [["learned from \\ attacked by", *attacks]]
    for source in ("linf", "l2", "l1"):
        found = {row.attack: row for row in rows if (row.kind, row.source, row.rad) == ("norm", source, rad)}
        lines.append([source, *(f"{found[attack].efcy:.2f} / {found[attack].accuracy:.2f}" for attack in attacks)])
    return markdown_table(lines)
