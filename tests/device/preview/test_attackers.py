"""The preview's attackers: the attacked twin of a frame, a perturbation for all frames, and the live attacker."""

import json
import socket
import time

import numpy as np
import pytest

from device.bundle.frame_set import FrameSet
from device.cameras.base import Frame
from device.errors import UsageError
from device.preview.attackers import FIRST_PAUSE_S, RemoteAttack, TwinAttack, UniversalAttack, choose_attacker
from device.protocol.messages import HEADER_LENGTH, decode_request, encode_response, error_body
from tests.device.fake_server import FakeServer, read_head, send_answer

SHAPE = (16, 16, 3)
PIXELS = np.random.RandomState(0).randint(0, 256, SHAPE).astype(np.uint8)


def frame(twin=None):
    return Frame(0, PIXELS, None, 0.0, twin)


class FakeAttacker(FakeServer):
    """Inverts frames, or misbehaves.

    mode: right | silent | drip | garbage | not_http | status_500 | wrong_shape | no_rate | close_after
    """

    def __init__(self, bundle, token=""):
        self.mode = "right"
        self.token = token
        self.requests = 0
        self.facts = {
            "model": bundle.model, "split": bundle.split, "steps": 20,
            "weights_sha256": bundle.manifest["provenance"]["weights_sha256"],
        }  # fmt: skip
        super().__init__()

    def answer(self, connection, stream):
        first, headers = read_head(stream)
        if not first:
            return False
        body = stream.read(int(headers.get("content-length", 0)))
        if self.token and headers.get("authorization") != "Bearer " + self.token:
            send_answer(connection, "401 Unauthorized", error_body("found no valid token"))
            return True
        if first.startswith("GET"):
            send_answer(connection, "200 OK", json.dumps({"parameters": self.facts}).encode())
            return True
        self.requests += 1
        sent = decode_request(body, int(headers[HEADER_LENGTH.lower()])).tensors["frame"]
        assert sent.dtype == np.uint8
        answer = {"frame": 255 - sent, "frames_per_second": np.array([7.25], np.float32)}
        if self.mode == "silent":
            return not self.stopped.wait(5)
        if self.mode == "drip":
            while not self.stopped.wait(0.02):
                connection.sendall(b"H")
        if self.mode == "not_http":
            connection.sendall(b"\x00\x01\x02\r\n\r\n")
            return False
        if self.mode == "garbage":
            send_answer(connection, "200 OK", b"\xff" * 40, 20)
            return True
        if self.mode == "status_500":
            send_answer(connection, "500 Internal Server Error", error_body("the network is gone"))
            return True
        if self.mode == "wrong_shape":
            answer["frame"] = answer["frame"][:, :8]
        if self.mode == "no_rate":
            answer["frames_per_second"] = np.array([np.nan], np.float32)
        encoded = encode_response("deepsloth", "1", answer)
        send_answer(connection, "200 OK", encoded.body, encoded.header_length)
        return self.mode != "close_after"


@pytest.fixture
def attacker(bundle):
    fake = FakeAttacker(bundle)
    yield fake
    fake.stop()


@pytest.fixture
def remote(attacker):
    made = RemoteAttack(attacker.url, timeout_s=0.3)
    yield made
    made.close()


def test_twin_takes_the_frames_own_and_leaves_others_alone():
    twin = 255 - PIXELS
    attack = TwinAttack()
    np.testing.assert_array_equal(attack(frame(twin), PIXELS), twin)
    assert attack(frame(), PIXELS) is PIXELS
    assert attack(frame(twin[:8]), PIXELS) is PIXELS
    grey = twin[..., 0]
    assert attack(frame(grey), PIXELS[..., :1]).shape == (16, 16, 1)


def test_universal_adds_and_stays_within_range():
    perturbation = np.where(np.arange(16 * 16 * 3).reshape(SHAPE) % 2, 8, -8).astype(np.int16)
    attacked = UniversalAttack(perturbation, 0.571, 0.528)(frame(), PIXELS)
    np.testing.assert_array_equal(attacked, np.clip(PIXELS.astype(int) + perturbation, 0, 255))
    assert attacked.dtype == np.uint8


@pytest.mark.parametrize(
    ("clean", "attacked", "told"),
    [(0.571, 0.528, "T3-ER 0.57 to 0.53"), (None, 0.528, "T3-ER 0.53"), (0.5, None, "not measured")],
)
def test_universal_tells_its_strength(clean, attacked, told):
    text = UniversalAttack(np.zeros(SHAPE, np.int16), clean, attacked).describe()
    assert text == "one universal perturbation for all frames (weak: {})".format(told)


