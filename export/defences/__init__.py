"""Defences by their name: what is done to a frame before the network."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from device.defence.defq import DefQ
from device.defence.gate import Gate
from device.errors import UsageError
from device.system.options import decimal_number
from device.system.suggest import did_you_mean
from export.calibration.table_file import TableFile
from export.data.frames import to_pixels
from export.defences import frames
from export.defences.quantiser import BlockQuantiser
from export.networks.weights import to_tensor

__all__ = ["BlockQuantiser", "Defence", "defence_named", "gated", "gated_until", "table_defence"]

FORMS = (
    "none, defq, gated, searched, defq:LOW-HIGH, flat, transposed, flat:STEP, defq*SCALE, moving-grid, moving-grid+scale, "
    "distillation, jpeg:QUALITY, bits:BITS, median, gaussian:SIGMA, resizing, resizing:SHARE"
)
SPREAD = 0.5  # of moving-grid+scale: all steps are multiplied by a factor between 1 / 1.5 and 1.5


@dataclass(frozen=True)
class Defence:
    """A defence of single frames.

    Args:
        name: on the command line and in reports.
        frame: treats a frame, uint8 (h, w, 3), with a source of random numbers, and returns uint8 (h, w, 3).
        quantiser: the same with gradients, which adaptive attacks need; None where there is no such form.
        identity: name and settings, under which attacked images are cached.
        gate: decides which frames are treated; None: all of them.
    """

    name: str
    frame: frames.FrameDefence
    quantiser: BlockQuantiser | None = None
    identity: str = ""
    gate: Gate | None = None

    def pixels(self, images: np.ndarray, seed: int = 0) -> np.ndarray:
        """Treat frames, uint8 (n, h, w, 3), one after the other. ``seed`` is that of the random numbers."""
        generator = np.random.default_rng(seed)
        return np.stack([self.frame(each, generator) for each in images])

    def thresholds(self, images: np.ndarray, rad: int, threshold: float) -> float | np.ndarray:
        """The threshold for frames before they are treated, uint8 (n, h, w, 3).

        Args:
            rad: relative accuracy drop in percent.
            threshold: the network's threshold for it.

        Returns:
            ``threshold``; behind a gate the threshold of each frame, float (n,).
        """
        if self.gate is None:
            return threshold
        stages = [self.gate.stage_for(frame) for frame in images]
        return np.array([threshold if stage is None else stage.thresholds[rad] for stage in stages])

    def __call__(self, images: Tensor, eight_bit: bool = True) -> Tensor:
        """Treat images, float32 (n, 3, h, w) in [0, 1], and return the same shape and range.

        Args:
            eight_bit: round the images to 8 bits first, as a camera or a file delivers them. Otherwise the values stay as
                they are, but defences that only work on 8 bits round them nevertheless.
        """
        if not eight_bit and self.name == "none":
            return images
        if not eight_bit and self.quantiser and not (self.quantiser.random or self.gate):
            return self.quantiser(images)
        return to_tensor(self.pixels(to_pixels(images)))


def defence_named(name: str, table: TableFile | None = None) -> Defence:
    """The defence of a name, as FORMS lists them.

    Args:
        table: the table file of the network, for the defences that are built from it.

    Raises:
        UsageError: there is no such defence, or it needs a table, or a part of the table file, that is absent.
        DataError: the table file has no mean ratios to bake another table from.
    """
    for pattern, build in _FORMS.items():
        found = re.fullmatch(pattern, name)
        if found:
            return build(name, table, *found.groups())
    without_number = [form for form in FORMS.split(", ") if ":" not in form and "*" not in form]
    raise UsageError(f"found defence {name!r}; expected one of: {FORMS}{did_you_mean(name, without_number)}")


def table_defence(name: str, table: np.ndarray) -> Defence:
    """DefQ with any table, (8, 8)."""
    return Defence(name, frames.quantisation(table), BlockQuantiser(table), f"table {table.tolist()}")


def _learned(build: Callable[..., Defence]) -> Callable[..., Defence]:
    """Makes ``build`` refuse to go on where the network has no table."""

    def checked(name: str, table: TableFile | None, *settings: str | None) -> Defence:
        if table is None:
            raise UsageError(
                f"found defence {name} for weights without a table of their own; expected one that was learned on them; "
                "run defq table with the --model and --weights of this command"
            )
        return build(name, table, *settings)

    return checked


def _moving_grid(name: str, table: TableFile, scale: str | None) -> Defence:
    steps, spread = table.steps, SPREAD if scale else 0.0
    quantiser = BlockQuantiser(steps, moving_grid=True, spread=spread)
    return Defence(name, frames.random_quantisation(steps, spread), quantiser, f"moving {spread} {steps.tolist()}")


def gated(name: str, gate: Gate) -> Defence:
    """DefQ for the frames that a noise gate finds, with the tables of its stages."""
    quantise = {stage.level: DefQ(stage.table) for stage in gate.stages}

    def defend(frame: np.ndarray, _: np.random.Generator) -> np.ndarray:
        stage = gate.stage_for(frame)
        return frame if stage is None else quantise[stage.level](frame).copy()

    strong = gate.stages[0]
    return Defence(
        name,
        defend,
        BlockQuantiser(strong.table),
        f"table {strong.table.tolist()}",  # the attacker has to expect that the gate finds the frame
        gate,
    )


def gated_until(name: str, table: TableFile, rad: int, last: int) -> Defence:
    """``gated`` before a network that ends at exit ``last``, from 1, for ``rad``: with the gate that was calibrated for it
    where there is one."""
    return gated(name, table.ending_at(rad, last).own_gate().gate())


def _in(name: str, text: str, least: float, most: float) -> float:
    """The number in the name of a defence.

    Raises:
        UsageError: it is no number from ``least`` to ``most``.
    """
    try:
        return decimal_number(text, least, most)
    except ValueError as error:
        raise UsageError(f"{error} in the defence {name!r}") from error


def _number(build: Callable[[float], frames.FrameDefence], least: float, most: float) -> Callable[..., Defence]:
    return lambda name, _table, value: Defence(name, build(_in(name, value, least, most)), identity=name)


def _scaled(name: str, steps: np.ndarray, scale: str) -> Defence:
    return table_defence(name, np.maximum(steps * _in(name, scale, 0.01, 100), 1))


def _baked(name: str, table: TableFile, low: str, high: str) -> Defence:
    least, most = (int(_in(name, each, 1, 255)) for each in (low, high))
    if least >= most:
        raise UsageError(f"found defence {name!r}; expected LOW below HIGH")
    return table_defence(name, table.baked(least, most))


_FORMS: dict[str, Callable[..., Defence]] = {
    "none": lambda name, _table: Defence(name, lambda frame, _generator: frame),
    "defq": _learned(lambda name, table: table_defence(name, table.steps)),
    "gated": _learned(lambda name, table: gated(name, table.own_gate().gate())),
    "searched": _learned(lambda name, table: table_defence(name, table.own_searched().table)),
    r"defq:([0-9]+)-([0-9]+)": _learned(_baked),
    r"defq\*(.+)": _learned(lambda name, table, scale: _scaled(name, table.steps, scale)),
    "flat": _learned(lambda name, table: table_defence(name, np.full((8, 8), table.steps.mean()))),
    r"flat:([0-9]+)": lambda name, _table, step: table_defence(name, np.full((8, 8), _in(name, step, 1, 255))),
    "transposed": _learned(lambda name, table: table_defence(name, table.steps.T.copy())),
    r"moving-grid(\+scale)?": _learned(_moving_grid),
    "distillation": lambda name, _table: table_defence(name, frames.DISTILLATION_TABLE),
    r"distillation\*(.+)": lambda name, _table, scale: _scaled(name, frames.DISTILLATION_TABLE, scale),
    r"jpeg:([0-9]+)": _number(lambda quality: frames.jpeg(int(quality)), 1, 100),
    r"bits:([0-9]+)": _number(lambda bits: frames.bit_depth(int(bits)), 1, 7),
    "median": lambda name, _table: Defence(name, frames.median(3), identity=name),
    r"gaussian:(.+)": _number(frames.gaussian, 0.01, 100),
    "resizing": lambda name, _table: Defence(name, frames.random_resizing(0.8), identity=name),
    r"resizing:(.+)": _number(frames.random_resizing, 0.05, 1),
}
