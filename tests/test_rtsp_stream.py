"""A network camera's stream through the whole path: RTSP over loopback, the device and the host as processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.cameras.open import open_camera
from export.bundle.settings import BundleSettings
from export.bundle.writer import write_bundle
from export.commands.demo import host_process
from tests import tiny
from tests.device.cameras.rtsp_server import RtspServer

ROOT = Path(__file__).resolve().parents[1]
SIDE = 96
PICTURES = 24
FRAMES = 60
QUALITY = 90


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Of a small network for 96 x 96 pixels that crops its frames."""
    network = tiny.network(SIDE)
    folder = tmp_path_factory.mktemp("stream") / "bundle"
    return write_bundle(
        "tiny",
        network,
        tiny.card(network),
        tiny.TABLE,
        folder,
        BundleSettings(split=2),
        tiny.frames(20, SIDE),
        fit="crop",
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of photographs of 640 x 480 pixels, as JPEG, as different as windows of a few photographs can be."""
    folder = tmp_path_factory.mktemp("pictures")
    with open_camera(f"photos:?frames={PICTURES // 6}&seed=5") as camera:
        for number in range(PICTURES):
            write_jpeg(folder / f"{number:03}.jpg", camera.read().pixels)
    return folder


def write_jpeg(file, pixels):
    cv2.imwrite(str(file), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def decisions(bundle, url, source, *options):
    """What the device decides on a source, one dictionary a frame."""
    command = [
        sys.executable, "-m", "device", "run", "--bundle", str(bundle), "--source", source, "--host", url, "--require-host",
        "--timeout-ms", "20000", "--jsonl", "-", *options,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("defq", ["off", "on"])
def test_a_stream_is_decided_as_its_files_are(bundle, pictures, defq):
    server = RtspServer([file.read_bytes() for file in sorted(pictures.iterdir())], period_s=0.03)
    try:
        with host_process(bundle) as url:
            of_files = decisions(bundle, url, f"dir:{pictures}", "--defq", defq)
            address = f"rtsp://eve:s3cret@127.0.0.1:{server.port}/cam"
            of_stream = decisions(bundle, url, address, "--defq", defq, "--frames", str(FRAMES))
    finally:
        server.stop()
    assert (len(of_files), len(of_stream)) == (PICTURES, FRAMES)
    assert len({each["exit"] for each in of_files}) > 2  # or the comparison would say little
    assert {"edge", "host"} == {each["source"] for each in of_stream}
    errors = {first: differences(of_files, of_stream, first) for first in range(PICTURES)}
    first = min(errors, key=lambda each: errors[each].sum())
    assert np.median(errors[first]) < 0.02  # FFmpeg's JPEG decoder and libjpeg differ by a level here and there
    pairs = [(of_files[(each["index"] + first) % PICTURES], each) for each in of_stream]
    same = [(a["exit"], a["label"]) == (b["exit"], b["label"]) for a, b in pairs]
    assert np.mean(same) >= 0.9


def differences(of_files, of_stream, first):
    """How far confidences lie apart if frame 0 of the stream was picture ``first``; 1 where exit or label differ."""
    pairs = [(of_files[(each["index"] + first) % PICTURES], each) for each in of_stream]
    return np.array([abs(a["confidence"] - b["confidence"]) if (a["exit"], a["label"]) == (b["exit"], b["label"]) else 1 for a, b in pairs])  # fmt: skip
