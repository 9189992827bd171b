"""What a run is made of: the bundle, the engine, cameras, a source, the host. Each check imports what it needs, no sooner."""

import contextlib
import io
import os
import shlex
import statistics
import time
from typing import TYPE_CHECKING, Any, Callable, List, Optional

from device.doctor.check import FAILED, OK, WARNING, Check, sentence_and_fix
from device.doctor.machine import free_space
from device.doctor.wheels import is_jetson
from device.errors import BundleError, CameraError, EngineError, HardwareError, HostError, UsageError
from device.link.credentials import NO_CREDENTIALS, Credentials
from device.link.deadline import DEFAULT_TIMEOUT_S
from device.system.board import board_model

if TYPE_CHECKING:
    from device.bundle.reader import Bundle
    from device.cameras.base import Camera
    from device.cameras.listing import Found

RUNS = 21
PREFERENCE = ("onnxruntime", "onnxruntime-tensorrt", "onnxruntime-cuda", "tensorrt")  # that of --engine auto comes last
BUILDERS = ("onnxruntime-tensorrt", "tensorrt")
BUILT = "engine built"
ROUND_TRIPS = 5
NEVER = 2.0  # a threshold that no confidence reaches


def check_bundle(path: str) -> Check:
    """Every file against its SHA-256, and what the bundle was calibrated for."""
    from device.bundle.frame_set import export_with_frames, load_frame_set
    from device.bundle.reader import load_bundle
    from device.defence.controller import NEEDED_PARTS

    bundle = load_bundle(path)
    names = sorted(bundle.manifest["files"])
    size = sum(len(bundle.read_file(name)) for name in names)
    exits = len(bundle.relative_costs)
    place = "exits 1 to {} of {}".format(bundle.split, exits) if bundle.has_tail else "all {} exits".format(exits)
    found = "{}, {} files ({:.2f} MB) as exported, {} on the device, RAD {} %".format(
        bundle.id, len(names), size / 1e6, place, " and ".join(str(rad) for rad in sorted(bundle.thresholds)))  # fmt: skip
    if bundle.manifest.get("frames") is None:
        found += ", no frame set (bench needs one; put it in with: {})".format(export_with_frames(bundle.model))
    else:
        found += ", {} frames of each kind".format(len(load_frame_set(bundle).labels))
    ceiling = bundle.ceiling.get(bundle.default_rad)
    if ceiling is not None:
        shares = ["{:.0%}".format(share) for share in sorted(set(ceiling.shares.values()))]
        found += ", a ceiling for cameras of {} of the frames".format(" to ".join(shares[:1] + shares[1:][-1:]))
    optional = [(part, mode, getattr(bundle, part)) for mode, part in NEEDED_PARTS.items()]
    found = ", ".join([found, *(name for name, _, part in optional if part)])
    missing = [(name, option) for name, option, part in optional if not part]
    if not missing:
        return Check("bundle", OK, found)
    found += "".join(", no {} (for --defq {})".format(name, option) for name, option in missing)
    commands = ["defq {} --model {}".format(name, bundle.model) for name, _ in missing]
    return Check("bundle", WARNING, found, "{}; then export the bundle again with: {}".format(
        ", ".join(commands), export_with_frames(bundle.model)))  # fmt: skip


def check_engine(bundle_path: Optional[str]) -> Check:
    """Every engine as it is here; with a bundle, how long its head takes. Nothing that takes minutes is built."""
    import numpy as np

    from device.bundle.reader import load_bundle
    from device.engines.open import open_engine, probe_engines

    if not bundle_path:
        return _back_ends()
    bundle = load_bundle(bundle_path)
    probes = probe_engines(bundle)
    usable = {probe.name: probe.status for probe in probes if probe.usable}
    others = {probe.name: probe.status for probe in probes if not probe.usable}
    if not usable:
        return Check("engine", FAILED, *sentence_and_fix(others["onnxruntime"]), HardwareError.exit_code)
    best = max(usable, key=PREFERENCE.index)
    if best in BUILDERS and not usable[best].endswith(BUILT):
        return Check("engine", WARNING, "{}: {}".format(best, usable[best]), "let it be built now: defq run --bundle {} "
                     "--engine {} --source {} --frames 1".format(shlex.quote(bundle_path), best, _own_source(bundle)))  # fmt: skip
    with contextlib.redirect_stderr(io.StringIO()) as said:  # told there when it gives way to the CPU
        engine = open_engine(bundle, best)
    image = np.zeros((1, *bundle.input_shape), np.float32)
    found = "{}: {:.2f} ms for a frame that leaves at exit 1, {:.2f} ms for one that leaves at {} (medians of {})".format(
        engine.name, _median_ms(lambda: engine.run(image, 0.0)), _median_ms(lambda: engine.run(image, NEVER)),
        "none" if bundle.has_tail else "the last", RUNS)  # fmt: skip
    problem = said.getvalue().replace("warning: ", "", 1).partition("; until then")[0]
    if is_jetson() and best == "onnxruntime":
        problem = others["tensorrt"]
    if problem:
        problem, fix = sentence_and_fix(problem)
        return Check("engine", WARNING, "{}; the GPU stays idle: {}".format(found, problem), fix)
    if others:
        found += "; not here: {}".format(", ".join(others))
    return Check("engine", OK, found)


def _own_source(bundle: "Bundle") -> str:
    return "photos:" if bundle.manifest.get("frames") is None else "bundle:clean"


