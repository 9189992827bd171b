"""What the exits of a network cost on this machine, and where its frames leave: what ``defq plan`` computes with.

``defq bench`` measures it on a bundle with all exits on the device and writes it into its report as the member ``costs``.
"""

import math
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import cv2
import numpy as np

from device.bundle.frame_set import FrameSet
from device.bundle.reader import Bundle
from device.defence.base import Defence
from device.defence.quantised import Quantised
from device.defence.undefended import Undefended
from device.engines.base import Engine
from device.errors import DataError
from device.payload.base import Sendable
from device.payload.forms.coefficients import Coefficients
from device.payload.forms.uint8 import Uint8, quantised

JPEG_QUALITY = 90
LIMIT_S = 30.0
"""Frames of each condition are measured for this long at most; a slow board then takes fewer of them, but LEAST at least."""
LEAST = 20
THRESHOLDS = (0.0, 0.3, 0.5, 0.7, 0.9, 0.97, 2.0)
"""With these, frames leave at many exits, so that the time to most of them is measured."""
CONDITIONS = ("clean", "clean + DefQ", "attacked", "attacked + DefQ")


class Leaving(NamedTuple):
    """Where the frames of one condition leave at one relative accuracy drop."""

    shares: List[float]
    """Of all frames, for each exit; their sum is 1."""
    accuracy: float
    """Share of right answers, 0 to 1."""


class Form(NamedTuple):
    """A form in which a frame is sent."""

    ms: float
    """To encode it on this machine."""
    bytes: float
    """Of the body of the request."""


class Costs(NamedTuple):
    """All times are medians in milliseconds on the machine that was measured, one frame at a time."""

    head_ms: List[float]
    """From the head's start until a frame leaves at each exit; the last is the final classifier."""
    defq_ms: float
    """Of DefQ."""
    treat_ms: float
    """Of preparing a frame without DefQ."""
    values: List[int]
    """Numbers in the activation behind each exit but the last; empty where the bundle does not say."""
    ms_per_value: float
    """To encode one number of an activation as uint8."""
    jpeg: Form
    coefficients: Optional[Form]
    """None where the table cannot be sent."""
    leaving: Dict[int, Dict[str, Leaving]]
    """Relative accuracy drop in percent -> condition, one of CONDITIONS -> where frames leave."""

    def slower(self, factor: float) -> "Costs":
        """As on a machine that takes ``factor`` times as long for everything."""
        coefficients = self.coefficients
        return self._replace(
            head_ms=[factor * each for each in self.head_ms], defq_ms=factor * self.defq_ms, treat_ms=factor * self.treat_ms,
            ms_per_value=factor * self.ms_per_value, jpeg=self.jpeg._replace(ms=factor * self.jpeg.ms),
            coefficients=None if coefficients is None else coefficients._replace(ms=factor * coefficients.ms),
        )  # fmt: skip

    def to_json(self) -> Dict[str, Any]:
        return {
            "head_ms": self.head_ms, "defq_ms": self.defq_ms, "treat_ms": self.treat_ms, "values": self.values,
            "ms_per_value": self.ms_per_value, "jpeg": {"quality": JPEG_QUALITY, **self.jpeg._asdict()},
            "coefficients": None if self.coefficients is None else dict(self.coefficients._asdict()),
            "leaving": {str(rad): {name: dict(each._asdict()) for name, each in conditions.items()}
                        for rad, conditions in self.leaving.items()},
        }  # fmt: skip


def measure_costs(bundle: Bundle, engine: Engine, frames: FrameSet) -> Costs:
    """Measure a bundle with all exits on the device. This takes a few passes over its frame set.

    Args:
        engine: of the bundle.
    """
    plain, defended = Undefended(bundle, bundle.default_rad), Quantised(bundle, bundle.default_rad)
    spent: Dict[int, List[float]] = {}
    leaving: Dict[int, Dict[str, Leaving]] = {rad: {} for rad in bundle.thresholds}
    treat_ms: Dict[str, float] = {}
    for name in CONDITIONS:
        defence = defended if name.endswith("DefQ") else plain
        pixels = frames.attacked if name.startswith("attacked") else frames.clean
        treat_ms[name] = _median_ms(lambda defence=defence, pixels=pixels: defence.treat(pixels[0]))  # type: ignore[misc]
        for rad, found in _pass(bundle, engine, defence, pixels, frames.labels, spent).items():
            leaving[rad][name] = found
    return Costs(
        _filled(spent, bundle.relative_costs), treat_ms["clean + DefQ"], treat_ms["clean"], _values(bundle),
        _ms_per_value(), _jpeg(frames.clean), _coefficients(bundle, frames.clean), leaving,
    )  # fmt: skip


def _pass(
    bundle: Bundle,
    engine: Engine,
    defence: Defence,
    pixels: np.ndarray,
    labels: np.ndarray,
    spent: Dict[int, List[float]],
) -> Dict[int, Leaving]:
    """Run each frame at all thresholds. ``spent`` gets the milliseconds to each exit, from 1."""
    rads = sorted(bundle.thresholds)
    thresholds = [bundle.thresholds[rad] for rad in rads]
    exits = np.zeros((len(rads), len(bundle.relative_costs)))
    right = np.zeros(len(rads))
    started_s, count = time.perf_counter(), 0
    for each, label in zip(pixels, labels):
        treatment = defence.treat(each)
        for number, threshold in enumerate([*thresholds, *THRESHOLDS]):
            before_s = time.perf_counter()
            result = engine.run(treatment.image, threshold, treatment.fused)
            ms = (time.perf_counter() - before_s) * 1e3
            spent.setdefault(result.exit, []).append(ms)
            if number < len(rads):
                exits[number, result.exit - 1] += 1
                right[number] += result.label == label
        count += 1
        if count >= LEAST and time.perf_counter() - started_s > LIMIT_S:
            break
    return {
        rad: Leaving((exits[number] / count).tolist(), float(right[number] / count)) for number, rad in enumerate(rads)
    }


