"""The preview's page, as a test or a screenshot steers it."""

import base64

SWITCHED_OFF = """
return fetch("/switch", {
  method: "POST", headers: {"X-Preview": "1"}, body: JSON.stringify({attack: false, defq: "off"}),
}).then((answer) => answer.status);
"""
CELLS = """
const cells = document.querySelectorAll(`[data-condition="${arguments[0]}"] td`);
return [...cells].map((cell) => cell.textContent);
"""
PRETENDED = """
const [figures, real] = [arguments[0], window.fetch];
window.fetch = async (path, options) => {
  const answer = await real(path, options);
  return path === "/stats" ? new Response(JSON.stringify({ ...(await answer.json()), ...figures })) : answer;
};
"""


class Page:
    """The preview in a browser.

    Args:
        browser: Selenium's driver.
    """

    def __init__(self, browser):
        self._browser = browser

    def open(self, url, width=1280, height=800, scheme="light"):
        self.look(width, height, scheme)
        self._browser.get(url)
        self.run(SWITCHED_OFF)  # wherever the last test left them

    def look(self, width, height, scheme):
        phone = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self._browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def run(self, script, *arguments):
        return self._browser.execute_script(script, *arguments)

    def state(self):
        """What the page says of itself: waiting, live, host-down, quiet, ended or gone."""
        return self.run("return document.body.dataset.state")

    def style(self, css, name):
        return self.run("return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]", css, name)

    def row(self, condition):
        """The cells of a row of the comparison, by their column."""
        cells = self.run(CELLS, condition)
        return dict(zip(("left", "efcy", "bytes", "latency", "accuracy", "energy", "frames"), cells, strict=True))

    def pretend(self, **figures):
        """From now on the page gets other figures than those of the device."""
        self.run(PRETENDED, figures)

    def text(self, id_):
        return self._browser.find_element("id", id_).text

    def share(self):
        """The share of frames that leave on the device, in percent; None before there is one."""
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
