"""The figures of a run, counted decision by decision."""

import math
from array import array
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from device.defence.ceiling import Ceiling
from device.loop.exits import efcy_of
from device.loop.sinks import Decision
from device.loop.windows import Windows
from device.payload.forms import FP32


class Summary:
    """Counts the decisions of one run.

    ``exit_histogram`` counts a fallback frame at the device exit that answered. The frame did not leave there, however: T3-ER
    and EFCY count it at the final classifier.

    Args:
        relative_costs: of every exit, ascending, at most 1.0.
        ceiling: of the run, whose figures are shown too.
    """

    def __init__(self, relative_costs: Sequence[float], ceiling: Optional[Ceiling] = None) -> None:
        self.relative_costs = list(relative_costs)
        self.ceiling = ceiling
        self.capped = 0
        """Number of frames that the ceiling kept from being sent."""
        self.windows = Windows()
        """The most frames sent in any 100 and in any 1,000 frames in a row."""
        self.skipped = 0
        self.dropped = 0
        self.reopened = 0
        self.alarms: Optional[int] = None
        """Number of alarms of the monitor; None where there was no monitor."""
        self._answered_at = [0] * len(self.relative_costs)
        self._left_at = [0] * len(self.relative_costs)
        self._total_ms = _Spread()
        self._stages: Dict[str, List[float]] = {}  # sum and count
        self._sources = {"edge": 0, "host": 0, "fallback": 0}
        self._sent: Dict[str, List[int]] = {}  # payload form -> frames and bytes
        self._known = 0
        self._right = 0
        self._ages_ms = _Spread()
        self._quantised = 0
        self._twin = 0
        self._gated = 0
        self._attacked = 0

    def add(self, decision: Decision) -> None:
        """Count one decision."""
        self._answered_at[decision.exit - 1] += 1
        self._left_at[-1 if decision.source == "fallback" else decision.exit - 1] += 1
        self._total_ms.add(decision.ms["total"])
        for stage, value in decision.ms.items():
            entry = self._stages.setdefault(stage, [0.0, 0])
            entry[0] += value
            entry[1] += 1
        self._sources[decision.source] += 1
        self.capped += decision.capped
        self.windows.add(decision.bytes_sent > 0)
        if decision.bytes_sent:
            sent = self._sent.setdefault(decision.payload or FP32, [0, 0])
            sent[0] += 1
            sent[1] += decision.bytes_sent
        if decision.truth is not None:
            self._known += 1
            self._right += decision.label_id == decision.truth
        if "age" in decision.ms:
            self._ages_ms.add(decision.ms["age"])
        self._quantised += decision.quantised
        self._twin += decision.twin
        if decision.attacked is not None:
            self._gated += 1
            self._attacked += decision.attacked

    def to_dict(self) -> Dict[str, Any]:
        """The figures, ready for JSON. Shares are in 0..1, latencies in milliseconds, sizes in bytes."""
        frames = self._total_ms.count
        result: Dict[str, Any] = {
            "frames": frames,
            "skipped": self.skipped,
            "dropped": self.dropped,
            "reopened": self.reopened,
            "sources": dict(self._sources),
        }
        if not frames:
            return result
        result.update(
            edge_exit_ratio=self._sources["edge"] / frames,
            t3_er=sum(self._left_at[:3]) / frames,
            efcy=efcy_of(np.array(self._left_at), self.relative_costs),
            latency_ms=self._total_ms.to_dict(),
            quantised_frames=self._quantised,
            stage_ms={stage: entry[0] / entry[1] for stage, entry in self._stages.items()},
            frames_to_host=sum(count for count, _ in self._sent.values()),
            bytes_to_host=sum(size for _, size in self._sent.values()),
            payloads={form: {"frames": count, "bytes": size} for form, (count, size) in sorted(self._sent.items())},
            exit_histogram=list(self._answered_at),
        )
        if self._ages_ms.count:
            result["age_ms"] = self._ages_ms.to_dict()
        if self.alarms is not None:
            result["alarms"] = self.alarms
        if result["frames_to_host"] or self.ceiling is not None:
            result["most_sent"] = dict(zip(map(str, self.windows.lengths), self.windows.most))
        if self.ceiling is not None:
            result["ceiling"] = ceiling_figures(self.ceiling, self.capped, self.windows)
        if self._known:
            result["accuracy"] = self._right / self._known
        if self._twin:
            result["twin_frames"] = self._twin
        if self._gated:
            result["attacked_frames"] = self._attacked
        return result

    def text(self) -> str:
        """The figures as text for the console."""
        figures = self.to_dict()
        if not figures["frames"]:
            return "0 frames ({} skipped)".format(self.skipped)
        sources = figures["sources"]
        latency = figures["latency_ms"]
        lines = [
            "{} frames: {} left on the device, {} answered by the host, {} fallback".format(
                figures["frames"], sources["edge"], sources["host"], sources["fallback"])
            + (" ({} of them capped)".format(self.capped) if self.capped else "")
            + (", {} skipped".format(self.skipped) if self.skipped else "")
            + (", {} dropped by the camera".format(self.dropped) if self.dropped else "")
            + (", which was reopened {} times".format(self.reopened) if self.reopened else "")
            + ("; {} counted as attacked".format(figures["attacked_frames"]) if "attacked_frames" in figures else "")
            + ("; {} answered by the hardened twin".format(self._twin) if self._twin else ""),
            "T3-ER {:.2f}  EFCY {:.2f}".format(figures["t3_er"], figures["efcy"])
            + ("  accuracy {:.2f} %".format(100 * figures["accuracy"]) if "accuracy" in figures else "")
            + "  latency mean {:.2f} ms, p50 {:.2f}, p99 {:.2f}".format(latency["mean"], latency["p50"], latency["p99"]),
            "sent {} frames, {:.1f} kB{};  mean ms a stage: {}".format(
                figures["frames_to_host"], figures["bytes_to_host"] / 1000, _per_form(figures["payloads"]),
                "  ".join("{} {:.2f}".format(stage, value) for stage, value in figures["stage_ms"].items())),
        ]  # fmt: skip
        if "age_ms" in figures:
            age = figures["age_ms"]
            lines.append("frame age at the decision: p50 {:.1f} ms, p99 {:.1f}".format(age["p50"], age["p99"]))
        if "alarms" in figures:
            lines.append(
                "monitor: {} alarms; {} frames behind DefQ".format(figures["alarms"], figures["quantised_frames"])
            )
        if "ceiling" in figures:
            lines.append(_ceiling_text(figures["ceiling"], figures["most_sent"]))
        return "\n".join(lines)


