"""Figures 2, 4, 5 and 6 of the paper, drawn with our weights, and the frontier."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.ticker import MaxNLocator

from export.calibration.attacked_images import attacked
from export.calibration.cost import early_exit, score
from export.calibration.model import CalibratedModel
from export.calibration.table_reader import shipped_table
from export.data.frames import to_pixels
from export.data.images import Dataset
from export.data.output import write_output
from export.defences import defence_named
from export.evaluation.frontier import FrontierPoint, frontier_points
from export.evaluation.histograms import DEVICE, HOST, png_of
from export.evaluation.paper import TITLES, lookup
from export.evaluation.rows import ConditionRow

FORMS = {"clean": "clean", "linf": "L-inf", "l2": "L2", "l1": "L1"}
SPLIT = 3


def attacked_forms(model: CalibratedModel, data: Dataset, count: int, file: Path, rad: int = 5) -> None:
    """Figure 2: one image and its three attacked forms, with the exit that each reaches.

    The image is the first of ``count`` test images that leaves on the device when it is clean, but under none of the attacks.
    Where there is no such image, it is the first of all. The licence of CIFAR-10 does not let us publish its images, so that
    this picture stays on the machine that drew it.
    """
    images = data.test.take(count)
    threshold = model.thresholds[rad]
    none = defence_named("none")
    shown = {attack: attacked(attack, model, data, images, none) for attack in FORMS}
    answers = {attack: early_exit(score(model.network, each), threshold) for attack, each in shown.items()}
    slowed = np.all([answers[attack][0] >= SPLIT for attack in FORMS if attack != "clean"], axis=0)
    exits, classes = answers["clean"]
    chosen = int(np.argmax((exits < SPLIT) & (classes == images.labels) & slowed))
    figure, panels = plt.subplots(1, len(FORMS), figsize=(10, 3), constrained_layout=True)
    for panel, (attack, title) in zip(panels, FORMS.items(), strict=True):
        number, label = (each[chosen] for each in answers[attack])
        panel.imshow(to_pixels(shown[attack])[chosen], interpolation="nearest")
        panel.set_title(f"{title}: exit {number + 1} of {len(model.costs)},\n{data.classes[label]}", fontsize=10)
        panel.axis("off")
    figure.suptitle(f"SDN {TITLES[model.name]}, RAD {rad} %", fontsize=10)
    _save(figure, file)


def heat_maps(models: Sequence[str], file: Path) -> None:
    """Figure 4: the mean ratios of Algorithm 1 and the table baked from them."""
    figure, panels = plt.subplots(
        2, len(models), figsize=(3.6 * len(models), 6.4), constrained_layout=True, squeeze=False
    )
    for column, model in enumerate(models):
        table = shipped_table(model)
        assert table.mean_ratios is not None
        for row, (values, form, title) in enumerate(
            ((table.mean_ratios, "{:.2f}", "mean ratios"), (table.steps, "{:.0f}", "Q_def"))
        ):
            panel = panels[row][column]
            panel.imshow(values, cmap="viridis")
            middle = (values.min() + values.max()) / 2
            for (y, x), value in np.ndenumerate(values):
                colour = "white" if value < middle else "black"
                panel.text(x, y, form.format(value), ha="center", va="center", fontsize=6, color=colour)
            panel.set_title(f"{TITLES[model]}: {title}", fontsize=10)
            panel.set_xticks([])
            panel.set_yticks([])
    _save(figure, file)


def confidence_bars(model: CalibratedModel, data: Dataset, file: Path, rad: int = 5) -> None:
    """Figure 5: the confidences of the last exit on the device for one image, clean, attacked and defended.

    The image is the first test image whose confidence reaches the threshold there when it is clean and when it is defended,
    but not when it is attacked. Where there is no such image, it is the first of all.
    """
    images = data.test.take(100)
    none, defq = defence_named("none"), defence_named("defq", model.table)
    harmed = attacked("linf", model, data, images, none)
    shown = {
        "clean": none(attacked("clean", model, data, images, none)),
        "attacked": none(harmed),
        "defended": defq(harmed),
    }
    with torch.no_grad():
        answers = {name: model.network.exits(each, SPLIT)[-1].softmax(-1).numpy() for name, each in shown.items()}
    sure = {name: each.max(-1) >= model.thresholds[rad] for name, each in answers.items()}
    right = answers["defended"].argmax(-1) == images.labels
    chosen = int(np.argmax(sure["clean"] & ~sure["attacked"] & sure["defended"] & right))
    figure, panels = plt.subplots(1, 3, figsize=(11, 3), sharey=True, constrained_layout=True)
    for panel, (name, each) in zip(panels, answers.items(), strict=True):
        panel.bar(
            range(len(data.classes)),
            each[chosen],
            color=[DEVICE if c == images.labels[chosen] else HOST for c in range(len(data.classes))],
        )
        panel.axhline(model.thresholds[rad], color="grey", linewidth=1, linestyle="--")
        panel.set_xticks(range(len(data.classes)), data.classes, rotation=90, fontsize=8)
        panel.set_title(name, fontsize=10)
    panels[0].set_ylabel(f"confidence at exit {SPLIT}")
    figure.suptitle(f"SDN {TITLES[model.name]}, test image {chosen}; dashed: the threshold of RAD {rad} %", fontsize=10)
    _save(figure, file)


def exit_histograms(rows: list[ConditionRow], models: Sequence[str], file: Path, rad: int = 5) -> None:
    """Figure 6: where images leave: clean, attacked (L-inf) and attacked behind DefQ."""
    find = lookup(rows)
    conditions = (("clean", "none", "clean"), ("linf", "none", "L-inf"), ("linf", "defq", "L-inf + DefQ"))
    figure, panels = plt.subplots(
        len(models), 3, figsize=(11, 2.6 * len(models)), sharey=True, constrained_layout=True, squeeze=False
    )
    for line, model in zip(panels, models, strict=True):
        for panel, (attack, defence, title) in zip(line, conditions, strict=True):
            row = find(model, attack, defence, rad)
            assert row is not None
            shares = np.array(row.exit_histogram) / row.images
            numbers = np.arange(1, len(shares) + 1)
            panel.bar(numbers, shares, color=np.where(numbers <= SPLIT, DEVICE, HOST))
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.set_title(f"{TITLES[model]}, {title}: T3-ER {row.t3_er:.2f}, EFCY {row.efcy:.2f}", fontsize=9)
    for panel in panels[-1]:
        panel.set_xlabel("exit")
    _save(figure, file)


def frontier(rows: list[ConditionRow], models: Sequence[str], file: Path, rad: int = 5) -> None:
    """EFCY and accuracy restored under L-inf, against the accuracy that clean frames lose, for every strength of a defence."""
    figure, panels = plt.subplots(
        2, len(models), figsize=(4.6 * len(models), 7.2), constrained_layout=True, squeeze=False
    )
    metrics: dict[str, Callable[[FrontierPoint], float]] = {
        "EFCY restored": lambda point: point.efcy_restored,
        "accuracy restored": lambda point: point.accuracy_restored,
    }
    for column, model in enumerate(models):
        for row, (name, metric) in enumerate(metrics.items()):
            panel = panels[row][column]
            for family, points in frontier_points(rows, model, rad).items():
                panel.plot(
                    [point.clean_loss for point in points],
                    [metric(point) for point in points],
                    marker="*" if len(points) == 1 else ".",
                    markersize=12 if len(points) == 1 else 6,
                    label=family,
                )
            panel.axvline(0.02, color="grey", linewidth=1, linestyle=":")
            panel.axhline(0.85, color="grey", linewidth=1, linestyle=":")
            panel.set_xlim(-0.03, 0.3)
            panel.set_xlabel("accuracy lost on clean images")
            panel.set_ylabel(f"{name} (share of clean)")
            panel.set_title(f"{TITLES[model]}, L-inf, RAD {rad} %", fontsize=10)
    panels[0][-1].legend(fontsize=7)
    _save(figure, file)


def _save(figure: Any, file: Path) -> None:
    write_output(file, png_of(figure))
