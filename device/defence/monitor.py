"""The attack monitor: a sequential test on the exits at which frames leave.

A slow-down attack always shows in what it is made for: frames stop leaving early. Two cumulative sums (CUSUM; Page,
"Continuous inspection schemes", Biometrika 1954) of log-likelihood ratios watch for it: one raises the alarm, the other
gives the all-clear. Shares of exits with and without an attack, with and without DefQ, come from calibration images
(defq monitor). The limits follow from a mean number of frames between two false alarms, by the Markov chain
of Brook and Evans ("An approach to the probability distribution of CUSUM run length", Biometrika 1972).

The test treats frames as independent, which neighbouring frames of a video are not. For a video, show the monitor only every
n-th frame, or let it learn the usual shares of the scene.
"""

import collections
import threading
from typing import Deque, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from device.defence.cusum import cusum_limit

MIXTURE = 0.3
"""Share of attacked frames for which the test is tuned. It finds attacks on half as many frames too, but later."""
FALSE_ALARM_FRAMES = 10000
MOST_PENDING = 100000  # frames that are kept while limits are computed; then the oldest are dropped
LEAST_SHARE = 1e-3  # of each exit: one at which no calibration image left is rare, but not impossible


class ExitShares(NamedTuple):
    """Share of frames that leave at every exit, each float64 (exits,) with a sum of 1."""

    clean: np.ndarray
    attacked: np.ndarray
    clean_defq: np.ndarray
    attacked_defq: np.ndarray


class Monitor:
    """Tells from the exits of frames whether an attack is under way.

    Args:
        shares: of all exits of the network.
        split: number of exits on the device. All exits behind it count as one.
        false_alarm_frames: mean number of clean frames between two false alarms, and of attacked frames until a false
            all-clear.
        learn: learn the shares of clean frames from the first ``learn`` frames, which must be clean. Until then no alarm is
            raised. The limits of the test are then computed in a thread, so that no frame waits for them, and the frames
            that come meanwhile are judged afterwards.

    Example:
        >>> shares = ExitShares(*(np.array(each) for each in ([.6, .4], [.05, .95], [.5, .5], [.25, .75])))
        >>> monitor = Monitor(shares, split=1)
        >>> frames = [0] * 60  # none leaves on the device
        >>> next(number for number, exit_ in enumerate(frames, 1) if monitor.see(exit_, False))
        18
    """

    def __init__(
        self, shares: ExitShares, split: int, false_alarm_frames: int = FALSE_ALARM_FRAMES, learn: int = 0
    ) -> None:
        self.attacked = False
        """Whether the test believes in an attack."""
        self.alarms = 0
        self.false_alarm_frames = false_alarm_frames
        self._split = split
        self._sum = 0.0
        clean, attacked, clean_defq, attacked_defq = (on_device(each, split) for each in shares)
        self._shares = {False: (clean, attacked), True: (clean_defq, attacked_defq)}
        self._tests = limits_of(self._shares, false_alarm_frames)  # here: it would hold up a frame in the loop
        self._learn = learn
        self._seen = {False: np.zeros(split + 1), True: np.zeros(split + 1)}
        self._learner: Optional[_Learner] = None
        self._pending: Deque[Tuple[int, bool]] = collections.deque(maxlen=MOST_PENDING)

    @property
    def learning(self) -> bool:
        """Whether it does not judge frames yet, because it still counts clean frames or computes the limits of the test."""
        return self._learn > 0 or (self._learner is not None and self._learner.is_alive())

    def settle(self) -> None:
        """Wait until the limits are computed, and judge the frames that came meanwhile. For the end of a run."""
        if self._learner is not None:
            self._learner.join()
            self._take_learned()

    def see(self, exit_: int, quantised: bool) -> bool:
        """Take the exit of one frame. True where that changed ``attacked``.

        Args:
            exit_: 1-based device exit at which the frame left; 0 for a frame that stays.
            quantised: whether DefQ was applied to it.
        """
        bin_ = exit_ - 1 if exit_ else self._split
        if self._learn:
            self._seen[quantised][bin_] += 1
            self._learn -= 1
            if not self._learn:
                self._learner = _Learner(learned_shares(self._shares, self._seen), self.false_alarm_frames)
                self._learner.start()
            return False
        before = self.attacked
        if self._learner is not None:
            if self._learner.is_alive():
                self._pending.append((bin_, quantised))
                return False
            self._take_learned()
        self._judge(bin_, quantised)
        return self.attacked != before

    def _take_learned(self) -> None:
        if self._learner is not None:
            self._tests, self._learner = self._learner.tests or self._tests, None
        for each in self._pending:
            self._judge(*each)
        self._pending.clear()

    def _judge(self, bin_: int, quantised: bool) -> None:
        ratios, limit = self._tests[self.attacked, quantised]
        self._sum = max(0.0, self._sum + ratios[bin_])
        if self._sum >= limit:
            self.attacked = not self.attacked
            self.alarms += self.attacked
            self._sum = 0.0


