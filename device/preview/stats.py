"""The figures behind the page, as JSON."""

import json
import threading
import time
from typing import Any, Callable, Dict, List, Optional

from device.loop.pipeline import Pipeline
from device.loop.summary import ceiling_figures
from device.preview.comparison import Row, defence_of
from device.preview.last_minute import BIN_S, Point
from device.preview.pictures import is_wrong
from device.preview.preview_sink import Now, PreviewSink, Shot
from device.preview.switches import Switches

FRESH_S = 0.2
POWER_S = 1.0  # some sensors are read through a program

PowerReader = Callable[[], Optional[float]]
"""Watts now; None where they cannot be read."""


class Stats:
    """Gathers the figures, at most every 0.2 s, however many viewers ask.

    Args:
        facts: name -> text or number that stays as it is: bundle, rad, threshold, engine, source, host, payload, and power,
            the sensor's name.
        power_w: None where there is no sensor.
    """

    def __init__(
        self, pipeline: Pipeline, sink: PreviewSink, switches: Switches, facts: Dict[str, Any],
        power_w: Optional[PowerReader] = None,
    ) -> None:  # fmt: skip
        self._ended = ""
        self._ended_s = 0.0
        self._last: Optional[Now] = None  # what there was to show when the source ended
        self._pipeline = pipeline
        self._sink = sink
        self._switches = switches
        self._facts = dict(facts, split=pipeline.bundle.split, exits=len(pipeline.bundle.relative_costs))
        self._power_w = power_w
        self._watts: Optional[float] = None
        self._watts_due_s = 0.0
        self._lock = threading.Lock()
        self._content = b""
        self._due_s = 0.0

    def json(self) -> bytes:
        """The figures now."""
        with self._lock:
            now = time.monotonic()
            if now >= self._due_s:
                self._content = json.dumps(self._figures(now), separators=(",", ":")).encode("ascii")
                self._due_s = now + FRESH_S
            return self._content

    def end(self, reason: str) -> None:
        """No more frames come: the figures stay as they are from now on.

        Args:
            reason: for the page, as in "the source has ended".
        """
        with self._lock:
            self._ended, self._ended_s, self._last = reason, time.monotonic(), self._sink.now()
            self._due_s = 0.0

    def stale(self) -> None:
        """Something was switched: the next answer is to say so."""
        with self._lock:
            self._due_s = 0.0

    def _figures(self, now_s: float) -> Dict[str, Any]:
        if self._power_w is not None and now_s >= self._watts_due_s:
            self._watts, self._watts_due_s = self._power_w(), now_s + POWER_S
            if self._watts is not None and not self._ended:
                self._sink.add_power(self._watts)
        now, summary = self._last or self._sink.now(), self._pipeline.summary
        figures = dict(self._facts, frames=0, recent=None, newest=None)
        if now.points:
            figures["recent"] = _recent(now.points[-1])
        if now.newest is not None:
            figures.update(frames=now.newest.number, newest=self._newest(now.newest))
        figures.update(
            dropped=summary.dropped, skipped=summary.skipped, ended=self._ended,
            ended_s=_rounded(now_s - self._ended_s) if self._ended else None, quiet_s=_rounded(now.quiet_s), host_down_s=_rounded(now.host_down_s), power_w=_rounded(self._watts), monitor=self._monitor(),
            ceiling=self._ceiling(),
            history=_history(now.points), comparison=[_row(each) for each in now.rows], **self._switches.to_dict(),
        )  # fmt: skip
        return figures

    def _newest(self, shot: Shot) -> Dict[str, Any]:
        decision = shot.decision
        truth = None if decision.truth is None else self._pipeline.bundle.label_name(decision.truth)
        return {
            "label": decision.label, "confidence": _rounded(decision.confidence), "exit": decision.exit,
            "source": decision.source, "defq": decision.quantised, "attacked": shot.attacked, "truth": truth,
            "wrong": is_wrong(decision), "defence": defence_of(decision), "capped": decision.capped,
        }  # fmt: skip

    def _ceiling(self) -> Optional[Dict[str, Any]]:
        ceiling, summary = self._pipeline.ceiling, self._pipeline.summary
        if ceiling is None:
            return None
        figures = ceiling_figures(ceiling, summary.capped, summary.windows)
        return dict(
            figures,
            level=_rounded(ceiling.level),
            most_sent=dict(zip(map(str, summary.windows.lengths), summary.windows.most)),
        )

    def _monitor(self) -> Dict[str, Any]:
        monitor = self._pipeline.controller.monitor
        if monitor is None:
            return {"state": "absent", "alarms": 0}
        state = "learning" if monitor.learning else "suspected" if monitor.attacked else "ok"
        return {"state": state, "alarms": monitor.alarms}


def _recent(point: Point) -> Dict[str, Any]:
    return {
        "seconds": point.seconds, "frames": point.frames, "unanswered": point.unanswered, "capped": point.capped,
        "frames_per_s": _rounded(point.frames / point.seconds), "left_share": _rounded(point.left_share),
        "t3_er": _rounded(point.t3_er), "efcy": _rounded(point.efcy), "bytes_per_s": round(point.bytes_per_s),
        "latency_ms": _rounded(point.latency_ms), "accuracy": _rounded(point.accuracy),
        "mean_exit": _rounded(point.mean_exit), "histogram": point.histogram,
    }  # fmt: skip


def _history(points: List[Point]) -> Dict[str, Any]:
    return {
        "step_s": BIN_S,
        "left_share": [_rounded(each.left_share) for each in points],
        "bytes_per_s": [round(each.bytes_per_s) for each in points],
        "latency_ms": [_rounded(each.latency_ms) for each in points],
        "attack": [int(each.attacked) for each in points],
        "defq": [int(each.quantised) for each in points],
        "host_down": [int(each.host_down) for each in points],
    }


def _row(row: Row) -> Dict[str, Any]:
    return {
        "attacked": row.condition.attacked, "defence": row.condition.defence, "frames": row.frames,
        "left_share": _rounded(row.left_share), "t3_er": _rounded(row.t3_er), "efcy": _rounded(row.efcy),
        "bytes_a_frame": _rounded(row.bytes_a_frame), "payloads": row.payloads,
        "latency_ms": _rounded(row.latency_ms), "accuracy": _rounded(row.accuracy),
        "energy_mj": _rounded(row.energy_mj),
    }  # fmt: skip


def _rounded(value: Optional[float]) -> Optional[float]:
    return None if value is None else round(float(value), 4)
