"""python -m device: run."""

import argparse
import json
import signal
import sys
import threading
from typing import Any, List, Optional

from device.bundle import load_bundle
from device.cameras import open_camera
from device.engines import OnnxRuntimeEngine
from device.errors import HostError, OutputError, UsageError, run_command
from device.pipeline import Pipeline
from device.sinks import JsonLinesSink, Sink
from device.uplink import Uplink


def main(argv: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m device", description="The device runtime.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    run = commands.add_parser("run", help="Decide on the frames of a camera or of files.")
    run.add_argument(
        "--bundle", required=True, metavar="DIR", help="folder or .tar.gz made by: python -m export bundle"
    )
    run.add_argument(
        "--source", required=True, metavar="URI", help="dir:PATH, npz:FILE, video:FILE, photos: or v4l2:///dev/video0"
    )
    run.add_argument(
        "--host", metavar="URL", help="http://HOST:PORT of python -m host serve; without it the device answers alone"
    )
    run.add_argument(
        "--require-host", action="store_true", help="stop with exit code 5 when the host is absent at the start"
    )
    run.add_argument(
        "--defq",
        choices=("on", "off", "gated"),
        default="on",
        help="quantise all frames, none, or those that are noisier than clean ones (default on)",
    )
    run.add_argument(
        "--rad", type=int, metavar="PERCENT", help="relative accuracy drop, 5 or 10 (default: the bundle's)"
    )
    run.add_argument("--jsonl", metavar="FILE", help="one line of JSON a frame; - for stdout")
    run.add_argument("--summary", metavar="FILE", help="the run's figures as JSON")
    run.add_argument("--frames", type=int, metavar="N", help="stop after N frames")
    run.add_argument("--threads", type=int, default=0, metavar="N", help="of ONNX Runtime (default: cores, at most 4)")
    run.add_argument(
        "--connections",
        type=int,
        default=4,
        metavar="N",
        help="frames on their way to the host at once (default 4); with 1 files are decided one frame at a time",
    )
    run.add_argument(
        "--timeout-ms",
        type=float,
        default=2000,
        metavar="MS",
        help="give up on the host's answer after this (default 2000)",
    )
    run.add_argument("--debug", action="store_true", help="print the traceback of an error")
    arguments = parser.parse_args(argv)
    if not arguments.command:  # Python 3.6 has no required sub-commands
        parser.error("expected a command: run")
    return run_command(lambda: _run(arguments), arguments.debug)


def _run(arguments: argparse.Namespace) -> int:
    bounds = {"frames": (1, 1 << 62), "threads": (0, 1024), "connections": (1, 256), "timeout_ms": (1, 3600000)}
    for name, (least, most) in bounds.items():
        value = getattr(arguments, name)
        if value is not None and not least <= value <= most:  # false for NaN too
            raise UsageError(
                "found --{} {}; expected {} or more, at most {}".format(name.replace("_", "-"), value, least, most)
            )
    bundle = load_bundle(arguments.bundle)
    rad = bundle.default_rad if arguments.rad is None else arguments.rad
    threshold = bundle.threshold(rad)
    gate, defq = None, arguments.defq
    if defq == "gated":
        gate = bundle.gate
        if gate is None:
            raise UsageError("found --defq gated, but no gate in bundle {}; expected a bundle with a calibrated gate; calibrate "
                             "it with: python -m export gate --model {}, and export the bundle again".format(
                                 bundle.path, bundle.model))  # fmt: skip
        defq = "gated ({})".format(
            "; ".join(
                "noise level {:.2f}, threshold {:.2f}".format(stage.level, stage.thresholds[rad])
                for stage in gate.stages()
            )
        )
    engine = OnnxRuntimeEngine(bundle, arguments.threads)
    uplink = None
    if arguments.host:
        uplink = Uplink(arguments.host, bundle, threshold, arguments.connections, arguments.timeout_ms / 1e3)
        try:
            uplink.check()
        except HostError as error:
            if arguments.require_host:
                raise
            print(
                "warning: {}; frames are answered on the device until it is there".format(error),
                file=sys.stderr,
                flush=True,
            )
    stop = _stop_on_signals()
    with open_camera(arguments.source) as camera:
        sink = JsonLinesSink(arguments.jsonl, line_buffered=camera.live) if arguments.jsonl else Sink()
        pipeline = Pipeline(bundle, engine, threshold, arguments.defq != "off", uplink, sink, gate, rad)
        print("{} on {}, {}, DefQ {}, RAD {} % (threshold {:.2f}), {}".format(
            bundle.id, engine.name, camera.describe(), defq, rad, threshold,
            "host " + arguments.host if arguments.host else "no host"), file=sys.stderr, flush=True)  # fmt: skip
        try:
            pipeline.run(camera, arguments.frames, stop)
        finally:
            if uplink is not None:
                uplink.close()
            print(pipeline.summary.text(), file=sys.stderr, flush=True)
            try:
                if arguments.summary:
                    figures = dict(pipeline.summary.to_dict(), bundle=bundle.id, rad=rad, defq=arguments.defq)
                    _write_summary(arguments.summary, figures)
            finally:
                sink.close()
    return 0


def _write_summary(name: str, figures: Any) -> None:
    try:
        with open(name, "w") as file:
            json.dump(figures, file, indent=1)
    except OSError as error:
        raise OutputError("could not write {} ({}); expected a file that can be written; choose another --summary".format(
            name, error.strerror)) from error  # fmt: skip


def _stop_on_signals() -> threading.Event:
    """An event that Ctrl-C or SIGTERM sets: the run then ends after the frame at hand and keeps what was decided."""
    stop = threading.Event()

    def handler(number: int, _frame: Any) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)
    return stop
