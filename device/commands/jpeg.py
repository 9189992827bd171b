"""defq jpeg: a source's frames as JPEG files that carry Q_def, and how far their pixels are from DefQ's."""

import argparse
import os
import time
from typing import Any, Callable, Dict, List, Optional

import cv2
import numpy as np

from device.bundle.calibration import check_table_file
from device.bundle.reader import Bundle, load_bundle
from device.cameras.base import Camera
from device.cameras.open import open_camera
from device.commands.options import ENGINE_HELP, RAD_HELP, SOURCES_HELP, THREADS_HELP, add_debug_option, option_groups
from device.commands.session import open_source, stop_on_signals
from device.defence.defq import DefQ
from device.defence.undefended import Undefended
from device.engines.base import Engine
from device.engines.open import open_engine
from device.errors import DataError, OutputError, UsageError
from device.jpeg.encoder import DC_RULES, JpegEncoder
from device.loop.preprocess import Preprocessor
from device.pictures.read import decode_picture
from device.system.console import aligned
from device.system.files import read_bounded, write_file
from device.system.json_text import read_json
from device.system.options import whole
from device.system.printable import printable

MAX_TABLE_BYTES = 16 << 20

EXAMPLES = (
    "defq jpeg --bundle build/vgg16 --out build/jpeg",
    "defq jpeg --table tables/vgg16.json --source dir:photos --out build/jpeg",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    groups = option_groups(parser)
    add = groups.source.add_argument
    add("--source", metavar="URI",
        help=SOURCES_HELP + " (default: bundle:clean where the bundle has a frame set, else photos:)")  # fmt: skip
    add("--frames", type=whole(1), default=100, metavar="N", help="stop after N frames (default 100)")
    add = groups.decision.add_argument
    add("--bundle", metavar="DIR",
        help="folder or .tar.gz made by defq bundle; its table and its head are used")  # fmt: skip
    add("--table", metavar="FILE",
        help="a table instead of a bundle, as in tables/vgg16.json; frames keep the camera's size")  # fmt: skip
    add("--rad", type=whole(0, 100), metavar="PERCENT", help=RAD_HELP)
    add("--engine", default="auto", metavar="NAME", help=ENGINE_HELP)
    add("--threads", type=whole(0, 1024), default=0, metavar="N", help=THREADS_HELP)
    add = groups.output.add_argument
    add("--out", required=True, metavar="FOLDER", help="folder for frame-000000.jpg and so on; made if it is not there")
    add("--full-size", action="store_true", help="keep the camera's size (default: the network's)")
    add("--dc", choices=tuple(DC_RULES), default="nearest",
        help="; ".join("{}: {}".format(*rule) for rule in DC_RULES.items()) + " (default nearest)")  # fmt: skip
    add_debug_option(groups)


def run(arguments: argparse.Namespace) -> int:
    """Write the files and print the comparison."""
    if bool(arguments.bundle) == bool(arguments.table):
        raise UsageError("found {} of --bundle and --table; expected one of them".format(
            "both" if arguments.bundle else "none"))  # fmt: skip
    bundle = load_bundle(arguments.bundle) if arguments.bundle else None
    table = bundle.table if bundle is not None else _read_table(arguments.table)
    encoder = JpegEncoder(table, arguments.dc)
    if bundle is None:
        return _write_frames(arguments, None, encoder, table, None)
    threshold = bundle.threshold(bundle.default_rad if arguments.rad is None else arguments.rad)
    engine = open_engine(bundle, arguments.engine, arguments.threads)
    try:
        return _write_frames(arguments, bundle, encoder, table, _Head(bundle, engine, threshold))
    finally:
        engine.close()


def _write_frames(
    arguments: argparse.Namespace,
    bundle: Optional[Bundle],
    encoder: JpegEncoder,
    table: np.ndarray,
    head: "Optional[_Head]",
) -> int:
    _prepare_folder(arguments.out)
    comparison = _Comparison(table, head)
    stop = stop_on_signals()
    with _open(arguments.source, bundle) as camera:
        print("{}, DC rule {}, {}, to {}".format(
            printable(arguments.bundle or arguments.table), arguments.dc, camera.describe(), printable(arguments.out)), flush=True)  # fmt: skip
        camera.stop_flag = stop
        for number in range(arguments.frames):
            frame = camera.read()
            if frame is None or stop.is_set():
                break
            pixels = frame.pixels
            if head is not None and not arguments.full_size:
                pixels = head.resize(pixels)
            started_s = time.perf_counter()
            content = encoder.encode(pixels)
            spent_s = time.perf_counter() - started_s
            write_file(os.path.join(arguments.out, "frame-{:06d}.jpg".format(number)), content, "--out", sync=False)
            comparison.add(pixels, content, spent_s * 1e3)
        if camera.skipped and not comparison.count:
            raise DataError("found no frame that could be used in {}, and skipped {}; expected pictures in RGB or grey; see the "
                            "warnings above, and choose another --source".format(camera.describe(), camera.skipped))  # fmt: skip
    print(comparison.text(), flush=True)
    return 0


class _Head:
    """The bundle's head, for pixels that are quantised already."""

    def __init__(self, bundle: Bundle, engine: Engine, threshold: float) -> None:
        self._prepare = Preprocessor(bundle)
        self._defence = Undefended(bundle, bundle.default_rad, threshold)
        self._engine = engine
        self.resize: Callable[[np.ndarray], np.ndarray] = self._prepare.resize

    def __call__(self, pixels: np.ndarray) -> List[int]:
        """1-based exit, 0 where the frame does not leave on the device, and label."""
        treatment = self._defence.treat(self._prepare.resize(pixels))
        head = self._engine.run(treatment.image, treatment.threshold)
        return [head.exit, head.label]


class _Comparison:
    """Compares the pixels of files, as OpenCV decodes them, with those of DefQ."""

    def __init__(self, table: np.ndarray, head: Optional[_Head]) -> None:
        self._defq, self._head = DefQ(table), head
        self._ms: List[float] = []
        self._bytes, self._raw_bytes = 0, 0
        self._differing, self._sum, self._largest = 0, 0, 0
        self._answers: Dict[str, List[List[int]]] = {"no quantisation": [], "DefQ": [], "JPEG": []}

    @property
    def count(self) -> int:
        """Number of frames so far."""
        return len(self._ms)

    def add(self, pixels: np.ndarray, content: bytes, ms: float) -> None:
        """Compare one frame, uint8 (h, w, 3), (h, w, 1) or (h, w), with its file, which took ``ms`` to encode."""
        quantised = self._defq(pixels)
        decoded = decode(content).reshape(pixels.shape)
        difference = cv2.absdiff(quantised, decoded)
        self._ms.append(ms)
        self._bytes += len(content)
        self._raw_bytes += pixels.size
        self._differing += int(np.count_nonzero(difference))
        self._sum += int(difference.sum())
        self._largest = max(self._largest, int(difference.max()))
        if self._head is not None:
            for name, image in zip(self._answers, (pixels, quantised, decoded)):
                self._answers[name].append(self._head(image))

    def text(self) -> str:
        """The figures for the console."""
        count = self.count
        if not count:
            return "no frame was written"
        rows = [
            ["frames", str(count)],
            ["bytes a frame", "{:.0f}".format(self._bytes / count)],
            ["bytes a raw frame", "{:.0f} ({:.1f} times as many)".format(self._raw_bytes / count, self._raw_bytes / self._bytes)],
            ["ms to encode a frame, median", "{:.2f}".format(float(np.median(self._ms)))],
            ["pixel values that differ from DefQ's", "{:.2%}".format(self._differing / self._raw_bytes)],
            ["largest difference, of 255", str(self._largest)],
            ["mean difference", "{:.3f}".format(self._sum / self._raw_bytes)],
        ]  # fmt: skip
        if self._head is not None:
            answers = {name: np.array(each) for name, each in self._answers.items()}
            same = answers["JPEG"] == answers["DefQ"]
            rows += [
                ["same exit as with DefQ", "{} of {} frames".format(np.count_nonzero(same[:, 0]), count)],
                ["same label as with DefQ", "{} of {} frames".format(np.count_nonzero(same[:, 1]), count)],
            ]
            for name, each in answers.items():
                left = np.count_nonzero(each[:, 0])
                rows.append(["left on the device, " + name, "{} of {} frames".format(left, count)])
        return aligned(rows)


def decode(content: bytes) -> np.ndarray:
    """A file's pixels by OpenCV's decoder, uint8 (h, w, 3) in RGB or (h, w) in grey.

    Raises:
        DataError: it cannot decode it.
    """
    try:
        return decode_picture(content, grey=True)
    except ValueError as error:
        raise DataError("could not decode the JPEG file that was just written ({}); expected an OpenCV built with JPEG; install "
                        "opencv-python or opencv-python-headless from a wheel".format(error)) from error  # fmt: skip


def _open(uri: Optional[str], bundle: Optional[Bundle]) -> Camera:
    if bundle is None:
        return open_camera(uri or "photos:")
    return open_source(uri or ("bundle:clean" if bundle.manifest.get("frames") else "photos:"), bundle)


def _read_table(name: str) -> np.ndarray:
    advice = "expected a table.json; bake one, as in: defq table --model mobilenet --out table.json"
    try:
        content: Any = read_json(read_bounded(name, MAX_TABLE_BYTES))
    except OSError as error:
        raise DataError("could not read {} ({}); {}".format(name, error.strerror, advice)) from error
    except ValueError as error:
        raise DataError("could not read {} as JSON ({}); {}".format(name, error, advice)) from error
    return check_table_file(content, name)


def _prepare_folder(folder: str) -> None:
    """Make the folder if it is not there, and refuse one that holds files of an earlier run."""
    try:
        os.makedirs(folder, exist_ok=True)
        present = sorted(name for name in os.listdir(folder) if name.startswith("frame-") and name.endswith(".jpg"))
    except OSError as error:
        raise OutputError("could not make or read the folder {} ({}); expected one that can be written; choose another "
                          "--out".format(folder, error.strerror)) from error  # fmt: skip
    if present:
        raise OutputError("found {} in {}; expected a folder without frames of an earlier run; choose another --out or "
                          "remove them".format(present[0], folder))  # fmt: skip