def test_remote_gives_the_attacked_frame_and_the_attackers_rate(attacker, remote, bundle, capsys):
    remote.check(bundle)
    for _ in range(3):
        np.testing.assert_array_equal(remote(frame(), PIXELS), 255 - PIXELS)
    assert attacker.requests == 3
    assert remote.describe() == "a live attacker at {} (tiny, exits 1 to 2, 20 steps): 7.2 frames/s".format(
        attacker.url
    )
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("silent", "timed out"),
        ("drip", "timed out"),
        ("garbage", "could not read the JSON header"),
        ("not_http", ""),
        ("status_500", "status 500: the network is gone"),
        ("wrong_shape", "expected a frame of the same size"),
        ("no_rate", "found no frames_per_second"),
    ],
)
def test_remote_that_fails_lets_the_clean_frame_on_and_warns_once(attacker, remote, capsys, mode, reason):
    attacker.mode = mode
    started = time.monotonic()
    assert remote(frame(), PIXELS) is PIXELS
    assert time.monotonic() - started < 1
    asked = attacker.requests
    for _ in range(20):  # it is left alone for a while: a camera does not wait again and again
        assert remote(frame(), PIXELS) is PIXELS
    assert attacker.requests == asked
    assert time.monotonic() - started < 1
    warning = capsys.readouterr().err
    assert warning.count("warning: found no answer from the attacker at {} (".format(attacker.url)) == 1
    assert reason in warning
    assert "does not answer" in remote.describe()
    assert "clean frames go on" in remote.describe()


def test_remote_comes_back_after_its_pause(attacker, capsys):
    now = [100.0]
    remote = RemoteAttack(attacker.url, timeout_s=0.3, now_s=lambda: now[0])
    attacker.mode = "status_500"
    assert remote(frame(), PIXELS) is PIXELS
    attacker.mode = "right"
    now[0] += FIRST_PAUSE_S - 0.01
    assert remote(frame(), PIXELS) is PIXELS
    now[0] += 0.02
    assert (remote(frame(), PIXELS) == 255 - PIXELS).all()
    assert "answers again" in capsys.readouterr().err
    assert remote.describe().endswith("7.2 frames/s")
    remote.close()


def test_remote_asks_once_more_where_an_idle_connection_was_closed(attacker, remote, capsys):
    attacker.mode = "close_after"
    for _ in range(3):
        assert (remote(frame(), PIXELS) == 255 - PIXELS).all()
    assert capsys.readouterr().err == ""


def test_absent_attacker_is_a_warning(bundle, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    remote = RemoteAttack("http://127.0.0.1:{}".format(port), timeout_s=0.3)
    remote.check(bundle)
    assert "expected defq attack --serve there" in capsys.readouterr().err
    assert remote(frame(), PIXELS) is PIXELS


@pytest.mark.parametrize("other", [{"model": "vgg16"}, {"split": 3}, {"weights_sha256": "00"}])
def test_attacker_of_another_network_is_named(attacker, remote, bundle, capsys, other):
    attacker.facts.update(other)
    remote.check(bundle)
    assert "start it with: defq attack --serve --model tiny --split 2" in capsys.readouterr().err


def test_token_goes_along(bundle, capsys):
    fake = FakeAttacker(bundle, token="secret-secret")
    try:
        with_ = RemoteAttack(fake.url + "/?token=secret-secret", 0.5)
        with_.check(bundle)
        assert (with_(frame(), PIXELS) == 255 - PIXELS).all()
        assert capsys.readouterr().err == ""
        without = RemoteAttack(fake.url, 0.5)
        assert without(frame(), PIXELS) is PIXELS
        error = capsys.readouterr().err
        assert "status 401: found no valid token" in error
        assert "secret" not in with_.describe()
    finally:
        fake.stop()


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8090", "https://a:1", "http://:80", "http://a:99999999", "http://a/b", "http://a/?token=a%20b",
            "http://a/?token=a%0d%0aX-Y:1"]
)  # fmt: skip
def test_urls_that_cannot_be_an_attacker(url):
    with pytest.raises(UsageError, match="found --attacker"):
        RemoteAttack(url)


def test_choice_prefers_twins_then_the_live_attacker_then_the_universal_one(bundle, attacker, capsys):
    frames = FrameSet(PIXELS[None], PIXELS[None], np.zeros(1, np.int64), np.zeros(SHAPE, np.int16), 0.5)
    assert choose_attacker(bundle, True, attacker.url, frames)[0].kind == "twin"
    assert "is not asked: the frames of this source have attacked twins" in capsys.readouterr().err
    assert choose_attacker(bundle, False, attacker.url, frames)[0].kind == "live"
    manifest = dict(bundle.manifest, frames={"t3_er": {"clean": 0.571}})
    for facts, told in ((bundle.manifest, "T3-ER 0.50"), (manifest, "T3-ER 0.57 to 0.50")):
        universal, _ = choose_attacker(bundle._replace(manifest=facts), False, None, frames)
        assert told in universal.describe()
    for without in (None, frames._replace(universal=None)):
        nothing, why = choose_attacker(bundle, False, None, without)
        assert nothing is None
        assert "no --attacker was named" in why
