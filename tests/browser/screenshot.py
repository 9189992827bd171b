"""python -m tests.browser.screenshot: take docs/preview.png anew. Photographs, a live attacker, a host; a minute and a half.

CIFAR-10's images are not ours to give away, so the picture shows the photographs of scikit-image.
"""

import argparse
import tempfile
import time
from pathlib import Path

from export.bundle.writer import BundleSettings, export_bundle
from tests.browser.conftest import ROOT, Program, start_browser
from tests.browser.test_preview_page import Page

CLEAN_S, ATTACKED_S, DEFENDED_S = 25, 15, 22


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screenshot")
    parser.add_argument("--model", default="mobilenet")
    parser.add_argument("--rad", default=10, type=int)
    parser.add_argument("--source", default="photos:?seed=9&rate=12")
    parser.add_argument("--scheme", choices=("light", "dark"), default="dark")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "preview.png")
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
            page.open(preview.url, 1280, 940, arguments.scheme)
            time.sleep(CLEAN_S)
            page.click("#attack")
            time.sleep(ATTACKED_S)
            page.click("label:has([value=on])")
            time.sleep(DEFENDED_S)
            print(f"wrote {page.shot(arguments.out)}")
        finally:
            browser.quit()
            for program in (preview, attacker, host):
                program.stop()


if __name__ == "__main__":
    main()
