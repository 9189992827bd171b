"""The ceiling: a bound on what goes to the host that holds for every input.

Let L0 be the threshold, r the share of frames that may be sent, g the gain and K the number of classes. A frame that stays is
sent if its confidence is below the level L. After every frame, L becomes min(L0, L - g (sent - r)). At L = 1 / K nothing is
sent. So in any T frames at most r T + (L0 - 1 / K) / g + 1 are sent, whatever the frames are and whoever makes them. The
derivation is in docs/defence/ceiling.md. Prior art: adaptive conformal inference (arXiv 2106.00170).

In the code, the distance of L from 1 / K, in units of g, is kept as a FrameBudget: L = 1 / K + g x what is left of it.
"""

from typing import Any, Dict, Iterable, NamedTuple, Optional

from device.defence.budget import MILLION, ByteBudget, FrameBudget

GAIN = 0.03
"""How far one frame that is sent lowers the level, unless the bundle or the user says otherwise."""
LEAST_GAIN = 0.0001
"""With it, thousands of frames may be sent at once."""


class CeilingSettings(NamedTuple):
    """What share of the frames may be sent."""

    shares: Dict[str, float]
    """Mode of the controller -> share of frames, r, 0 to 1. A mode that is not named has no ceiling."""
    gain: float = GAIN
    """g, above 0."""

    def share(self, mode: str) -> float:
        """The share for a mode; 1 where the mode has no ceiling."""
        return self.shares.get(mode, 1.0)


class Ceiling:
    """Decides whether a frame that stays may be sent. One object serves one run; its methods but ``pay`` are for the loop's thread.

    Frames may have thresholds of their own. What is compared is the confidence as a share of the frame's threshold with the
    level as a share of L0, so that one level serves all frames.

    Args:
        threshold: L0, that of frames without a threshold of their own.
        classes: K.
        settings: of the bound in frames; None for no such bound.
        budget: of the bound in bytes; None for no such bound.

    Example:
        >>> ceiling = Ceiling(0.77, 10, CeilingSettings({"off": 0.45}))
        >>> sent = 0
        >>> for _ in range(1000):  # an attacker who knows the level makes every frame as unsure as can be
        ...     may = ceiling.admits(0.1, 0.77)
        ...     ceiling.count(may, "off")
        ...     sent += may
        >>> sent <= ceiling.bound(1000)
        True
    """

    def __init__(
        self,
        threshold: float,
        classes: int,
        settings: Optional[CeilingSettings] = None,
        budget: Optional[ByteBudget] = None,
    ) -> None:
        self.threshold = threshold
        self.settings = settings
        self.budget = budget
        self._lowest = min(1 / classes, threshold)
        self._largest_share = 0.0  # of the frames so far
        self._frames: Optional[FrameBudget] = None
        if settings is not None:
            self._frames = FrameBudget((threshold - self._lowest) / settings.gain)

    @property
    def level(self) -> float:
        """L, from 1 / K to L0: frames that stay with a confidence below it are sent."""
        fractions = [each.fraction for each in (self._frames, self.budget) if each is not None]
        return self._lowest + (self.threshold - self._lowest) * min(fractions, default=1.0)

    @property
    def share(self) -> Optional[float]:
        """The largest share of the frames so far; None where frames have no bound."""
        return self._largest_share if self._frames is not None else None

    def admits(self, confidence: float, threshold: float) -> bool:
        """Whether a frame that stays may be sent.

        Args:
            confidence: of the last exit on the device.
            threshold: the frame's own.
        """
        level = self.level
        # the first comparison makes the bound hold for confidences below 1 / K too, which only a broken head gives
        return level > self._lowest and confidence * self.threshold < level * threshold

    def count(self, sent: bool, mode: str) -> None:
        """Take a frame, whether it stayed or not, in the order of the frames.

        Args:
            sent: whether a connection took it. A frame that is refused because the host is lost or no connection is free is
                not sent; one that fails on its way counts as sent.
            mode: of the controller, whose share refills the budget.
        """
        if self._frames is not None and self.settings is not None:
            share = self.settings.share(mode)
            self._largest_share = max(self._largest_share, share)
            self._frames.count(sent, share)

    def pay(self, count: int) -> bool:
        """Pay for the bytes of one request, which is about to be sent; False where it must not be. For any thread."""
        return self.budget is None or self.budget.pay(count)

    def bound(self, frames: int) -> Optional[int]:
        """The largest number of frames that may have been sent in any ``frames`` frames in a row of this run; None where frames
        have no bound. Where the mode was changed, the largest of the shares counts."""
        if self._frames is None:
            return None
        refilled = frames * round(self._largest_share * MILLION)
        return min(frames, (refilled + self._frames.capacity) // MILLION + 1)

    def describe(self, mode: str) -> str:
        """The settings, for the line at the start of a run."""
        parts = []
        if self.settings is not None and mode in self.settings.shares:
            parts.append("{:.0%} of the frames".format(self.settings.shares[mode]))
        if self.budget is not None:
            parts.append("{} bytes a second, {} at once".format(self.budget.per_s, self.budget.burst))
        return " and ".join(parts) or "off"


def check_ceiling(content: Any, rads: Iterable[int]) -> Dict[int, CeilingSettings]:
    """The ceilings in a bundle's manifest, for those of ``rads`` that have one; empty where the manifest has none.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: a share or the gain is absent or out of range.
    """
    if content is None:
        return {}
    gain = float(content["gain"])
    found: Dict[int, CeilingSettings] = {}
    for rad in rads:
        modes = content["modes"].get(str(rad), {})
        shares = {str(mode): float(facts["share"]) for mode, facts in modes.items()}
        if not all(0 <= share <= 1 for share in shares.values()) or not LEAST_GAIN <= gain <= 1:
            raise ValueError("found a ceiling with shares {} and gain {}".format(shares, gain))
        if shares:
            found[rad] = CeilingSettings(shares, gain)
    return found
