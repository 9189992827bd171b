"""Puts the preview together: the pipeline as in ``run``, an attacker, and the page's server beside it."""

import argparse
import sys
from typing import Optional

from device.bundle.frame_set import load_frame_set
from device.cameras.base import Camera
from device.commands.ceiling_options import add_ceiling_options, ceiling_maker
from device.commands.options import (
    add_camera_options,
    add_debug_option,
    add_decision_options,
    option_groups,
    payload_of,
)
from device.commands.session import open_session, open_source, stop_on_signals
from device.errors import CameraError
from device.loop.pipeline import Pipeline
from device.payload.forms import FP32
from device.power.base import PowerSensor
from device.power.open import open_sensor
from device.preview.attackers import Attacker, choose_attacker
from device.preview.preview import Preview
from device.preview.preview_sink import PreviewSink
from device.preview.stats import PowerReader
from device.system.options import decimal, whole
from device.system.stop_flag import StopFlag
from device.system.systemd import notify, wait_alive

# files without options of their own go round and round at a camera's rate
PACE = {scheme: "?loop=1&rate=15" for scheme in ("bundle", "npz", "dir")}
PACE["photos"] = "?rate=15"

EXAMPLES = (
    "defq preview --bundle build/vgg16 --source v4l2:///dev/video0 --address 0.0.0.0",
    "defq preview --bundle build/vgg16 --source bundle:clean?loop=1 --defq auto",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    groups = option_groups(parser)
    # traffic is compared: one form for all frames, unless another is chosen
    add_decision_options(groups, payload=FP32)
    add_camera_options(groups, defq="off")  # the page has a switch for it, and the story begins without
    add_ceiling_options(groups)
    groups.source.add_argument("--attacker", metavar="URL",
        help="attack frames as they come: address of defq attack --serve, with its token")  # fmt: skip
    add = groups.output.add_argument
    add("--address", default="127.0.0.1", metavar="ADDRESS",
        help="address of the page (default 127.0.0.1: this machine alone); others need a token")  # fmt: skip
    add(
        "--port",
        type=whole(0, 65535),
        default=8080,
        metavar="PORT",
        help="port of the page; 0 for any free one (default 8080)",
    )
    add("--token", metavar="TOKEN",
        help="what viewers must know, 12 or more letters and digits (default beyond this machine: a new one, printed)")  # fmt: skip
    add(
        "--fps",
        type=decimal(1, 30),
        default=10,
        metavar="FPS",
        help="pictures a second on the page, 1 to 30 (default 10)",
    )
    add("--power", default="auto", metavar="SENSOR",
        help="power sensor: auto, none, ina3221, ina2xx, pmic or rapl (default auto)")  # fmt: skip
    add_debug_option(groups)


def run(arguments: argparse.Namespace) -> int:
    """Show frames until the source ends; the page stays until Ctrl-C."""
    session = open_session(arguments)
    attacker: Optional[Attacker] = None
    try:
        bundle, rad = session.bundle, session.rad
        watch = arguments.monitor or rad in bundle.monitor
        controller = session.controller(arguments.defq, watch, arguments.learn)
        sensor = open_sensor(arguments.power)
        frames = load_frame_set(bundle) if isinstance(bundle.manifest.get("frames"), dict) else None
        source = arguments.source
        if "?" not in source:
            source += PACE.get(source.split(":")[0], "")
        has_twins = source.split("?")[0] == "bundle:clean"
        attacker, why_not = choose_attacker(bundle, has_twins, arguments.attacker, frames)
        stop = stop_on_signals()
        with open_source(source, bundle) as camera:
            # without a tail every frame leaves on the device; there, all exits but the final classifier are early ones
            early = bundle.split if bundle.has_tail else bundle.split - 1
            sink = PreviewSink(bundle.relative_costs, early, session.host is not None)
            pipeline = session.pipeline(controller, sink, ceiling_maker(arguments, bundle, rad, camera.live)())
            facts = {"bundle": bundle.id, "engine": session.engine.name, "source": camera.describe(),
                     "host": arguments.host, "payload": payload_of(arguments), "power": sensor.name,
                     "power_scope": sensor.scope, "rad": rad, "threshold": session.threshold}  # fmt: skip
            preview = Preview(pipeline, sink, facts, attacker, why_not, _reader_of(sensor), arguments.fps)
            server = preview.serve(arguments.address, arguments.port, arguments.token)
            print("{} on {}, {}\nattack: {}\npreview: {}".format(
                bundle.id, session.engine.name, camera.describe(), attacker.describe() if attacker else why_not, server.url),
                file=sys.stderr, flush=True)  # fmt: skip
            try:
                notify("READY=1")
                _run(pipeline, camera, arguments.frames, stop, preview)
            finally:
                server.close()
                print(pipeline.summary.text(), file=sys.stderr, flush=True)
    finally:
        if attacker is not None:
            attacker.close()
        session.close()
    return 0


def _run(pipeline: Pipeline, camera: Camera, limit: Optional[int], stop: StopFlag, preview: Preview) -> None:
    """Show frames, and after their end the last of them until Ctrl-C.

    Raises:
        CameraError: the source failed; raised when Ctrl-C comes, so that the page can say it until then.
    """
    failure: Optional[CameraError] = None
    reason = "the source has ended" if limit is None else "all frames of --frames were shown"
    try:
        pipeline.run(camera, limit, stop)
    except CameraError as error:
        failure = error
        reason = "the source has failed: {}".format(error)
    if not stop.is_set():
        preview.stats.end(reason)
        print(reason + "; the page stays until Ctrl-C", file=sys.stderr, flush=True)
        wait_alive(stop.wait)
    if failure is not None:
        raise failure


def _reader_of(sensor: PowerSensor) -> Optional[PowerReader]:
    """A function that reads watts from a sensor; None where there is no sensor."""

    def read_w() -> Optional[float]:
        power_mw = sensor.read_mw()
        return None if power_mw is None else power_mw / 1e3

    return None if sensor.kind == "none" else read_w
