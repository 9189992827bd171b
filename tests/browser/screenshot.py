"""python -m tests.browser.screenshot: take docs/preview.png and docs/preview-host-down.png anew; two minutes.

CIFAR-10's images are not ours to give away, so the pictures show the photographs of scikit-image, attacked by a live attacker.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from export.bundle.settings import BundleSettings
from export.bundle.writer import export_bundle
from tests.browser.conftest import ROOT, Program, start_browser
from tests.browser.page import Page

CLEAN, ATTACKED, DEFENDED = 220, 120, 170  # frames of each
PATIENCE_S = 120.0


def until(found: Callable[[], object]) -> None:
    """Wait until ``found`` returns something true."""
    end_s = time.monotonic() + PATIENCE_S
    while not found():
        if time.monotonic() > end_s:
            raise SystemExit(f"did not happen within {PATIENCE_S:.0f} s")
        time.sleep(0.2)


def small(file: Path) -> Path:
    """Write a picture again with a palette of 256 colours, which takes a third of the bytes and hardly shows."""
    with Image.open(file) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
    return file


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screenshot")
    parser.add_argument("--model", default="mobilenet")
    parser.add_argument("--rad", default=10, type=int)
    parser.add_argument("--source", default="photos:?seed=9&rate=12")
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", metavar="FOLDER")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        bundle = export_bundle(arguments.model, Path(work) / arguments.model, BundleSettings())
        host = Program(r"(http://\S+)", "host", "serve", "--bundle", bundle, "--port", 0, "--threads", 1)
        serve = ("export", "attack", "--serve", "--model", arguments.model, "--port", 0)
        attacker = Program("--attacker '(.*)'", *serve)
        preview = Program(
            r"preview: (\S+)", "device", "preview", "--bundle", bundle, "--source", arguments.source, "--host", host.url,
            "--attacker", attacker.url, "--rad", arguments.rad, "--port", 0, "--threads", 1,
        )  # fmt: skip
        browser = start_browser(Path(work) / "profile")
        try:
            page = Page(browser)
            page.open(preview.url, 1280, 800, arguments.scheme)

            def seen(condition: str, frames: int) -> Callable[[], bool]:
                return lambda: int(page.row(condition)["frames"]) >= frames

            until(seen("clean none", CLEAN))
            page.click("#attack")
            until(seen("attacked none", ATTACKED))
            page.click("label:has([value=gated])")
            until(seen("attacked gated", DEFENDED))
            print(f"wrote {small(page.shot(arguments.out / 'preview.png'))}")
            host.stop()
            until(lambda: page.state() == "host-down" and page.run(DOWN) >= 12)
            print(f"wrote {small(page.shot(arguments.out / 'preview-host-down.png'))}")
        finally:
            browser.quit()
            for program in (preview, attacker, host):
                program.stop()


DOWN = "const lane = document.querySelector('.lane-down'); return lane ? Number(lane.getAttribute('width')) : 0"

if __name__ == "__main__":
    main()
