"""The sections of a fit's report about the network: its classes, its exits and its thresholds."""

import numpy as np

from export.calibration.cost import early_exit
from export.fit.findings import Findings, table
from export.fit.settings import RAD


def network(found: Findings) -> list[str]:
    """Accuracy by class and by exit, and what is confused."""
    told = [f"{each.true} for {each.answer} ({each.photographs})" for each in found.confusions()]
    return [
        "## Network",
        "",
        "Test photographs of each class, and how many of them are right, by the whole network and with early exits:",
        "",
        table(_classes(found)),
        "",
        f"The final classifier takes most often: {', '.join(told)}."
        if told
        else "The final classifier confuses no two classes of the test photographs.",
        "",
        "![Confusion matrix of the final classifier](report/confusion.png)",
        "",
        "Test photographs and what they were taken for, wrong answers first:",
        "",
        "![Test photographs with the answer, its confidence and the exit that gave it](report/answers.png)",
        "",
        "Accuracy when every photograph leaves at one exit, and what it costs to leave there. Exits that did not pay on the calibration "
        "photographs were left out of the network:",
        "",
        table(_exits(found)),
        "",
        "![Accuracy by exit, and where photographs leave](report/exits.png)",
    ]


def _classes(found: Findings) -> list[list[str]]:
    labels, scores = found.final.labels, found.final.scores
    _, early = early_exit(scores, found.model.thresholds[RAD])
    rows = [["class", "photographs", "right, whole network", "right, early exits"]]
    for label, name in enumerate(found.data.classes):
        own = labels == label
        rows.append([name, str(int(own.sum())), *(_right(each[own], label) for each in (scores.classes[-1], early))])
    return rows


def _right(answers: np.ndarray, label: int) -> str:
    return f"{int((answers == label).sum())}" if len(answers) else "-"


def _exits(found: Findings) -> list[list[str]]:
    card = found.model.card
    rows = [["exit", "runs on", "relative cost", "accuracy, calibration", "accuracy, test", "share that leaves"]]
    last = len(card.relative_costs)
    each_exit = zip(card.relative_costs, card.accuracy_calibration, card.accuracy_test, card.shares[RAD], strict=True)
    for number, (cost, calibration, test, share) in enumerate(each_exit, start=1):
        name, where = "final" if number == last else str(number), "device" if number <= found.split else "host"
        rows.append([name, where, f"{cost:.3f}", f"{calibration:.3f}", f"{test:.3f}", f"{share:.0%}"])
    return rows


def thresholds(found: Findings) -> list[str]:
    """The thresholds of the RADs, and the last exits."""
    card, calibration = found.model.card, len(found.data.calibration.labels)
    rows = [["RAD", "threshold", "accuracy", "mean cost", "EFCY", "T3-ER", "last exit", "a frame then costs at most"]]
    for rad, point in card.thresholds.items():
        last = card.last_exits[rad]
        figures = (f"{each:.3f}" for each in (point.accuracy, point.mean_cost, point.efcy, point.t3_er))
        rows.append([f"{rad} %", f"{point.threshold:.2f}", *figures, str(last.exit), f"{last.relative_cost:.2f}"])
    few = (
        f" There are {calibration}: one photograph is {1 / calibration:.1%}, so that thresholds and last exits are rough."
        if calibration < 200
        else ""
    )
    return [
        "## Thresholds and what they cost",
        "",
        "A frame leaves at the first exit whose confidence reaches the threshold. RAD is the share of the final classifier's accuracy that may be "
        f"given up for that. Thresholds were chosen, and these figures measured, on calibration photographs.{few} The last exit is where `--last-exit` "
        "ends the network, so that no frame can cost more.",
        "",
        table(rows),
        "",
        "![Accuracy against mean cost for every threshold](report/costs.png)",
    ]