def _filled(spent: Dict[int, List[float]], relative_costs: List[float]) -> List[float]:
    """Milliseconds to each exit, rising. An exit at which no frame left lies on the line between its neighbours, drawn over
    the relative cost."""
    known = sorted(spent)
    medians = np.maximum.accumulate([float(np.median(spent[exit_])) for exit_ in known])
    filled = np.interp(relative_costs, [relative_costs[exit_ - 1] for exit_ in known], medians)
    return [float(each) for each in filled]


def _values(bundle: Bundle) -> List[int]:
    """Numbers behind each exit but the last; empty for a bundle of an export that does not say."""
    found = [each.get("values") for each in bundle.manifest["exits"][:-1]]
    return [int(each) for each in found] if all(type(each) is int and each > 0 for each in found) else []


def _median_ms(run: Callable[[], Any], runs: int = 21) -> float:
    spent = []
    for _ in range(runs):
        started_s = time.perf_counter()
        run()
        spent.append((time.perf_counter() - started_s) * 1e3)
    return float(np.median(spent))


def _ms_per_value() -> float:
    """Of 16,384 numbers, half of them zeros, as those of a network with ReLU are."""
    activation = np.maximum(np.random.RandomState(0).normal(0, 1, (1, 16, 32, 32)), 0).astype(np.float32)
    return _median_ms(lambda: Uint8.deflated(quantised(activation, 63).values.tobytes())) / activation.size


def _jpeg(pixels: np.ndarray) -> Form:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    sizes = [len(cv2.imencode(".jpg", each[:, :, ::-1], options)[1]) for each in pixels]
    return Form(_median_ms(lambda: cv2.imencode(".jpg", pixels[0][:, :, ::-1], options)), float(np.mean(sizes)))


def _coefficients(bundle: Bundle, pixels: np.ndarray) -> Optional[Form]:
    encoder = Coefficients(bundle)
    nothing = np.zeros((1, 1), np.float32)
    sendable = [Sendable(nothing, each, bundle.table) for each in pixels[:LEAST]]
    if any(encoder.tensors(each) is None for each in sendable):
        return None

    def body(frame: Sendable) -> int:
        tensors = encoder.tensors(frame) or {}
        return len(encoder.deflated(b"".join(each.tobytes() for each in tensors.values())))

    return Form(_median_ms(lambda: body(sendable[0])), float(np.mean([body(each) for each in sendable])))


def read_costs(report: Dict[str, Any], name: str) -> Costs:
    """The costs in a report of ``defq bench --json``.

    Raises:
        DataError: there are none, or they are not what this release writes.
    """
    content = report.get("costs")
    if content is None:
        raise DataError("found no costs of the exits in {}; expected a report of a bundle with all exits on the device; make one on the board, after: "
                        "defq bundle --model {} --split all --frames 60 --out build/all; run there: defq bench --bundle build/all --json FILE".format(
                            name, str(report.get("bundle", "mobilenet")).split("-split")[0]))  # fmt: skip
    try:
        costs = Costs(
            [float(each) for each in content["head_ms"]], float(content["defq_ms"]), float(content["treat_ms"]),
            [int(each) for each in content["values"]], float(content["ms_per_value"]),
            _form(content["jpeg"]), None if content["coefficients"] is None else _form(content["coefficients"]),
            {int(rad): {condition: Leaving([float(share) for share in conditions[condition]["shares"]],
                                           float(conditions[condition]["accuracy"])) for condition in CONDITIONS}
             for rad, conditions in content["leaving"].items()},
        )  # fmt: skip
        shares = [each.shares for conditions in costs.leaving.values() for each in conditions.values()]
        times = [*costs.head_ms, costs.defq_ms, costs.treat_ms, costs.ms_per_value]
        if len(costs.head_ms) < 2 or not shares or not all(0 < each < math.inf for each in times):
            raise ValueError("found no times of exits")
        if any(len(each) != len(costs.head_ms) or abs(sum(each) - 1) > 1e-3 or min(each) < 0 for each in shares):
            raise ValueError("found shares that do not fit the exits")
        if costs.values and len(costs.values) != len(costs.head_ms) - 1:
            raise ValueError("found {} sizes for {} exits".format(len(costs.values), len(costs.head_ms)))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError("found no usable costs in {} ({}: {}); expected what this release writes; measure again with: defq bench "
                        "--bundle DIR --json FILE".format(name, type(error).__name__, str(error)[:200])) from error  # fmt: skip
    return costs


def _form(content: Dict[str, Any]) -> Form:
    form = Form(float(content["ms"]), float(content["bytes"]))
    if not (0 <= form.ms < math.inf and 0 < form.bytes < math.inf):
        raise ValueError("found a form of {} ms and {} bytes".format(form.ms, form.bytes))
    return form
