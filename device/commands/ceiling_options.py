"""The options --ceiling and --ceiling-bytes of run, preview and bench."""

import argparse
import re
from typing import Callable, NamedTuple, Optional, Union

from device.bundle.reader import Bundle
from device.commands.options import OptionGroups
from device.defence.budget import ByteBudget
from device.defence.ceiling import GAIN, LEAST_GAIN, Ceiling, CeilingSettings
from device.defence.controller import MODES
from device.payload.encoder import largest_request_bytes
from device.system.options import decimal_number

OFF, OF_BUNDLE = "off", "bundle"
BYTES = re.compile(r"([0-9.]+)([kM]?)(/s)?(?:,([0-9.]+)([kM]?))?", re.ASCII)
TIMES = {"": 1, "k": 1000, "M": 1000000}
BURST_S = 10
"""How many seconds' worth of bytes may be sent at once, unless the user says otherwise."""
LEAST_SHARE = 0.001
MOST_BYTES = 10**12


class ByteLimit(NamedTuple):
    """What --ceiling-bytes asks for."""

    per_s: int
    burst: int


def add_ceiling_options(groups: OptionGroups, live: bool = True) -> None:
    """Add both options.

    Args:
        live: whether the command watches a source, which may be a camera.
    """
    default = "the bundle's for cameras, off for files" if live else "the bundle's"
    groups.host.add_argument("--ceiling", type=ceiling_setting, metavar="SHARE[,GAIN]",
        help="send at most this share of the frames in the long run, whatever the frames are: {:g} to 1, and how far a frame that "
             "is sent lowers the level (default {:g}); off; or bundle, the bundle's own (default: {})".format(LEAST_SHARE, GAIN, default))  # fmt: skip
    groups.host.add_argument("--ceiling-bytes", type=byte_limit, metavar="N/s[,BURST]",
        help="send at most so many bytes a second, and at most BURST bytes at once (default {} seconds' worth); k and M may "
             "follow a number (default: no limit)".format(BURST_S))  # fmt: skip


def ceiling_setting(text: str) -> Union[str, CeilingSettings]:
    """For ``type`` of --ceiling: OFF, OF_BUNDLE, or one share for all modes."""
    if text in (OFF, OF_BUNDLE):
        return text
    share, comma, gain = text.partition(",")
    try:
        value = decimal_number(share, LEAST_SHARE, 1.0)
        return CeilingSettings(dict.fromkeys(MODES, value), decimal_number(gain, LEAST_GAIN, 1.0) if comma else GAIN)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            "{} as SHARE or GAIN in SHARE[,GAIN]; or {} or {}".format(error, OFF, OF_BUNDLE)
        ) from error


def byte_limit(text: str) -> ByteLimit:
    """For ``type`` of --ceiling-bytes."""
    found = BYTES.fullmatch(text)
    try:
        if found is None:
            raise ValueError("found {}; expected N/s or N/s,BURST, as in 20k/s,100k".format(text[:40]))
        per_s = decimal_number(found.group(1), 0, MOST_BYTES) * TIMES[found.group(2)]
        burst = BURST_S * per_s
        if found.group(4) is not None:
            burst = decimal_number(found.group(4), 0, MOST_BYTES) * TIMES[found.group(5)]
        if not 1 <= per_s <= MOST_BYTES or not 1 <= burst <= MOST_BYTES:
            raise ValueError("found {}; expected 1 byte or more, and at most {:g}".format(text[:40], MOST_BYTES))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return ByteLimit(int(per_s), int(burst))


def ceiling_maker(
    arguments: argparse.Namespace, bundle: Bundle, rad: int, live: bool
) -> Callable[[], Optional[Ceiling]]:
    """A function that makes the ceiling of a run; it gives None where all frames that stay may be sent.

    Args:
        live: whether the source is a camera, which gets the bundle's ceiling where nothing else is asked for. What is made of
            a file must not depend on the frames before, unless the user wants it.
    """
    asked = arguments.ceiling or (OF_BUNDLE if live else OFF)
    settings = asked if isinstance(asked, CeilingSettings) else bundle.ceiling.get(rad) if asked == OF_BUNDLE else None
    limit = arguments.ceiling_bytes

    def make() -> Optional[Ceiling]:
        if not bundle.has_tail or (settings is None and limit is None):
            return None
        budget = None if limit is None else ByteBudget(limit.per_s, limit.burst, largest_request_bytes(bundle))
        return Ceiling(bundle.threshold(rad), len(bundle.labels), settings, budget)

    return make
