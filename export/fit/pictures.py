"""The pictures of a fit's report, each as the content of a PNG file."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from device.defence.defq import DefQ
from export.calibration.cost import THRESHOLD_GRID, ExitScores, early_exit, operating_point
from export.calibration.model import CalibratedModel
from export.data.images import Images
from export.evaluation.histograms import DEVICE, HOST, png_of

COLUMNS, MOST_CLASSES = 8, 12
"""Of the picture of samples."""
AMPLIFIED = 8
"""Factor of the differences that are shown."""
SHOWN_ATTACKED = 3
SHOWN_ANSWERS, ANSWER_COLUMNS = 18, 6
WRONG = "#b00020"
MOST_NAMED = 30
"""Classes whose names are written at a confusion matrix."""


class Judged(NamedTuple):
    """Photographs with what each exit answers.

    pixels: uint8 (n, h, w, 3). labels: int64 (n,), the true classes. scores: of every exit.
    """

    pixels: np.ndarray
    labels: np.ndarray
    scores: ExitScores


def samples(images: Images, classes: Sequence[str]) -> bytes:
    """The first photographs of each class, as the network sees them."""
    shown = min(len(classes), MOST_CLASSES)
    figure, rows = plt.subplots(
        shown, COLUMNS, figsize=(COLUMNS * 1.1, shown * 1.15), squeeze=False, constrained_layout=True
    )
    for label, panels in enumerate(rows):
        own = images.pixels[images.labels == label][:COLUMNS]
        for number, panel in enumerate(panels):
            panel.set_xticks([])
            panel.set_yticks([])
            panel.set_frame_on(False)
            if number < len(own):
                panel.imshow(own[number])
        panels[0].set_ylabel(classes[label][:16], fontsize=9)
    return png_of(figure)


def answers(judged: Judged, classes: Sequence[str], threshold: float) -> bytes:
    """Test photographs with what they were taken for with early exits, wrong answers first, and the surest of them first.

    Args:
        threshold: from which a frame leaves.
    """
    left, answer = early_exit(judged.scores, threshold)
    confidence = judged.scores.confidences[left, np.arange(len(left))]
    right = answer == judged.labels
    order = np.lexsort((np.where(right, confidence, -confidence), right))
    wrong = min(int((~right).sum()), SHOWN_ANSWERS // 2)
    chosen = [*order[:wrong], *_spread(order[(~right).sum() :], SHOWN_ANSWERS - wrong)]
    rows = -(-len(chosen) // ANSWER_COLUMNS)
    figure, panels = plt.subplots(
        rows, ANSWER_COLUMNS, figsize=(ANSWER_COLUMNS * 1.7, rows * 2.1), squeeze=False, constrained_layout=True
    )
    for panel in panels.flat:
        panel.axis("off")
    final = len(judged.scores.classes)
    for panel, which in zip(panels.flat, chosen, strict=False):
        panel.imshow(judged.pixels[which])
        place = "final" if left[which] + 1 == final else f"exit {left[which] + 1}"
        told = classes[answer[which]][:16]
        if not right[which]:
            told = f"{classes[judged.labels[which]][:16]},\ntaken for {told}"
        panel.set_title(
            f"{told}\n{confidence[which]:.2f} at {place}", fontsize=8, color="black" if right[which] else WRONG
        )
    return png_of(figure)


def _spread(items: np.ndarray, count: int) -> np.ndarray:
    """So many of these, at equal distances."""
    return items if len(items) <= count else items[np.linspace(0, len(items) - 1, count).round().astype(int)]


def exits(model: CalibratedModel) -> bytes:
    """Accuracy of every exit against its relative cost, and where frames leave."""
    card, costs = model.card, model.costs
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
    for name, accuracies in (("calibration", card.accuracy_calibration), ("test", card.accuracy_test)):
        left.plot(costs, accuracies, marker=".", label=f"{name} photographs")
    left.set_xlabel("relative cost of the exit")
    left.set_ylabel("accuracy if all frames leave there")
    left.set_ylim(0, 1.02)
    left.grid(alpha=0.3)
    left.legend(fontsize=8)
    numbers = np.arange(1, len(costs) + 1)
    for offset, (rad, shares) in enumerate(sorted(card.shares.items())):
        right.bar(numbers + 0.4 * offset - 0.2, shares, 0.4, label=f"RAD {rad} %")
    right.set_xlabel("exit (the last: final classifier)")
    right.set_ylabel("share of calibration photographs")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.legend(fontsize=8)
    return png_of(figure)


def costs(model: CalibratedModel, judged: Judged) -> bytes:
    """Accuracy against mean cost for every threshold, with those of the RADs."""
    points = [operating_point(judged.scores, judged.labels, model.costs, float(each)) for each in THRESHOLD_GRID]
    final = float((judged.scores.classes[-1] == judged.labels).mean())
    figure, panel = plt.subplots(figsize=(5.6, 3.8), constrained_layout=True)
    panel.plot([each.mean_cost for each in points], [each.accuracy for each in points], marker=".", markersize=3)
    panel.axhline(final, color="grey", linestyle="--", linewidth=1)
    panel.annotate("final classifier alone", (0.02, final), fontsize=8, va="bottom", xycoords=("axes fraction", "data"))
    for rad, threshold in sorted(model.thresholds.items()):
        at = operating_point(judged.scores, judged.labels, model.costs, threshold)
        panel.plot(at.mean_cost, at.accuracy, "o", color=HOST)
        panel.annotate(f"RAD {rad} %: threshold {threshold:.2f}", (at.mean_cost, at.accuracy), fontsize=8, xytext=(6, -10), textcoords="offset points")  # fmt: skip
    panel.set_xlabel("mean relative cost of a test photograph")
    panel.set_ylabel("accuracy")
    panel.grid(alpha=0.3)
    return png_of(figure)


def confusion(judged: Judged, classes: Sequence[str]) -> bytes:
    """What the final classifier takes each class for."""
    counts = confusion_counts(judged, len(classes))
    side = min(10, 2.5 + 0.4 * len(classes))
    figure, panel = plt.subplots(figsize=(side, side), constrained_layout=True)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= MOST_NAMED:
        panel.set_xticks(range(len(classes)), [name[:16] for name in classes], rotation=90, fontsize=8)
        panel.set_yticks(range(len(classes)), [name[:16] for name in classes], fontsize=8)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                panel.text(column, row, str(count), ha="center", va="center", fontsize=7, color=colour)
    panel.set_xlabel("answer of the final classifier")
    panel.set_ylabel("true class")
    return png_of(figure)


def confusion_counts(judged: Judged, classes: int) -> np.ndarray:
    """Number of photographs by true class and answer of the final classifier, int64 (classes, classes)."""
    counts: np.ndarray = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (judged.labels, judged.scores.classes[-1]), 1)
    return counts


def attacked(model: CalibratedModel, kinds: dict[str, Judged], classes: Sequence[str], threshold: float) -> bytes:
    """Some photographs clean, attacked and defended, with the differences from the clean one AMPLIFIED times.

    Args:
        kinds: the same photographs as "clean", "attacked" and "defended".
        threshold: from which a frame leaves.
    """
    answers = {name: early_exit(each.scores, threshold) for name, each in kinds.items()}
    chosen = _telling(kinds["clean"].labels, answers)
    figure, rows = plt.subplots(
        len(chosen), 5, figsize=(10, 2.4 * len(chosen) + 0.3), squeeze=False, constrained_layout=True
    )
    clean = kinds["clean"].pixels.astype(np.int16)
    for panels, which in zip(rows, chosen, strict=True):
        shown = [
            ("clean", None),
            ("attacked", None),
            ("attacked", "difference"),
            ("defended", None),
            ("defended", "difference"),
        ]
        for panel, (name, difference) in zip(panels, shown, strict=True):
            pixels = kinds[name].pixels[which]
            if difference:
                pixels = np.clip(128 + AMPLIFIED * (pixels - clean[which]), 0, 255).astype(np.uint8)
                panel.set_title(f"{name} - clean, x {AMPLIFIED}", fontsize=8)
            else:
                exit_, label = (each[which] for each in answers[name])
                panel.set_title(f"{name}: exit {exit_ + 1} of {len(model.costs)},\n{classes[label][:20]}", fontsize=8)
            panel.imshow(pixels)
            panel.axis("off")
    return png_of(figure)


def _telling(labels: np.ndarray, answers: dict[str, tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The photographs on which attack and defence are seen best: attacked they leave much later than clean, and defended they
    leave early with the right answer."""
    clean, harmed, defended = (answers[name] for name in ("clean", "attacked", "defended"))
    merit = (harmed[0] - clean[0]) + (harmed[0] - defended[0]) + 3 * (defended[1] == labels) + 3 * (clean[1] == labels)
    best: np.ndarray = np.argsort(-merit, kind="stable")[:SHOWN_ATTACKED]
    return best


def leaving(histograms: Sequence[tuple[str, Sequence[int]]], split: int) -> bytes:
    """Where frames leave, one panel for each condition: its name, and the number of frames at each exit."""
    figure, panels = plt.subplots(
        1, len(histograms), figsize=(3.4 * len(histograms), 2.8), sharey=True, squeeze=False, constrained_layout=True
    )
    for panel, (name, counts) in zip(panels[0], histograms, strict=True):
        numbers = np.arange(1, len(counts) + 1)
        panel.bar(numbers, np.array(counts) / max(1, sum(counts)), color=np.where(numbers <= split, DEVICE, HOST))
        panel.set_title(name, fontsize=9)
        panel.set_xlabel("exit")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0][0].set_ylabel("share of photographs")
    return png_of(figure)


def defended(pixels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Frames uint8 (n, h, w, 3) behind DefQ with a table, (8, 8)."""
    quantise = DefQ(table)
    return np.stack([quantise(frame).copy() for frame in pixels])
