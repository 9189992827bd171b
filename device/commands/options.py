"""The options of run, preview and bench, in the groups that their help shows: source, decision, host, output."""

import argparse
from typing import Any, NamedTuple

from device.cameras.open import SOURCES
from device.defence.controller import MODES
from device.link.credentials import add_arguments as add_credentials_arguments
from device.link.deadline import DEFAULT_TIMEOUT_S
from device.link.host_client import AUTO, PAYLOADS
from device.power.open import SENSORS
from device.system.options import decimal, whole

SOURCES_HELP = "{}, or bundle:clean and bundle:attacked for the bundle's own frame set".format(
    ", ".join(kind.example for kind in SOURCES.values())
)
ENGINE_HELP = (
    "what runs the head: auto, onnxruntime, onnxruntime-cuda, onnxruntime-tensorrt or tensorrt (default auto: the best "
    "that works)"
)
THREADS_HELP = "threads of ONNX Runtime (default: as many as there are cores, at most 4)"
RAD_HELP = "relative accuracy drop that chooses the threshold, 5 or 10 (default: the bundle's)"
POWER_HELP = "power sensor: auto, none, {}, ina2xx:ADDRESS or csv:FILE (default auto)".format(", ".join(SENSORS))


class OptionGroups(NamedTuple):
    """The groups of a command's help; each takes options by ``add_argument`` as a parser does."""

    source: Any
    """Where frames come from, and how many."""
    decision: Any
    """How a frame is decided on: bundle, engine, defence."""
    host: Any
    """Where frames go that stay, and how."""
    output: Any
    """What the command shows and writes."""


def option_groups(parser: argparse.ArgumentParser) -> OptionGroups:
    """Add the empty groups to a parser, in the order in which its help shows them."""
    return OptionGroups(*map(parser.add_argument_group, OptionGroups._fields))


def add_decision_options(groups: OptionGroups, bundle_required: bool = True, payload: str = AUTO) -> None:
    """Options of every command that decides on frames, but for the source and the defence.

    Args:
        payload: the default of --payload.
    """
    add = groups.decision.add_argument
    add("--bundle", required=bundle_required, metavar="DIR", help="folder or .tar.gz made by defq bundle")
    add("--rad", type=whole(0, 100), metavar="PERCENT", help=RAD_HELP)
    add("--engine", default="auto", metavar="NAME", help=ENGINE_HELP)
    add("--fp16", action="store_true", help="compute in half precision in TensorRT; confidences change a little")
    add("--threads", type=whole(0, 1024), default=0, metavar="N", help=THREADS_HELP)
    add = groups.host.add_argument
    add("--host", metavar="URL",
        help="address of a host, http://HOST:PORT of defq serve (default: the device answers alone)")  # fmt: skip
    add("--require-host", action="store_true", help="stop with exit code 5 when the host is absent at the start")
    add("--connections", type=whole(1, 256), default=4, metavar="N",
        help="frames on their way to the host at once (default 4); with 1, files are decided on one frame at a time")  # fmt: skip
    add("--payload", choices=PAYLOADS,
        help="form in which frames go to the host: activations as fp32 or uint8, or the DCT coefficients of frames behind "
             "DefQ, from which the host computes the head again (default {}; auto: the fastest form that the host "
             "takes, measured while frames go)".format(payload))  # fmt: skip
    groups.host.set_defaults(default_payload=payload)
    add("--timeout-ms", type=decimal(1, 3600000), default=1000 * DEFAULT_TIMEOUT_S, metavar="MS",
        help="longest wait for the host's answer to a frame (default %(default).0f)")  # fmt: skip
    add_credentials_arguments(groups.host)


def payload_of(arguments: argparse.Namespace) -> str:
    """The payload form that was asked for, or the command's default. ``arguments.payload`` is None where none was asked for."""
    return str(arguments.payload or arguments.default_payload)


def add_camera_options(groups: OptionGroups, defq: str = "on") -> None:
    """Options of the commands that watch a source.

    Args:
        defq: the default of --defq.
    """
    add = groups.source.add_argument
    add("--source", required=True, metavar="URI", help=SOURCES_HELP)
    add("--frames", type=whole(1), metavar="N", help="stop after N frames (default: when the source ends)")
    add = groups.decision.add_argument
    add("--defq", choices=MODES, default=defq,
        help="which frames are quantised. off: none; on: all; gated: those with much colour noise; auto: all while the monitor "
             "suspects an attack, and the hardened twin answers where that does not help; twin: the hardened twin answers every "
             "frame (default %(default)s)")  # fmt: skip
    add("--monitor", action="store_true", help="watch the exits and warn of an attack; --defq auto implies it")
    add("--learn", type=whole(0, 1 << 31), default=0, metavar="N",
        help="the first N frames are clean: let the monitor learn from them how often frames leave early here")  # fmt: skip


def add_debug_option(groups: OptionGroups) -> None:
    """The last option of every command."""
    groups.output.add_argument("--debug", action="store_true", help="print the traceback of an error")
