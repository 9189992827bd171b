"""The preview's page in a real Chromium: the whole story, as a person would see and steer it.

Screenshots go to $SCREENSHOTS, else to a temporary folder.
"""

import os
from pathlib import Path

import pytest

from tests.browser.page import Page

pytestmark = pytest.mark.slow


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
    wait(lambda: page.text("sentence").endswith("under attack"))
    assert page.run("return document.querySelectorAll('.while-down').length") == 0
    attacked_traffic = page.run("return document.getElementById('now-bytes').textContent")
    assert _bytes(attacked_traffic) > 1.5 * _bytes(clean_traffic)
    attacked_share = page.share()
    page.shot(shots / "attacked_light.png")

    page.click("label:has([value=on])")
    wait(lambda: page.share() > attacked_share + 10)
    wait(lambda: page.text("sentence").endswith("under attack, behind DefQ"))
    wait(lambda: page.run("return document.querySelectorAll('.lane-defq').length") == 3)
    assert _bytes(page.text("now-bytes")) < _bytes(attacked_traffic)
    wait(lambda: int(page.row("attacked defq")["frames"]) > 20)
    page.shot(shots / "defended_light.png")
    page.look(1280, 800, "dark")
    page.shot(shots / "defended_dark.png")

    page.click("label:has([value=gated])")
    wait(lambda: page.text("sentence").endswith("under attack, behind gated DefQ"))
    wait(lambda: int(page.row("attacked gated")["frames"]) > 20)
    page.shot(shots / "gated_dark.png")
    clean, attacked, defended = (page.row(each) for each in ("clean none", "attacked none", "attacked defq"))
    assert _number(clean["left"]) > 50 > 5 > _number(attacked["left"])
    assert float(attacked["efcy"]) < float(defended["efcy"]) < float(clean["efcy"])
    assert _bytes(clean["bytes"]) < _bytes(defended["bytes"]) < _bytes(attacked["bytes"])
    assert _number(clean["accuracy"]) > _number(attacked["accuracy"])
    assert page.run("return document.querySelector('.seen thead').textContent").count("traffic a frame, fp32") == 1
    assert page.text("payload") == "as fp32"

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


def _number(text):
    return int(text.replace("\u202f", "").rstrip("%"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_on_a_phone(page, preview, wait, shots, scheme):
    page.open(preview, 390, 844, scheme)
    wait(lambda: page.share() is not None)
    assert page.run("return document.documentElement.scrollWidth") == 390  # nothing sticks out
    ground = page.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) == (scheme == "dark")
    inside = "const box = document.querySelector(arguments[0]).getBoundingClientRect(); return [box.top >= 0, box.bottom <= 844]"
    for css in ("#share", "#picture", "#attack", "[name=defq]"):  # to be seen and reached without scrolling
        assert page.run(inside, css) == [True, True], css
    sizes = page.run(
        "return [...document.querySelectorAll('button[role=switch], .choice label:not([hidden])')].map((each) => each.getBoundingClientRect().height)"
    )
    assert min(sizes) >= 32
    hidden = "const box = document.querySelector('.scroll'); return box.scrollWidth - box.clientWidth"
    assert page.run(hidden) == 0  # the whole comparison
    page.shot(shots / f"phone_{scheme}.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(page, preview, wait, scheme):
    page.open(preview, scheme=scheme)
    wait(lambda: page.share() is not None)
    wait(lambda: page.text("attack-text"))
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
    assert browser.switch_to.active_element.text == "RAD"
    assert page.text("meaning").startswith("Relative accuracy drop")
    press(Keys.TAB)
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
    assert named["radio"] == ["off", "on", "gated", "auto"]
    assert "DefQ" in named.get("group", []) + named.get("radiogroup", [])
    assert len(named["image"]) >= 8  # the camera, three curves, four views
    assert all(named["image"])
    assert "Where frames leave" in " ".join(named["heading"])
