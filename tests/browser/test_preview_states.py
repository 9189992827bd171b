"""The preview tells the truth when something fails: each state of the page, read from the page."""

import re

import pytest

from tests.browser.page import Page

pytestmark = pytest.mark.slow
TIME = "[0-9]{2}:[0-9]{2}:[0-9]{2}"
INSIDE = """
return [...document.querySelectorAll(".panel")].every((panel) => {
  const box = panel.getBoundingClientRect();
  return box.top >= 0 && box.left >= 0 && box.right <= innerWidth && box.bottom <= innerHeight;
});
"""
GREY = "grayscale(1)"


@pytest.fixture
def page(browser):
    yield Page(browser)
    browser.get("about:blank")


def test_a_dead_host_turns_header_and_curves_red_until_it_is_back(page, bundle, host, preview_of, wait):
    first = host()
    page.open(preview_of(bundle, "bundle:clean", "--host", first.url).url)
    wait(lambda: page.state() == "live" and page.text("link") == "live")
    page.click("#attack")  # all frames need the host
    wait(lambda: page.text("sentence").endswith("under attack"))
    wait(lambda: int(page.row("attacked none")["frames"]) > 10)
    calm = page.style("header", "backgroundColor")

    first.stop()
    wait(lambda: page.state() == "host-down")
    assert re.match(f"The host does not answer since {TIME}, for [0-9]+ s$", page.text("link"))
    wait(lambda: page.run("return document.querySelectorAll('.lane-down').length") == 3)
    red = page.style(".lane-down", "fill")
    assert calm != page.style("header", "backgroundColor") == red
    assert page.style(".curve.host .line", "stroke") == red
    assert page.style("#now-bytes", "color") == red
    assert page.style("#side-host", "color") == red
    assert page.style(".curve.device .line", "stroke") != red
    assert page.text("now-bytes") == "no answer"
    assert re.match(f"host: no answer since {TIME}$", page.text("side-host"))
    assert page.run(INSIDE)
    wait(lambda: page.text("now-ms") == "–")  # no frame is answered, so there is no latency
    assert page.run("return document.getElementById('mean').hidden")
    assert page.text("accuracy") == "–"
    assert "fallback" in page.run("return document.getElementById('decision').textContent")
    counted = page.row("attacked none")["frames"]
    since = re.search(TIME, page.text("link")).group()
    frames = int(re.search("Frame ([0-9]+)", _decision(page)).group(1))
    wait(lambda: int(re.search("Frame ([0-9]+)", _decision(page)).group(1)) > frames + 10)
    assert page.row("attacked none")["frames"] == counted  # the comparison waits for the host
    assert _seconds(re.search(TIME, page.text("link")).group()) - _seconds(since) in (-1, 0, 1)

    host(first.url.rsplit(":", 1)[1])
    wait(lambda: page.state() == "live")
    assert page.style("header", "backgroundColor") == calm
    wait(lambda: int(page.row("attacked none")["frames"]) > int(counted))


def _decision(page):
    return page.run("return document.getElementById('decision').textContent")


def _seconds(text):
    hours, minutes, seconds = map(int, text.split(":"))
    return 3600 * hours + 60 * minutes + seconds


def test_an_ended_source_greys_the_figures_and_keeps_them(page, bundle, preview_of, wait):
    page.open(preview_of(bundle, "bundle:clean?rate=30").url)
    wait(lambda: page.state() == "ended")
    assert re.match(f"The source has ended at {TIME}$", page.text("link"))
    assert page.text("sentence") == "of frames left on the device at the end"
    assert page.share() > 50
    for css in (".share", ".frame", ".plot svg", "#rate", "#now-share"):
        assert page.style(css, "filter") == GREY, css
    assert "no host" in page.text("host")
    assert page.text("now-bytes") == "no host"
    assert page.run("return document.querySelectorAll('.current').length") == 0


