"""A headless Chromium, and what it looks at: a real host and a real preview over a real bundle."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


def start_browser(profile):
    """Selenium's driver of Chromium with an empty profile.

    Args:
        profile: a new folder for it.
    """
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A browser for all tests."""
    if not CHROMIUM or not DRIVER:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    pytest.importorskip("selenium", reason="needs selenium: pip install -r tests/requirements.txt")
    driver = start_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


class Program:
    """``python -m ...`` until the end of the tests.

    Args:
        says: a pattern that one of its lines fits; its first group is the address.
    """

    def __init__(self, says, *arguments):
        self._process = subprocess.Popen(
            [sys.executable, "-m", *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        lines = []
        for line in self._process.stdout:
            lines.append(line)
            found = re.search(says, line)
            if found:
                self.url = found.group(1)
                return
        raise AssertionError("".join(lines))

    def stop(self):
        """Send Ctrl-C, and return what the program printed after its address."""
        if self._process.returncode is not None:
            return ""
        self._process.send_signal(signal.SIGINT)
        try:
            return self._process.communicate(timeout=20)[0]
        finally:
            self._process.kill()


@pytest.fixture(scope="session")
def bundle(tmp_path_factory, cifar10):
    """MobileNet with forty CIFAR-10 images and their twins under an attack on the exits of the device."""
    from dataclasses import replace

    import numpy as np

    from device.bundle.frame_set import FrameSet
    from device.defence.defq import DefQ
    from device.defence.monitor import ExitShares
    from export.attacks.linf import DeepSlothLinf
    from export.attacks.server import FirstExits
    from export.bundle.frame_set import MadeFrames
    from export.bundle.settings import BundleSettings
    from export.bundle.writer import write_bundle
    from export.calibration.card import read_card
    from export.calibration.cost import early_exit, score
    from export.calibration.monitor_file import MonitorFile
    from export.calibration.table_reader import shipped_table
    from export.data.frames import to_pixels
    from export.networks.loading import load_network
    from export.networks.model_files import shipped
    from export.networks.sdn import folded
    from export.networks.weights import to_tensor

    network, images = load_network(shipped("mobilenet")), cifar10.test.take(40)
    target = FirstExits(folded(network), 3)
    attacked = to_pixels(DeepSlothLinf(iterations=10)(target, to_tensor(images.pixels), progress=False))
    made = MadeFrames(FrameSet(images.pixels, attacked, images.labels, None, None), {})
    card, table = read_card(shipped("mobilenet")), shipped_table("mobilenet")
    defq = DefQ(table.steps)
    shares = {}
    for name, pixels in (("clean", images.pixels), ("attacked", attacked)):
        quantised = np.stack([defq.planes(each).transpose(1, 2, 0).astype(np.uint8) for each in pixels])
        for kind, shown in ((name, pixels), (name + "_defq", quantised)):
            exits, _ = early_exit(score(network, shown), card.thresholds[5].threshold)
            shares[kind] = np.bincount(exits, minlength=len(card.relative_costs))
    table = replace(table, monitor=MonitorFile({rad: ExitShares(**shares) for rad in card.thresholds}))
    out = tmp_path_factory.mktemp("bundle") / "mobilenet"
    return write_bundle("mobilenet", network, card, table, out, BundleSettings(), images.pixels, frame_set=made)


@pytest.fixture(scope="session")
def program():
    """Start programs that end with the tests."""
    started = []

    def start(*arguments):
        started.append(Program(*arguments))
        return started[-1]

    yield start
    for each in started:
        each.stop()


@pytest.fixture(scope="session")
def host(bundle, program):
    """Start a host of the bundle, at a port or any free one."""

    def start(port=0):
        return program(
            r"(http://127\.0\.0\.1:\d+)", "host", "serve", "--bundle", bundle, "--port", port, "--threads", 1
        )

    return start


@pytest.fixture(scope="session")
def preview_of(program):
    """Start a preview of a bundle's frames, or of another source."""

    def start(bundle, source="bundle:clean", *options):
        given = ("--bundle", bundle, "--source", source, "--port", 0, "--threads", 1, "--engine", "onnxruntime")
        return program(r"preview: (\S+)", "device", "preview", *given, *options)

    return start


@pytest.fixture(scope="session")
def preview(bundle, host, preview_of):
    """The address of a preview of the bundle's frames, with a host."""
    return preview_of(bundle, "bundle:clean", "--host", host().url).url


@pytest.fixture
def wait():
    """Wait until ``found`` returns something true, and return it."""

    def until(found, seconds=30):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            value = found()
            if value:
                return value
            time.sleep(0.1)
        raise AssertionError(f"not within {seconds} s")

    return until
