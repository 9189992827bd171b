"""defq run: decide on the frames of a source, one decision a frame."""

import argparse
import json
import sys
from typing import Any, Dict, Optional

from device.cameras.base import Camera
from device.commands.ceiling_options import add_ceiling_options, ceiling_maker
from device.commands.options import add_camera_options, add_debug_option, add_decision_options, option_groups
from device.commands.session import open_session, open_source, reopen_on_hangup, stop_on_signals
from device.errors import DataError
from device.loop.progress import ProgressSink
from device.loop.sinks import JsonLinesSink, Sink
from device.loop.summary import Summary
from device.system.files import write_file
from device.system.systemd import notify

EXAMPLES = (
    "defq run --bundle build/vgg16 --source v4l2:///dev/video0 --host http://192.168.1.20:8000",
    "defq run --bundle build/vgg16 --source bundle:attacked --defq off --summary -",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    groups = option_groups(parser)
    add_decision_options(groups)
    add_camera_options(groups)
    add_ceiling_options(groups)
    add = groups.output.add_argument
    add("--jsonl", metavar="FILE",
        help="append a line of JSON for each frame; - for stdout; opened again on SIGHUP, for log rotation")  # fmt: skip
    add("--summary", metavar="FILE", help="write the run's figures as JSON; - for stdout")
    add_debug_option(groups)


def run(arguments: argparse.Namespace) -> int:
    session = open_session(arguments)
    try:
        bundle, rad = session.bundle, session.rad
        controller = session.controller(arguments.defq, arguments.monitor, arguments.learn)
        stop = stop_on_signals()
        with open_source(arguments.source, bundle) as camera:
            sink = Sink()
            if arguments.jsonl:
                sink = JsonLinesSink(arguments.jsonl, line_buffered=camera.live)
                reopen_on_hangup(sink, stop)
            if sys.stderr.isatty():
                sink = ProgressSink(sink)
            pipeline = session.pipeline(controller, sink, ceiling_maker(arguments, bundle, rad, camera.live)())
            host = "host {}".format(arguments.host) if arguments.host else "no host"
            if pipeline.ceiling is not None:
                host += ", ceiling {}".format(pipeline.ceiling.describe(controller.mode))
            print("{} on {}, {}, DefQ {}, RAD {} % (threshold {:.2f}), {}".format(
                bundle.id, session.engine.name, camera.describe(), controller.describe(), rad, session.threshold, host),
                file=sys.stderr, flush=True)  # fmt: skip
            notify("READY=1")
            try:
                pipeline.run(camera, arguments.frames, stop)
            finally:
                print(pipeline.summary.text(), file=sys.stderr, flush=True)
                figures = dict(pipeline.summary.to_dict(), bundle=bundle.id, rad=rad, defq=arguments.defq)
                _finish(sink, arguments.summary, figures)
            _check_used(pipeline.summary, camera)
    finally:
        session.close()
    return 0


def _check_used(summary: Summary, camera: Camera) -> None:
    """Refuse a run that could use none of its frames.

    Raises:
        DataError: frames were skipped, and no other was decided on.
    """
    if summary.skipped and not summary.to_dict()["frames"]:
        raise DataError("found no frame that could be used in {}, and skipped {}; expected pictures in RGB or grey; see the "
                        "warnings above, and choose another --source".format(camera.describe(), summary.skipped))  # fmt: skip


def _finish(sink: Sink, summary: Optional[str], figures: Dict[str, Any]) -> None:
    """Close the sink and write the figures. Each is done even where the other fails."""
    try:
        sink.close()  # before the figures: both may go to stdout
    finally:
        if summary:
            content = json.dumps(figures, indent=None if summary == "-" else 1) + "\n"
            write_file(summary, content.encode("ascii"), "--summary")