def test_a_silent_source_greys_the_figures(page, preview, wait):
    page.open(preview)
    wait(lambda: page.state() == "live")
    assert page.style(".share", "filter") == "none"
    page.pretend(quiet_s=75.0)
    wait(lambda: page.state() == "quiet")
    assert re.match(f"No frame since {TIME}, for 1 min$", page.text("link"))
    assert page.style(".share", "filter") == GREY


def test_page_says_when_the_device_is_gone(page, bundle, preview_of, wait):
    alone = preview_of(bundle)
    page.open(alone.url)
    wait(lambda: page.state() == "live")
    assert "Traceback" not in alone.stop()
    wait(lambda: page.state() == "gone")
    assert re.match(f"The device does not answer since {TIME}; trying again$", page.text("link"))
    assert page.style(".share", "filter") == GREY


def test_a_wrong_class_is_marked(page, preview, wait):
    page.open(preview)
    page.click("#attack")
    wait(lambda: re.search(", wrong: it is [a-z]+$", _decision(page)))
    wait(lambda: _decision(page).endswith(", correct"))


def test_choices_that_the_bundle_cannot_take_are_disabled_with_the_reason(page, preview_of, wait):
    page.open(preview_of("tests/device/data/tiny_bundle", "photos:?rate=15").url)
    wait(lambda: page.state() == "live")
    usable = "return [...document.querySelectorAll('[name=defq]')].filter((each) => !each.disabled).map((each) => each.value)"
    assert page.run(usable) == ["off", "on"]
    assert re.search("gated is not available: no gate .*; auto is not available: no monitor", page.text("defq-missing"))
    assert page.run("return document.getElementById('attack').disabled")
    assert "none available" in page.text("attack-text")
    assert page.run("return document.querySelector('[data-condition=\"clean gated\"]').hidden")


def test_a_bundle_that_needs_no_host_shows_none(page, preview_of, wait):
    page.open(preview_of("tests/device/data/whole_bundle", "photos:?rate=15").url)
    wait(lambda: page.state() == "live" and page.text("host") == "no host needed")
    wait(lambda: "of frames leave before the last exit" in page.text("sentence"))
    assert page.run("return document.getElementById('side-host').hidden")
    assert page.run("return document.getElementById('legend-host').hidden")
    assert page.run(INSIDE)


def test_words_are_explained_where_they_stand(page, preview, wait, browser):
    from selenium.webdriver.common.keys import Keys

    page.open(preview)
    wait(lambda: page.state() == "live")
    for word, meaning in (("RAD", "Relative accuracy drop"), ("L-inf", "no pixel changes by more"),
                          ("EFCY", "Efficacy"), ("T3-ER", "leave at exits 1 to 3"), ("fallback", "no mean")):  # fmt: skip
        page.click(f".term[data-word={word}]")
        assert meaning in page.text("meaning"), word
        browser.switch_to.active_element.send_keys(Keys.ESCAPE)
        assert page.run("return document.getElementById('meaning').hidden")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_table_and_pictures_stand_within_1280_by_800(page, preview, wait, scheme):
    page.open(preview, scheme=scheme)
    wait(lambda: page.share() is not None)
    assert page.run("return document.querySelectorAll('[data-condition]:not([hidden])').length") == 6
    assert page.run(INSIDE)
    assert page.style(".views canvas", "imageRendering") == "pixelated"


def test_capped_frames_are_no_fault_of_the_host(page, bundle, host, preview_of, wait):
    page.open(preview_of(bundle, "bundle:clean", "--host", host().url, "--ceiling", "0.2,0.2").url)
    wait(lambda: page.state() == "live")
    page.click("#attack")  # all frames stay, and four in five are capped
    wait(lambda: int(page.row("attacked none")["frames"]) > 60)
    assert page.state() == "live"
    told = re.fullmatch(
        r"Ceiling 20.%: level 0.[0-9]{2} of 0.76 · ([0-9]+) capped · most sent of 100: ([0-9]+) \(bound 24\), of 1000: .*",
        page.text("ceiling"),
    )
    assert int(told.group(1)) > 30
    assert int(told.group(2)) <= 24
    assert page.run("return [...document.querySelectorAll('#bars .number')].pop().textContent") == "capped"
    assert page.run(INSIDE)
