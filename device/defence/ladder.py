"""The ladder that ``auto`` climbs while an attack goes on, and comes down again: peace, DefQ, the hardened twin.

Peace leaves frames as they are. The monitor's alarm leads to DefQ, and its all-clear back. Where frames go on leaving late behind
DefQ, the attacker is likely to know it, and the twin answers instead. Attacks hardly change the twin's exits, so that these tell
little about whether an attack is over. So DefQ is tried again after some time: sooner where the exits look like those of clean frames.

An attacker who stops and starts could make the ladder go up and down all the time. So each rung is left later than the time before,
if the attack came back soon after.
"""

from typing import NamedTuple, Optional

import numpy as np

from device.defence.cusum import Cusum
from device.defence.monitor import FALSE_ALARM_FRAMES, MIXTURE, ExitShares, Monitor, on_device

PEACE, DEFQ, TWIN = 0, 1, 2
RUNGS = ("peace", "defq", "twin")
"""What the rungs are called in figures."""
SOON = 4
"""An attack comes back soon where it does so within this many times the frames that the rung was held for."""


class TwinShares(NamedTuple):
    """Shares of the frames that leave at each of the twin's exits, each float64 (exits,) with a sum of 1."""

    clean: np.ndarray
    attacked: np.ndarray


class Ladder:
    """Names the rung for the next frame. For the loop's thread.

    Args:
        monitor: tells peace and attack apart, without DefQ and behind it.
        shares: that the monitor was made with, of all exits of the network.
        split: number of exits on the device.
        twin: shares of the twin's exits; None where there is no twin.
        false_alarm_frames: mean number of frames until a false climb to the twin, while an attack that DefQ stops goes on.
    """

    def __init__(
        self,
        monitor: Monitor,
        shares: Optional[ExitShares] = None,
        split: int = 0,
        twin: Optional[TwinShares] = None,
        false_alarm_frames: int = FALSE_ALARM_FRAMES,
    ) -> None:
        self._monitor = monitor
        self._at_defq, self._at_twin = _Hold(0, 64), _Hold(128, 128)
        self._on_twin = False
        self._frames = 0  # since the last change of rung
        self._calm = False  # whether the twin's exits have looked like those of clean frames
        self._past_defq: Optional[Cusum] = None
        self._calms: Optional[Cusum] = None
        if twin is not None and shares is not None:
            # behind DefQ: the shares of an attack that it stops are usual, those of an attack without DefQ are not
            usual, other = on_device(shares.attacked_defq, split), on_device(shares.attacked, split)
            self._past_defq = Cusum(np.log1p(MIXTURE * (other / usual - 1)), usual, false_alarm_frames)
            clean, attacked = (on_device(each, len(each)) for each in twin)
            mixed = (1 - MIXTURE) * clean + MIXTURE * attacked
            self._calms = Cusum(-np.log1p(MIXTURE * (attacked / clean - 1)), mixed, false_alarm_frames)

    @property
    def rung(self) -> int:
        """PEACE, DEFQ or TWIN."""
        if self._on_twin:
            return TWIN
        return DEFQ if self._monitor.attacked or self._at_defq.holds(self._frames) else PEACE

    def see(self, rung: int, exit_: int, quantised: bool, twin_ready: bool) -> bool:
        """Take the exit of one frame. True where the next frame has another rung.

        Args:
            rung: that the frame was on.
            exit_: 1-based device exit at which the frame left; 0 for a frame that stays.
            quantised: whether DefQ was applied to it.
            twin_ready: whether the twin can answer from the next frame on.
        """
        self._frames += 1
        self._at_defq.age()
        self._at_twin.age()
        if rung == TWIN:
            self._see_twin(exit_)
        else:
            self._monitor.see(exit_, quantised)
            if (
                rung == DEFQ
                and quantised
                and self._past_defq is not None
                and self._past_defq.see(exit_ - 1)
                and twin_ready
            ):
                self._on_twin, self._calm = True, False
                self._at_twin.climbed()
        now = self.rung
        if now == rung:
            return False
        if now == DEFQ and rung == PEACE:
            self._at_defq.climbed()
        elif now == PEACE:
            self._at_defq.left()
        if self._past_defq is not None:
            self._past_defq.reset()
        self._frames = 0
        return True

    def _see_twin(self, exit_: int) -> None:
        if self._calms is not None and self._calms.see(exit_ - 1):
            self._calm = True
        hold = self._at_twin.frames
        if self._frames >= (hold if self._calm else SOON * hold):
            self._on_twin = False
            self._at_twin.left()


class _Hold:
    """How many frames a rung is held at least: twice as many where the attack came back soon, else ``first``."""

    def __init__(self, first: int, step: int, most: int = 1 << 14) -> None:
        self.frames = first
        self._first, self._step, self._most = first, step, most
        self._away: Optional[int] = None  # frames since the rung was left

    def age(self) -> None:
        if self._away is not None:
            self._away += 1

    def climbed(self) -> None:
        soon = self._away is not None and self._away <= SOON * max(self.frames, self._step)
        self.frames = min(max(self._step, 2 * self.frames), self._most) if soon else self._first
        self._away = None

    def left(self) -> None:
        self._away = 0

    def holds(self, frames: int) -> bool:
        """Whether the rung, which was taken so many frames ago, must not be left yet."""
        return self._away is None and frames < self.frames