def ceiling_figures(ceiling: Ceiling, capped: int, windows: Windows) -> Dict[str, Any]:
    """What a ceiling has done, ready for JSON; for the summary and the preview.

    Args:
        capped: number of frames that it kept from being sent.
        windows: the most that was sent, whose bounds are told.
    """
    bounds = {str(length): ceiling.bound(length) for length in windows.lengths}
    budget = ceiling.budget
    return {
        "level": ceiling.level, "threshold": ceiling.threshold, "capped_frames": capped, "share": ceiling.share,
        "bound": None if None in bounds.values() else bounds, "bytes_per_s": None if budget is None else budget.per_s,
    }  # fmt: skip


def _ceiling_text(figures: Dict[str, Any], most_sent: Dict[str, int]) -> str:
    """The figures of a ceiling as a line for the console."""
    bounds = figures["bound"] or {}
    windows = ["{} of any {}{}".format(most, length, " (bound {})".format(bounds[length]) if bounds else "")
               for length, most in most_sent.items()]  # fmt: skip
    return "ceiling: {} frames capped, level {:.2f} of {:.2f}; most frames sent: {}".format(
        figures["capped_frames"], figures["level"], figures["threshold"], ", ".join(windows)
    )


def _per_form(payloads: Dict[str, Dict[str, int]]) -> str:
    """Number of frames in each payload form, and the mean size of one in kilobytes."""
    parts = ["{} as {} of {:.1f} kB".format(each["frames"], form, each["bytes"] / each["frames"] / 1000)
             for form, each in payloads.items()]  # fmt: skip
    return " ({})".format(", ".join(parts)) if parts else ""


class _Spread:
    """The distribution of a time in milliseconds, in memory that does not grow: a camera runs for months.

    The first EXACT values are kept. All values are counted in steps of 1 %, from one microsecond on, so that percentiles of
    more than EXACT values are correct to half a percent.
    """

    EXACT = 4096
    STEP = math.log(1.01)

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0.0
        self._first = array("d")
        self._steps = array("Q", [0]) * 2400  # up to six hours

    def add(self, ms: float) -> None:
        self.count += 1
        self._sum += ms
        if self.count <= self.EXACT:
            self._first.append(ms)
        step = int(math.log(max(ms, 1e-3) / 1e-3) / self.STEP)
        self._steps[min(step, len(self._steps) - 1)] += 1

    def to_dict(self) -> Dict[str, float]:
        """Mean, median and 99th percentile."""
        if self.count <= self.EXACT:
            p50, p99 = np.percentile(self._first, (50, 99))
        else:
            places = np.searchsorted(np.cumsum(self._steps), (0.5 * self.count, 0.99 * self.count))
            p50, p99 = 1e-3 * np.exp((places + 0.5) * self.STEP)
        return {"mean": self._sum / self.count, "p50": float(p50), "p99": float(p99)}