Shares = Dict[bool, Tuple[np.ndarray, np.ndarray]]
"""Key: whether frames are quantised. Value: the shares of clean and of attacked frames, each float64 (split + 1,)."""
Tests = Dict[Tuple[bool, bool], Tuple[List[float], float]]
"""Key: whether an attack is believed in, and whether frames are quantised. Value: the log-likelihood ratio of each exit, and
the limit."""


class _Learner(threading.Thread):
    """Computes ``tests``, which takes 45 ms on a workstation and seconds on a busy board."""

    def __init__(self, shares: Shares, frames: int) -> None:
        super().__init__(daemon=True)
        self.tests: Tests = {}
        self._arguments = shares, frames

    def run(self) -> None:
        self.tests = limits_of(*self._arguments)


def learned_shares(shares: Shares, seen: Dict[bool, np.ndarray]) -> Shares:
    """The shares with those of clean frames replaced by what was seen. An attack is expected to change the shares of each exit
    by the same factor as on calibration images.

    Args:
        seen: key: whether frames were quantised. Value: number of clean frames at each exit, float64 (split + 1,).
    """
    learned = dict(shares)
    for quantised, counts in seen.items():
        if counts.sum():
            clean, attacked = shares[quantised]
            mine = _floored((counts + clean) / (counts.sum() + 1))
            learned[quantised] = mine, _floored(mine * attacked / clean)
    return learned


def limits_of(shares: Shares, frames: int) -> Tests:
    """The test that raises the alarm and the test that gives the all-clear, each for quantised and for other frames.

    Args:
        frames: mean number of frames between two false alarms.
    """
    tests = {}
    for quantised, (clean, attacked) in shares.items():
        ratios = np.log1p(MIXTURE * (attacked / clean - 1))
        mixed = (
            1 - MIXTURE
        ) * clean + MIXTURE * attacked  # so that there is no all-clear while every third frame is attacked
        tests[False, quantised] = (ratios.tolist(), cusum_limit(ratios, clean, frames))
        tests[True, quantised] = ((-ratios).tolist(), cusum_limit(-ratios, mixed, frames))
    return tests


def check_shares(content: Dict[str, List[float]], exits: int) -> ExitShares:
    """The shares of one RAD in a table.json: four lists, each with one number for every exit.

    Raises:
        ValueError, KeyError, TypeError: a list is absent or is no list of shares.
    """
    arrays = [np.array(content[name], np.float64) for name in ExitShares._fields]
    for name, array in zip(ExitShares._fields, arrays):
        if array.shape != (exits,) or not (np.isfinite(array).all() and array.min() >= 0 and 0 < array.max() <= 1e9):
            raise ValueError("found shares {} = {} of {} exits".format(name, content[name], exits))
    return ExitShares(*(array / array.sum() for array in arrays))


def on_device(shares: np.ndarray, split: int) -> np.ndarray:
    """Shares of exits 1..split and of staying, float64 (split + 1,)."""
    return _floored(np.append(shares[:split], shares[split:].sum()))


def _floored(shares: np.ndarray) -> np.ndarray:
    floored = np.maximum(shares, LEAST_SHARE)
    normed: np.ndarray = floored / floored.sum()
    return normed
