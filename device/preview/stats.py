"""The figures behind the page, as JSON."""

import json
import threading
import time
from typing import Any, Callable, Dict, Optional

from device.loop.pipeline import Pipeline
from device.preview.recorder import BIN_S, Recorder
from device.preview.switches import Switches

FRESH_S = 0.2
POWER_S = 1.0  # some sensors are read through a program

PowerReader = Callable[[], Optional[float]]
"""Watts now; None where they cannot be read."""


class Stats:
    """Gathers the figures, at most every 0.2 s, however many viewers ask.

    Args:
        facts: name -> text or number that stays as it is: bundle, rad, threshold, engine, source, host, and power, the
            sensor's name.
        power_w: None where there is no sensor.
    """

    def __init__(
        self, pipeline: Pipeline, recorder: Recorder, switches: Switches, facts: Dict[str, Any],
        power_w: Optional[PowerReader] = None,
    ) -> None:  # fmt: skip
        self.ended = ""
        """Why no more frames come; empty while they do."""
        self._pipeline = pipeline
        self._recorder = recorder
        self._switches = switches
        self._facts = dict(facts, split=pipeline.bundle.split, exits=recorder.exits)
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

    def stale(self) -> None:
        """Something was switched: the next answer is to say so."""
        with self._lock:
            self._due_s = 0.0

    def _figures(self, now: float) -> Dict[str, Any]:
        if self._power_w is not None and now >= self._watts_due_s:
            self._watts, self._watts_due_s = self._power_w(), now + POWER_S
        points, shot, summary = self._recorder.points(), self._recorder.newest, self._pipeline.summary
        recent: Optional[Dict[str, Any]] = None
        if points:
            last = points[-1]
            recent = {
                "seconds": last.seconds, "frames": last.frames, "frames_per_s": _rounded(last.frames / last.seconds),
                "left_share": _rounded(last.left_share), "bytes_per_s": round(last.bytes_per_s),
                "latency_ms": _rounded(last.latency_ms), "accuracy": _rounded(last.accuracy), "histogram": last.histogram,
            }  # fmt: skip
        newest: Optional[Dict[str, Any]] = None
        if shot is not None:
            decision = shot.decision
            newest = {"label": decision.label, "confidence": _rounded(decision.confidence), "exit": decision.exit,
                      "source": decision.source, "defq": decision.quantised}  # fmt: skip
        history: Dict[str, Any] = {
            "step_s": BIN_S,
            "left_share": [_rounded(each.left_share) for each in points],
            "bytes_per_s": [round(each.bytes_per_s) for each in points],
            "latency_ms": [_rounded(each.latency_ms) for each in points],
            "attack": [int(each.attack) for each in points],
            "defq": [int(each.quantised) for each in points],
        }
        return dict(
            self._facts, frames=0 if shot is None else shot.number, dropped=summary.dropped,
            skipped=summary.skipped, ended=self.ended, power_w=_rounded(self._watts),
            monitor=self._monitor(), recent=recent, newest=newest, history=history, **self._switches.to_dict(),
        )  # fmt: skip

    def _monitor(self) -> Dict[str, Any]:
        monitor = self._pipeline.controller.monitor
        if monitor is None:
            return {"state": "absent", "alarms": 0}
        state = "learning" if monitor.learning else "suspected" if monitor.attacked else "ok"
        return {"state": state, "alarms": monitor.alarms}


def _rounded(value: Optional[float]) -> Optional[float]:
    return None if value is None else round(float(value), 4)
