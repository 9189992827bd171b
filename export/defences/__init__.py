"""Defences by name: what stands between a frame and the network."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from device.errors import UsageError
from device.gate import Gate
from device.quantization import DefQ
from device.table_file import check_gate
from export.defences import frames
from export.defences.quantiser import BlockQuantiser
from export.frames import to_pixels
from export.last_exit import table_until
from export.quantization_table import TABLES, bake, read_table, shipped_table
from export.weights import to_tensor

__all__ = ["BlockQuantiser", "Defence", "defence_named", "gated", "gated_until", "table_defence"]

FORMS = (
    "none, defq, gated, searched, defq:LOW-HIGH, flat, transposed, flat:STEP, defq*SCALE, moving-grid, moving-grid+scale, "
    "distillation, jpeg:QUALITY, bits:BITS, median, gaussian:SIGMA, resizing"
)
SPREAD = 0.5  # moving-grid+scale: all steps times 1/1.5 to 1.5


@dataclass(frozen=True)
class Defence:
    """A defence of single frames.

    Args:
        name: as the command line and the reports say it.
        frame: uint8 (h, w, 3) and a source of random numbers -> uint8 (h, w, 3).
        quantiser: the same with gradients, where there is such a form; adaptive attacks need it.
        identity: name and settings, for caches.
        gate: which frames it treats, where that is not all of them.
    """

    name: str
    frame: frames.FrameDefence
    quantiser: BlockQuantiser | None = None
    identity: str = ""
    gate: Gate | None = None

    def pixels(self, images: np.ndarray, seed: int = 0) -> np.ndarray:
        """Defend uint8 (n, h, w, 3), frame by frame."""
        generator = np.random.default_rng(seed)
        return np.stack([self.frame(each, generator) for each in images])

    def thresholds(self, images: np.ndarray, rad: int, threshold: float) -> float | np.ndarray:
        """The threshold for frames uint8 (n, h, w, 3) as they come in: ``threshold``, or what a gate makes of it for
        each frame, float (n,)."""
        if self.gate is None:
            return threshold
        stages = [self.gate.stage_for(frame) for frame in images]
        return np.array([threshold if stage is None else stage.thresholds[rad] for stage in stages])

    def __call__(self, images: Tensor, eight_bit: bool = True) -> Tensor:
        """Defend float32 (n, 3, h, w) in [0, 1].

        Args:
            eight_bit: round the images to 8 bits first, as a camera or a file delivers them. Else the values go on
                as they are; defences that only know 8 bits still round them.
        """
        if not eight_bit and self.name == "none":
            return images
        if not eight_bit and self.quantiser and not (self.quantiser.random or self.gate):
            return self.quantiser(images)
        return to_tensor(self.pixels(to_pixels(images)))


def defence_named(name: str, model: str) -> Defence:
    """The defence that ``name`` says; DefQ's tables are those of ``model``.

    Raises:
        UsageError: no such defence.
    """
    for pattern, build in _FORMS.items():
        found = re.fullmatch(pattern, name)
        if found:
            return build(name, model, *found.groups())
    raise UsageError(f"found defence {name!r}; expected one of: {FORMS}")


def table_defence(name: str, table: np.ndarray) -> Defence:
    """DefQ with any table, float (8, 8)."""
    return Defence(name, frames.quantisation(table), BlockQuantiser(table), f"table {table.tolist()}")


def _defq(name: str, model: str, low: str | None = None, high: str | None = None) -> Defence:
    return table_defence(name, bake(model, int(low or 20), int(high or 60)))


def _moving_grid(name: str, model: str, scale: str | None) -> Defence:
    table, spread = shipped_table(model), SPREAD if scale else 0.0
    quantiser = BlockQuantiser(table, moving_grid=True, spread=spread)
    return Defence(name, frames.random_quantisation(table, spread), quantiser, f"moving {spread} {table.tolist()}")


def gated(name: str, gate: Gate) -> Defence:
    """DefQ for the frames that a noise gate finds, with its tables."""
    quantise = {stage.level: DefQ(stage.table) for stage in gate.stages()}

    def defend(frame: np.ndarray, _: np.random.Generator) -> np.ndarray:
        stage = gate.stage_for(frame)
        return frame if stage is None else quantise[stage.level](frame).copy()

    return Defence(
        name,
        defend,
        BlockQuantiser(gate.table),
        f"table {gate.table.tolist()}",  # an attacker has to expect that the gate finds the frame
        gate,
    )


def gated_until(name: str, model: str, rad: int, last: int) -> Defence:
    """``gated`` for a network that ends at exit ``last`` for ``rad``."""
    return _gate_of(name, model, table_until(read_table(TABLES / f"{model}.json"), rad, last))


def _gate_of(name: str, model: str, content: dict[str, Any]) -> Defence:
    gate = check_gate(content, (), f"tables/{model}.json")
    if gate is None:
        raise UsageError(
            f"found no gate in tables/{model}.json; calibrate it with: python -m export gate --model {model}"
        )
    return gated(name, gate)


def _shipped_gate(name: str, model: str) -> Defence:
    return _gate_of(name, model, read_table(TABLES / f"{model}.json"))


def _searched(name: str, model: str) -> Defence:
    content = read_table(TABLES / f"{model}.json")
    if "searched" not in content:
        raise UsageError(
            f"found no searched table in tables/{model}.json; make it with: python -m export search --model {model}"
        )
    return table_defence(name, np.array(content["searched"]["table"]))


def _number(build: Callable[[float], frames.FrameDefence]) -> Callable[..., Defence]:
    return lambda name, _model, value: Defence(name, build(float(value)), identity=name)


def _flat_like_defq(name: str, model: str) -> Defence:
    return table_defence(name, np.full((8, 8), shipped_table(model).mean()))


_FORMS: dict[str, Callable[..., Defence]] = {
    "none": lambda name, _model: Defence(name, lambda frame, _generator: frame),
    "defq": _defq,
    "gated": _shipped_gate,
    "searched": _searched,
    r"defq:(\d+)-(\d+)": _defq,
    r"defq\*([\d.]+)": lambda name, model, scale: table_defence(
        name, np.maximum(shipped_table(model) * float(scale), 1)
    ),
    "flat": _flat_like_defq,
    r"flat:(\d+)": lambda name, _model, step: table_defence(name, np.full((8, 8), float(step))),
    "transposed": lambda name, model: table_defence(name, shipped_table(model).T.copy()),
    r"moving-grid(\+scale)?": _moving_grid,
    "distillation": lambda name, _model: table_defence(name, frames.DISTILLATION_TABLE),
    r"distillation\*([\d.]+)": lambda name, _model, scale: table_defence(
        name, frames.DISTILLATION_TABLE * float(scale)
    ),
    r"jpeg:(\d+)": _number(lambda quality: frames.jpeg(int(quality))),
    r"bits:([1-7])": _number(lambda bits: frames.bit_depth(int(bits))),
    "median": lambda name, _model: Defence(name, frames.median(3), identity=name),
    r"gaussian:([\d.]+)": _number(frames.gaussian),
    "resizing": lambda name, _model: Defence(name, frames.random_resizing(0.8), identity=name),
    r"resizing:([\d.]+)": _number(frames.random_resizing),
}
