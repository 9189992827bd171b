"""Where a network should run: what each placement takes on a board and over a link, and which is the best.

Every frame's time is a sum: preparing it, the head up to where it leaves, and for a frame that stays encoding it, the link and the
host. The sums are weighed with the shares of frames that leave at each exit. One frame is on its way at a time.
"""

from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from device.payload.base import HEADER_BYTES
from device.planning.costs import Costs, Leaving

DEVICE, SPLIT, JPEG = "device", "split", "JPEG"
CLEAN, ATTACKED = "clean", "attacked"
ANSWER_BYTES = 350
"""Of the host's answer, its HTTP head included; measured: 310 to 360."""
REQUEST_MS, JPEG_REQUEST_MS = 1.4, 0.5
"""Processor time of a request on the device beside its encoding, as measured on a machine with REFERENCE_MS_PER_VALUE: with the
device's HostClient, and a bare one for a JPEG. It grows with the board's ``ms_per_value``, which is Python, NumPy and zlib too."""
REFERENCE_MS_PER_VALUE = 6.4e-6
HOST_REQUEST_MS = 1.5
"""What a request takes at the host and in its queue beside the network's layers."""
SMALL = 1 / 7
"""Of the bytes of an activation in float32: what it takes as uint8. The export chooses the number of levels for it."""


class Link(NamedTuple):
    """The way between a device and its host."""

    rate_bit_s: float
    """In each direction."""
    rtt_s: float
    """There and back, of a small packet."""

    def ms(self, bytes_: float) -> float:
        """Until a request of so many bytes is answered, without the time that the host takes."""
        return 1e3 * (self.rtt_s + 8 * (bytes_ + ANSWER_BYTES) / self.rate_bit_s)


class Expected(NamedTuple):
    """What a placement gives for one kind of frames."""

    mean_ms: float
    p99_ms: float
    bytes: float
    """To the host, a frame, on average over all frames."""
    accuracy: Optional[float]
    """Share of right answers on the frame set; None where it was not measured."""


class Placement(NamedTuple):
    """A way to run the network."""

    where: str
    """DEVICE: all exits on the device. SPLIT: exits 1 to ``split`` there, the others at the host. JPEG: frames go to the host."""
    split: int
    """Exits on the device; 0 for JPEG."""
    payload: str
    """The form of what is sent; empty where nothing is."""
    rad: int
    """Relative accuracy drop in percent; 0 for JPEG: the final classifier answers every frame."""
    clean: Expected
    attacked: Expected
    """Without a defence."""
    defended: Expected
    """Under attack behind DefQ. A frame that goes as JPEG needs no defence: it always takes the whole network."""

    def expected(self, kind: str) -> Expected:
        """What counts for a kind of frames: under attack, DefQ is on."""
        return self.clean if kind == CLEAN else self.defended


class Planner:
    """Computes placements for one board, one link and one host.

    Args:
        costs: of the board.
        link: between it and the host; None where there is no host.
        host_ms: that the host takes for the whole network; None: as many as the board.
    """

    def __init__(self, costs: Costs, link: Optional[Link], host_ms: Optional[float] = None) -> None:
        self._costs = costs
        self._link = link
        self._host = 1.0 if host_ms is None else host_ms / costs.head_ms[-1]
        self._slowness = costs.ms_per_value / REFERENCE_MS_PER_VALUE

    def placements(self, rads: List[int], splits: Optional[List[int]] = None) -> List[Placement]:
        """All placements at the given relative accuracy drops; ``splits``: the splits to look at, by default all."""
        found = [self._on_device(rad) for rad in rads]
        if self._link is not None:
            places = range(1, len(self._costs.values) + 1) if splits is None else splits
            found += [self._split(self._link, rad, split) for rad in rads for split in places]
            found.append(self._jpeg(self._link))
        return found

    def best(self, rads: List[int], kind: str = CLEAN, splits: Optional[List[int]] = None) -> Placement:
        """The placement with the lowest mean time for a kind of frames, CLEAN or ATTACKED; of equals the one with fewer bytes."""
        return min(
            self.placements(rads, splits), key=lambda each: (each.expected(kind).mean_ms, each.expected(kind).bytes)
        )

    def _on_device(self, rad: int) -> Placement:
        def expected(name: str) -> Expected:
            leaving = self._costs.leaving[rad][name]
            times = [(share, self._treat_ms(name) + ms, 0.0) for share, ms in zip(leaving.shares, self._costs.head_ms)]
            return _expected(times, leaving)

        return Placement(
            DEVICE,
            len(self._costs.head_ms),
            "",
            rad,
            expected("clean"),
            expected("attacked"),
            expected("attacked + DefQ"),
        )

    def _split(self, link: Link, rad: int, split: int) -> Placement:
        def expected(name: str) -> Tuple[Expected, str]:
            costs, leaving = self._costs, self._costs.leaving[rad][name]
            payload, sent_ms, sent = self._cheapest(link, split, name.endswith("DefQ"))
            times = []
            for exit_, (share, ms) in enumerate(zip(leaving.shares, costs.head_ms), 1):
                passed = costs.head_ms[min(exit_, split) - 1]
                rest = 0.0 if exit_ <= split else sent_ms + (ms - passed) * self._host
                times.append((share, self._treat_ms(name) + passed + rest, 0.0 if exit_ <= split else sent))
            return _expected(times, leaving), payload

        clean, payload = expected("clean")
        return Placement(SPLIT, split, payload, rad, clean, expected("attacked")[0], expected("attacked + DefQ")[0])

    def _cheapest(self, link: Link, split: int, quantised: bool) -> Tuple[str, float, float]:
        """The payload form that is answered first: its name, the milliseconds without the layers of the tail, and its bytes."""
        costs, values = self._costs, self._costs.values[split - 1]
        forms = [("fp32", 0.0, 4.0 * values), ("uint8", costs.ms_per_value * values, SMALL * 4.0 * values)]
        if quantised and costs.coefficients is not None:  # the host computes the layers of the head again
            again = costs.head_ms[split - 1] * self._host
            forms.append(("coefficients", costs.coefficients.ms + again, costs.coefficients.bytes))
        request_ms = HOST_REQUEST_MS + self._slowness * REQUEST_MS
        timed = [
            (name, ms + link.ms(size + HEADER_BYTES) + request_ms, size + HEADER_BYTES) for name, ms, size in forms
        ]
        return min(timed, key=lambda each: each[1])

    def _jpeg(self, link: Link) -> Placement:
        costs = self._costs
        size = costs.jpeg.bytes + HEADER_BYTES
        request_ms = HOST_REQUEST_MS + self._slowness * JPEG_REQUEST_MS
        ms = costs.jpeg.ms + link.ms(size) + request_ms + costs.head_ms[-1] * self._host
        each = Expected(ms, ms, size, None)
        return Placement(JPEG, 0, "JPEG", 0, each, each, each)

    def _treat_ms(self, name: str) -> float:
        return self._costs.defq_ms if name.endswith("DefQ") else self._costs.treat_ms


def _expected(times: List[Tuple[float, float, float]], leaving: Leaving) -> Expected:
    """The mean and the 99th percentile of a mixture. times: share of the frames, milliseconds, bytes."""
    mean_ms = sum(share * ms for share, ms, _ in times)
    ordered = sorted((ms, share) for share, ms, _ in times)
    reached = np.cumsum([share for _, share in ordered])
    place = min(int(np.searchsorted(reached, 0.99 - 1e-9)), len(ordered) - 1)
    return Expected(mean_ms, ordered[place][0], sum(share * size for share, _, size in times), leaving.accuracy)
