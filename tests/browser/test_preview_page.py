"""The preview's page in a real Chromium: the whole story, as a person would see and steer it.

Screenshots go to $SCREENSHOTS, else to a temporary folder.
"""

import base64
import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


class Page:
    def __init__(self, browser):
        self._browser = browser

    def open(self, url, width=1280, height=940, scheme="light"):
        self.look(width, height, scheme)
        self._browser.get(url)
        self.run("return turn({attack: false, defq: 'off'})")  # wherever the last test left them

    def look(self, width, height, scheme):
        phone = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self._browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def run(self, script, *arguments):
        return self._browser.execute_script(script, *arguments)

    def text(self, id_):
        return self._browser.find_element("id", id_).text

    def share(self):
        """Frames that leave on the device, percent; None before there is a figure."""
        text = self.text("share").replace("\u202f", "").rstrip("%")
        return int(text) if text.isdigit() else None

    def bars(self):
        """Height of every bar of the histogram, in pixels."""
        return self.run(
            "return [...document.querySelectorAll('.bar')].map((bar) => bar.getBoundingClientRect().height)"
        )

    def click(self, css):
        self._browser.find_element("css selector", css).click()

    def shot(self, file):
        size = self._browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self._browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        file.write_bytes(base64.b64decode(shot["data"]))
        return file

    def complaints(self):
        return [entry["message"] for entry in self._browser.get_log("browser")]


@pytest.fixture
def page(browser):
    page = Page(browser)
    yield page
    browser.get("about:blank")