def _back_ends() -> Check:
    """What there is to run a head, without one."""
    import onnxruntime

    from device.engines.cuda import open_cuda
    from device.engines.tensorrt import load_tensorrt

    found = [
        "ONNX Runtime with {}".format(
            ", ".join(name.replace("ExecutionProvider", "") for name in onnxruntime.get_available_providers())
        )
    ]
    with contextlib.suppress(EngineError):  # most boards have neither
        found.append("TensorRT {}".format(load_tensorrt().__version__))
    with contextlib.suppress(EngineError):
        found.append("GPU {}".format(open_cuda().gpu().name))
    return Check("engine", OK, "{}; not run: add --bundle DIR".format(", ".join(found)))


def _median_ms(run: Callable[[], Any]) -> float:
    ms = []
    for _ in range(RUNS):
        started_s = time.perf_counter()
        run()
        ms.append((time.perf_counter() - started_s) * 1e3)
    return statistics.median(ms)


def check_cameras() -> Check:
    """Cameras that the system lists; none is opened."""
    from device.cameras.listing import list_cameras

    return cameras_line(list_cameras(), board_model() or "")


def cameras_line(cameras: "List[Found]", board: str) -> Check:
    """Sum the listing up.

    Args:
        cameras: every way to one, usable or not.
        board: its name: what a Raspberry Pi lacks for a Jetson's cameras is not to be mended.
    """
    usable = ["{} ({})".format(each.uri, each.name) for each in cameras if each.usable]
    ways = ["v4l2"] + (["picamera2"] if "Raspberry Pi" in board else ["csi"] if is_jetson() else [])
    lacking = [each for each in cameras if not each.usable and each.uri.partition(":")[0] in ways]
    found = ", ".join(usable) or "none found"
    if lacking and (not usable or lacking[0].uri.startswith("v4l2")):
        problem, fix = sentence_and_fix(lacking[0].status)
        return Check("cameras", WARNING, "{}; {}: {}".format(found, lacking[0].uri, problem), fix)
    if not usable:
        return Check(
            "cameras", WARNING, found, "plug one in, or use files, which work without: --source dir:PATH or video:FILE"
        )
    return Check("cameras", OK, found)


def check_source(uri: str, bundle_path: Optional[str]) -> Check:
    """Open a source and read one frame."""
    started_s = time.monotonic()
    with _opened(uri, bundle_path) as camera:
        frame = camera.read()
        now_s = time.monotonic()
        if frame is None:
            raise CameraError("found no frame in {}; expected at least one; choose another --source".format(
                camera.describe()))  # fmt: skip
        height, width = frame.pixels.shape[:2]
        colours = "RGB" if frame.pixels.ndim == 3 and frame.pixels.shape[2] == 3 else "grey"
        found = "{}: {}x{} {} after {:.1f} s".format(camera.describe(), width, height, colours, now_s - started_s)
        if camera.live:
            found += ", {:.0f} ms old".format((now_s - frame.timestamp_s) * 1e3)
    return Check("source", OK, found)


def _opened(uri: str, bundle_path: Optional[str]) -> "Camera":
    from device.bundle.reader import load_bundle
    from device.cameras.open import open_camera
    from device.commands.session import open_source

    if bundle_path:
        try:
            return open_source(uri, load_bundle(bundle_path))
        except BundleError:  # its own line says so
            if uri.startswith("bundle:"):
                raise
    return open_camera(uri)


def check_host(url: str, bundle_path: str, credentials: Credentials = NO_CREDENTIALS) -> Check:
    """Ask the host whether it serves the bundle, and send it what the head makes of a black frame."""
    try:
        return Check("host", OK, "{} serves this bundle: {}".format(url, _round_trips(url, bundle_path, credentials)))
    except HostError as error:
        found = str(error).partition("; ")[0]
        return Check("host", FAILED, found, "start it where this board can reach it: defq serve --bundle {} --address "
                     "0.0.0.0 --port 8000; see what it printed; check address, cable and firewall".format(
                         shlex.quote(bundle_path)), error.exit_code)  # fmt: skip


def _round_trips(url: str, bundle_path: str, credentials: Credentials) -> str:
    """What the way to the host and back takes.

    Raises:
        UsageError: the bundle needs no host.
        HostError: the host is absent, or does not answer as it should.
        BundleError: it serves another bundle.
    """
    import numpy as np

    from device.bundle.reader import load_bundle
    from device.engines.onnx_runtime import OnnxRuntimeEngine
    from device.link.host_client import HostClient
    from device.payload.base import Sendable

    bundle = load_bundle(bundle_path)
    if not bundle.has_tail:
        raise UsageError("found --host with bundle {}, which has all exits on the device; expected no host, because no frame is "
                         "sent to one; leave --host out".format(bundle_path))  # fmt: skip
    image = np.zeros((1, *bundle.input_shape), np.float32)
    activation = OnnxRuntimeEngine(bundle).run(image, NEVER).activation
    assert activation is not None  # no confidence reaches NEVER
    client = HostClient(
        url, bundle, bundle.threshold(bundle.default_rad), 1, DEFAULT_TIMEOUT_S, credentials=credentials
    )
    client.check()
    ms = []
    for _ in range(ROUND_TRIPS):
        started_s = time.perf_counter()
        with contextlib.redirect_stderr(io.StringIO()) as said:  # the client tells there why no answer came
            request = client.submit(Sendable(activation), wait=True)
            request.wait()
            if request.answer is None:
                client.close()
        if request.answer is None:
            raise HostError(said.getvalue().replace("warning: ", "", 1) or "found no answer from {}".format(url))
        ms.append((request.finished_s - started_s) * 1e3)
    client.close()
    return "{:.1f} ms there and back (median of {}), {} bytes a frame".format(
        statistics.median(ms), ROUND_TRIPS, request.bytes_sent
    )


def check_disk() -> Check:
    """Space where decisions and built engines go."""
    from device.engines import cache

    return free_space([each for each in (os.getcwd(), cache.folder()) if each is not None])
