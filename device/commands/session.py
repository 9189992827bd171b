"""Puts a run together from command-line options: bundle, engine, host, source and pipeline. run, preview and bench share it."""

import argparse
import os
import signal
import sys
from typing import Any, NamedTuple, Optional

from device.bundle.frame_set import load_frame_set
from device.bundle.reader import Bundle, load_bundle
from device.bundle.twin import read_twin
from device.cameras.arrays import ArrayCamera
from device.cameras.base import Camera, options, rate_option, whole_option
from device.cameras.open import open_camera
from device.commands.options import payload_of
from device.defence.ceiling import Ceiling
from device.defence.controller import Controller, HardenedTwin
from device.engines.base import Engine
from device.engines.open import open_engine
from device.engines.sleeping import SleepingEngine
from device.errors import HostError, UsageError
from device.link.credentials import credentials_of
from device.link.host_client import HostClient
from device.loop.pipeline import Pipeline
from device.loop.sinks import JsonLinesSink, Sink
from device.system.stop_flag import StopFlag


class Session(NamedTuple):
    """What a command needs to decide on frames."""

    bundle: Bundle
    engine: Engine
    host: Optional[HostClient]
    rad: int
    threshold: float
    twin: Optional[HardenedTwin]
    """The bundle's hardened twin, asleep; None where it carries none that answers everything on the device."""

    def controller(self, mode: str, watch: bool = False, learn: int = 0) -> Controller:
        """A controller for this session's bundle and relative accuracy drop; arguments and errors are those of Controller.of."""
        return Controller.of(self.bundle, self.rad, mode, watch, learn, self.twin)

    def pipeline(self, controller: Controller, sink: Sink, ceiling: Optional[Ceiling] = None) -> Pipeline:
        """A pipeline over this session's engine and host."""
        return Pipeline(self.bundle, self.engine, controller, self.host, sink, ceiling)

    def close(self) -> None:
        """Finish the frames that are on their way to the host, and close its connections and the engine."""
        try:
            if self.host is not None:
                self.host.close()
        finally:
            self.engine.close()
            if self.twin is not None:
                self.twin.head.close()


def open_session(arguments: argparse.Namespace) -> Session:
    """Load the bundle, start the engine, ask the host.

    Raises:
        EdgeError: one of them cannot be used.
    """
    bundle = load_bundle(arguments.bundle)
    twin = _sleeping_twin(bundle, arguments)
    if not bundle.has_tail:
        _check_no_host(arguments, bundle)
    if arguments.require_host and arguments.host is None:
        raise HostError(
            "found --require-host without --host; expected the address of the host; give it with --host URL"
        )
    rad = bundle.default_rad if arguments.rad is None else arguments.rad
    threshold = bundle.threshold(rad)
    host = None
    if arguments.host is not None:
        host = HostClient(
            arguments.host,
            bundle,
            threshold,
            arguments.connections,
            arguments.timeout_ms / 1e3,
            payload_of(arguments),
            credentials_of(arguments),
        )
    try:
        if host is not None:
            _check_host(host, arguments.require_host)
        engine = open_engine(bundle, arguments.engine, arguments.threads, arguments.fp16)
    except BaseException:
        if host is not None:
            host.close()
        raise
    return Session(bundle, engine, host, rad, threshold, twin)


def _sleeping_twin(bundle: Bundle, arguments: argparse.Namespace) -> Optional[HardenedTwin]:
    """The hardened twin of a bundle, whose engine starts when the controller wakes it."""
    twin = read_twin(bundle)
    if twin is None:
        return None
    own = twin.bundle
    head = SleepingEngine(own, lambda: open_engine(own, arguments.engine, arguments.threads, arguments.fp16))
    return HardenedTwin(twin, head)


def _check_no_host(arguments: argparse.Namespace, bundle: Bundle) -> None:
    """Refuse options about a host where the bundle has no part for one.

    Raises:
        UsageError: one of them was given for a bundle with all exits on the device.
    """
    given = {"--host": arguments.host, "--payload": arguments.payload, "--require-host": arguments.require_host}
    for option, value in given.items():
        if value:
            raise UsageError("found {} with bundle {}, which has all exits on the device; expected no host, because no frame is sent to "
                             "one; leave {} out, or export a bundle with a part for a host: defq bundle --model {} --split 3 --out build/{}".format(
                                 option, bundle.path, option, bundle.model, bundle.model))  # fmt: skip


def _check_host(host: HostClient, required: bool) -> None:
    """Ask the host once. Where it is absent and not required, frames are answered on the device until it is there.

    Raises:
        HostError: it is absent and required.
        BundleError, UsageError: it serves another bundle, or does not take the payload form that was asked for.
    """
    try:
        host.check()
    except HostError as error:
        if required:
            raise
        print("warning: {}; frames are answered on the device until it is there".format(error),
              file=sys.stderr, flush=True)  # fmt: skip


def open_source(uri: str, bundle: Bundle) -> Camera:
    """Open what ``open_camera`` opens, and ``bundle:clean`` or ``bundle:attacked?loop=1&rate=15``, the bundle's own frame set.

    Raises:
        UsageError, DataError, CameraError: it cannot be opened, or has labels of other classes than the bundle's.
        BundleError: the frame set is damaged.
    """
    scheme, _, rest = uri.partition(":")
    if scheme != "bundle":
        camera = open_camera(uri)
        camera.check_classes(bundle.labels)
        return camera
    kind, values = options(rest, {"loop": "0", "rate": ""})
    if kind not in ("clean", "attacked"):
        raise UsageError("found --source {}; expected bundle:clean or bundle:attacked".format(uri))
    loop, rate = bool(whole_option("loop", values["loop"], 0, 1)), rate_option(values["rate"])
    frames = load_frame_set(bundle)
    pixels, twins = (frames.clean, frames.attacked) if kind == "clean" else (frames.attacked, None)
    return ArrayCamera(pixels, frames.labels, twins, "the bundle's {} frame set".format(kind), loop, rate)


def stop_on_signals() -> StopFlag:
    """A flag that Ctrl-C or SIGTERM sets: the run then ends after the frame at hand and keeps what was decided."""
    stop = StopFlag()

    def handler(number: int, _frame: Any) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)
    return stop


def reopen_on_hangup(sink: JsonLinesSink, stop: StopFlag) -> None:
    """Let SIGHUP reopen the sink's file, which is how log rotation asks for it.

    SIGHUP also comes when the terminal of the process has gone. The run then ends as by Ctrl-C, or goes on where nohup started it.
    """
    had_terminal, ignored = has_terminal(), signal.getsignal(signal.SIGHUP) == signal.SIG_IGN

    def handler(_number: int, _frame: Any) -> None:
        if not had_terminal or has_terminal():
            sink.reopen()
        elif not ignored:
            stop.set()

    signal.signal(signal.SIGHUP, handler)


def has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