@pytest.fixture(scope="session")
def shots(tmp_path_factory):
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("shots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_attack_moves_exits_to_the_right_and_defq_brings_them_back(page, preview, wait, shots):
    page.open(preview)
    wait(lambda: page.text("link") == "live")
    wait(lambda: (page.share() or 0) > 50)
    wait(lambda: "no attack" in page.text("sentence"))
    assert "attacked twin of each frame" in page.text("attack-text")
    clean_bars = page.bars()
    clean_traffic = page.run("return document.getElementById('now-bytes').textContent")
    page.shot(shots / "clean_light.png")

    page.click("#attack")
    wait(lambda: page.run("return document.getElementById('attack').getAttribute('aria-checked')") == "true")
    wait(lambda: page.share() is not None and page.share() <= 3)
    wait(lambda: sum(page.bars()[:3]) < 0.3 * sum(clean_bars[:3]))
    wait(lambda: page.run("return document.querySelectorAll('.under-attack').length") == 3)
    assert page.text("sentence").endswith("under attack")
    attacked_traffic = page.run("return document.getElementById('now-bytes').textContent")
    assert _bytes(attacked_traffic) > 1.5 * _bytes(clean_traffic)
    attacked_share = page.share()
    page.shot(shots / "attacked_light.png")

    page.click("label:has([value=on])")
    wait(lambda: page.share() > attacked_share + 10)
    wait(lambda: page.text("sentence").endswith("under attack, behind DefQ"))
    wait(lambda: page.run("return document.querySelectorAll('.lane-defq').length") == 3)
    assert _bytes(page.text("now-bytes")) < _bytes(attacked_traffic)
    wait(lambda: page.run("return document.querySelector('[data-seen=\"11\"] td').textContent") != "–")
    page.shot(shots / "defended_light.png")
    page.look(1280, 940, "dark")
    page.shot(shots / "defended_dark.png")

    page.click("label:has([value=off])")
    page.click("#attack")
    wait(lambda: page.share() > 50)
    assert page.complaints() == []


def test_auto_switches_defq_on_by_the_monitor_and_off_again(page, preview, wait):
    page.open(preview)
    wait(lambda: (page.share() or 0) > 50)
    page.click("label:has([value=auto])")
    wait(lambda: page.text("monitor").startswith("Monitor: ok, DefQ follows and is off"))
    page.click("#attack")
    wait(lambda: page.text("monitor").startswith("Monitor: attack suspected, DefQ follows and is on"))
    wait(lambda: page.text("sentence").endswith("under attack, behind DefQ"))
    page.click("#attack")
    wait(lambda: page.text("monitor").startswith("Monitor: ok, DefQ follows and is off"))
    assert "alarm" in page.text("monitor")


def _bytes(text):
    number, unit = text.split("/")[0].split(" ")
    return float(number) * {"B": 1, "kB": 1e3, "MB": 1e6}[unit]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone(page, preview, wait, shots, scheme):
    page.open(preview, 360, 740, scheme)
    wait(lambda: page.share() is not None)
    assert page.run("return document.documentElement.scrollWidth") == 360  # nothing sticks out
    ground = page.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) == (scheme == "dark")
    inside = "const box = document.querySelector(arguments[0]).getBoundingClientRect(); return [box.top >= 0, box.bottom <= 740]"
    for css in ("#share", "#picture", "#attack", "[name=defq]"):  # to be seen and reached without scrolling
        assert page.run(inside, css) == [True, True], css
    sizes = page.run(
        "return [...document.querySelectorAll('button, .choice label')].map((each) => each.getBoundingClientRect().height)"
    )
    assert min(sizes) >= 32
    page.shot(shots / f"phone_{scheme}.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(page, preview, wait, scheme):
    page.open(preview, scheme=scheme)
    wait(lambda: page.share() is not None)
    ratios = page.run(CONTRAST)
    assert len(ratios) > 30
    weak = {text: round(ratio, 2) for text, ratio in ratios if ratio < 4.5}
    assert weak == {}


CONTRAST = """
const parse = (colour) => colour.match(/[0-9.]+/g).map(Number);
const light = (colour) => {
  const [r, g, b] = colour.slice(0, 3).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (element) => {
  for (let each = element; each; each = each.parentElement) {
    const colour = parse(getComputedStyle(each).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const found = [];
const walker = document.createTreeWalker(document.querySelector("body"), NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const text = walker.currentNode.textContent.trim();
  const element = walker.currentNode.parentElement;
  if (!text || !element.offsetParent || element.closest(":disabled, .unseen, .bar, label:has(:disabled)")) continue;
  const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
  found.push([text, (a + 0.05) / (b + 0.05)]);
}
return found;
"""


def test_keyboard_reaches_and_works_the_switches(page, preview, wait, browser):
    from selenium.webdriver.common.keys import Keys

    page.open(preview)
    wait(lambda: page.share() is not None)

    def press(key):
        browser.switch_to.active_element.send_keys(key)

    browser.find_element("css selector", "body").send_keys(Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("id") == "attack"
    press(Keys.SPACE)
    wait(lambda: browser.switch_to.active_element.get_attribute("aria-checked") == "true")
    press(Keys.SPACE)
    wait(lambda: browser.switch_to.active_element.get_attribute("aria-checked") == "false")
    press(Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("name") == "defq"
    press(Keys.ARROW_RIGHT)
    wait(lambda: "behind DefQ" in page.text("sentence"))
    press(Keys.ARROW_LEFT)
    wait(lambda: "behind DefQ" not in page.text("sentence"))


def test_every_control_and_picture_has_a_name(page, preview, wait, browser):
    page.open(preview)
    wait(lambda: page.share() is not None)
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = {}
    for node in tree:
        role = node.get("role", {}).get("value")
        if role in ("switch", "radio", "image", "heading", "group", "radiogroup") and not node.get("ignored"):
            named.setdefault(role, []).append(node.get("name", {}).get("value", ""))
    assert named["switch"] == ["Attack"]
    assert named["radio"] == ["off", "on", "auto"]
    assert "DefQ" in named.get("group", []) + named.get("radiogroup", [])
    assert len(named["image"]) >= 8  # the camera, three curves, four views
    assert all(named["image"])
    assert "Where frames leave" in " ".join(named["heading"])


def test_page_says_when_the_device_is_gone(page, bundle, program, wait):
    from selenium.common.exceptions import WebDriverException

    options = ("--bundle", bundle, "--source", "bundle:clean", "--port", 0, "--threads", 1, "--engine", "onnxruntime")
    alone = program(r"preview: (\S+)", "device", "preview", *options)
    page.open(alone.url)
    wait(lambda: page.text("link") == "live")
    assert "no host" in page.text("host")
    assert "Traceback" not in alone.stop()
    try:
        wait(lambda: "does not answer" in page.text("link"))
    except WebDriverException as error:
        pytest.fail(str(error))
