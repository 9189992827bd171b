"""The preview from the command line."""

import http.client
import json
import re
import threading

import pytest

from device.commands.cli import main
from device.system.systemd import LONGEST_WAIT_S


def test_command_serves_and_stays_after_the_last_frame(bundle_folder, frames_file, capfd, monkeypatch):
    events = []

    class Stop(threading.Event):
        def wait(self, timeout=None):
            events.append(timeout)
            if timeout == LONGEST_WAIT_S:  # the page stays: look at it, then Ctrl-C
                url = re.search("preview: (http://127.0.0.1:[0-9]+/)", capfd.readouterr().err).group(1)
                connection = http.client.HTTPConnection(url.split("/")[2], timeout=5)
                connection.request("GET", "/stats")
                events.append(json.loads(connection.getresponse().read().decode()))
                connection.close()
                self.set()
            return super().wait(timeout)

    monkeypatch.setattr("device.commands.preview.stop_on_signals", Stop)
    source = "npz:" + frames_file + "?rate=500"
    code = main(["preview", "--bundle", bundle_folder, "--source", source, "--port", "0", "--engine", "onnxruntime"])
    assert code == 0
    stats = events[-1]
    assert stats["ended"] == "the source has ended"
    assert stats["frames"] == 60
    assert stats["attack"]["available"] is False
    assert "no --attacker was named" in stats["attack"]["text"]
    assert "60 frames: 41 left on the device" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"), [("--fps", "0.5"), ("--fps", "nan"), ("--port", "70000"), ("--token", "short")]
)
def test_command_refuses_options_that_cannot_work(bundle_folder, frames_file, capsys, option, value):
    options = ["--bundle", bundle_folder, "--source", "npz:" + frames_file, "--port", "0", option, value]
    assert main(["preview", *options]) == 2
    assert "error: found " in capsys.readouterr().err
