"""Attacks to switch on in the preview: each is a callable that changes a frame at the network's size.

A camera's frames cannot be attacked on a board in real time: DeepSloth needs tens of gradients a frame. So the attack
comes, in this order, from the attacked twins of a bundle's frame set, from a live attacker on a workstation
(defq attack --serve), or from one universal perturbation, which is weak.
"""

import http.client
import math
import re
import sys
from typing import Any, Callable, Dict, Optional, Tuple
from urllib.parse import parse_qs

import numpy as np

from device.bundle.frame_set import FrameSet
from device.bundle.reader import Bundle
from device.cameras.base import Frame
from device.errors import AccessError, HostError, UsageError, WireError
from device.link.address import address_of, without_secrets
from device.link.circuit_breaker import CircuitBreaker
from device.link.connection import reason_of
from device.link.credentials import Credentials, bearer
from device.link.deadline import DEFAULT_TIMEOUT_S, Deadline, clock
from device.link.endpoint import Endpoint
from device.link.http_client import HttpClient
from device.protocol.messages import encode_request, error_message
from device.system.json_text import read_json

MODEL = "deepsloth"
"""Name under which the live attacker answers requests of the Open Inference Protocol."""
MAX_ANSWER_BYTES = 16 << 20
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 10.0


class Attacker:
    """Changes frames. ``kind``: one word for the page; ``describe``: one sentence for it, with what is known by now."""

    kind = "none"

    def __call__(self, frame: Frame, pixels: np.ndarray) -> np.ndarray:
        """uint8 (height, width, channels) at the network's size -> the same under attack; never raises."""
        raise NotImplementedError

    def describe(self) -> str:
        raise NotImplementedError

    def close(self) -> None:
        """Let go of what it holds."""


class TwinAttack(Attacker):
    """The attacked twin that each frame of a bundle's frame set has."""

    kind = "twin"

    def __call__(self, frame: Frame, pixels: np.ndarray) -> np.ndarray:
        twin = frame.twin
        return pixels if twin is None or twin.size != pixels.size else twin.reshape(pixels.shape)

    def describe(self) -> str:
        return "the attacked twin of each frame, made with DeepSloth L-inf for this network"


class UniversalAttack(Attacker):
    """One perturbation for all frames.

    Args:
        perturbation: int16 (height, width, channels) in levels of pixels.
        clean_t3_er, t3_er: share of frames that leave at exits 1..3 without and with it, where measured.
    """

    kind = "universal"

    def __init__(self, perturbation: np.ndarray, clean_t3_er: Optional[float], t3_er: Optional[float]) -> None:
        self._perturbation = perturbation
        self._clean_t3_er = clean_t3_er
        self._t3_er = t3_er

    def __call__(self, frame: Frame, pixels: np.ndarray) -> np.ndarray:
        attacked: np.ndarray = np.clip(pixels + self._perturbation, 0, 255).astype(np.uint8)
        return attacked

    def describe(self) -> str:
        strength = "not measured"
        if self._t3_er is not None:
            strength = "T3-ER {:.2f}".format(self._t3_er)
            if self._clean_t3_er is not None:
                strength = "T3-ER {:.2f} to {:.2f}".format(self._clean_t3_er, self._t3_er)
        return "one universal perturbation for all frames (weak: {})".format(strength)


class UrlToken(Credentials):
    """The token in the address of a live attacker."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token

    def authorization(self) -> str:
        return bearer(self._token) if self._token else ""

    def explained(self, error: Exception, url: str, host: str) -> Optional[Exception]:
        return None  # a live attacker has no TLS and no certificates

    def refused(self, status: int, message: str, url: str) -> HostError:
        return AccessError("status {}: {}".format(status, message))


class RemoteAttack(Attacker):
    """A live attacker that is asked about every frame. While it does not answer, frames pass unchanged.

    After a failure it is left alone for 1 s, and for twice as long after each further failure, up to 10 s: a live camera must
    not wait for ``timeout_s`` again and again. It asks about one frame at a time, from the loop's thread alone.

    Args:
        url: http://HOST:PORT, with /?token=... as defq attack --serve printed it.
        timeout_s: for one frame, connecting included.
        now_s: a clock, for tests.

    Raises:
        UsageError: it is no such URL.
    """

    kind = "live"

    def __init__(self, url: str, timeout_s: float = DEFAULT_TIMEOUT_S, now_s: Callable[[], float] = clock) -> None:
        endpoint = _endpoint_of(url)
        self._shown = endpoint.url
        self._http_client = HttpClient(endpoint, MODEL, MAX_ANSWER_BYTES)
        self._breaker = CircuitBreaker(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        self._timeout_s = timeout_s
        self._now_s = now_s
        self._settings = ""
        self._rate: Optional[float] = None
        self._problem = ""

    def check(self, bundle: Bundle) -> None:
        """Ask once what it attacks; one warning where it is absent or attacks another network than the bundle's."""
        try:
            facts = self._facts()
        except (OSError, http.client.HTTPException, HostError) as error:
            self._lost(error, tried=False)
            return
        self._settings = "{}, exits 1 to {}, {} steps".format(facts["model"], facts["split"], facts["steps"])
        weights = str(bundle.manifest.get("provenance", {}).get("weights_sha256"))
        if (facts["model"], facts["split"], facts["weights"]) != (bundle.model, bundle.split, weights):
            print("warning: the attacker at {} attacks {} ({} weights), the bundle is {} with {} exits on the device; expected "
                  "the same network, or the attack is weak; start it with: defq attack --serve --model {} "
                  "--split {}".format(
                      self._shown, self._settings, "the bundle's" if facts["weights"] == weights else "other", bundle.model,
                      bundle.split, bundle.model, bundle.split if bundle.has_tail else "all"),
                  file=sys.stderr, flush=True)  # fmt: skip

    def __call__(self, frame: Frame, pixels: np.ndarray) -> np.ndarray:
        admission = self._breaker.admit(self._now_s())
        if not admission.admitted:
            return pixels
        try:
            attacked, self._rate = self._attacked(pixels)
        except (OSError, http.client.HTTPException, HostError, WireError, ValueError, OverflowError) as error:
            self._lost(error, admission.tries)
            return pixels
        if self._breaker.answered(self._now_s()) is not None:
            self._problem = ""
            print("the attacker at {} answers again".format(self._shown), file=sys.stderr, flush=True)
        return attacked

    def describe(self) -> str:
        who = "a live attacker at {}".format(self._shown)
        if self._problem:
            return "{} that does not answer ({}): clean frames go on".format(who, self._problem)
        settings = " ({})".format(self._settings) if self._settings else ""
        return who + settings + ("" if self._rate is None else ": {:.1f} frames/s".format(self._rate))

    def close(self) -> None:
        self._http_client.close()

    def _attacked(self, pixels: np.ndarray) -> Tuple[np.ndarray, float]:
        message = encode_request({"frame": pixels[np.newaxis]}, ("frame", "frames_per_second"))
        tensors = self._http_client.infer(message, Deadline.after(self._timeout_s)).tensors
        frame, rate = tensors.get("frame"), tensors.get("frames_per_second")
        if frame is None or frame.dtype != np.uint8 or frame.shape != (1, *pixels.shape):
            raise HostError("found {} as its answer; expected a frame of the same size".format(
                sorted((name, str(each.dtype), each.shape) for name, each in tensors.items())))  # fmt: skip
        if rate is None or rate.dtype != np.float32 or rate.size != 1 or not math.isfinite(rate.ravel()[0]):
            raise HostError("found no frames_per_second in its answer; expected one number")
        return frame[0], float(rate.ravel()[0])

    def _facts(self) -> Dict[str, Any]:
        status, _, body = self._http_client.metadata(Deadline.after(self._timeout_s))
        if status != 200:
            raise HostError("status {}: {}".format(status, error_message(body)))
        try:
            facts = read_json(body)["parameters"]
            return {"model": str(facts["model"])[:40], "split": int(facts["split"]), "steps": int(facts["steps"]),
                    "weights": str(facts["weights_sha256"])}  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise HostError("its description has no model, split, steps and weights_sha256") from error

    def _lost(self, error: BaseException, tried: bool) -> None:
        self._http_client.close()
        self._problem = " ".join(reason_of(error).split())[:160]
        if self._breaker.failed(self._now_s(), tried):
            print("warning: found no answer from the attacker at {} ({}); expected defq attack --serve there; clean "
                  "frames go on until it answers".format(self._shown, self._problem), file=sys.stderr, flush=True)  # fmt: skip


def choose_attacker(
    bundle: Bundle, has_twins: bool, url: Optional[str], frames: Optional[FrameSet]
) -> Tuple[Optional[Attacker], str]:
    """The strongest attack that there is, and why there is none.

    Args:
        has_twins: the source is the bundle's clean frame set.
        url: of a live attacker.
        frames: the bundle's frame set, where it has one.
    """
    if has_twins:
        if url:
            print("the attacker at {} is not asked: the frames of this source have attacked twins".format(without_secrets(url)),
                  file=sys.stderr, flush=True)  # fmt: skip
        return TwinAttack(), ""
    if url:
        remote = RemoteAttack(url)
        remote.check(bundle)
        return remote, ""
    if frames is not None and frames.universal is not None:
        return UniversalAttack(frames.universal, _clean_t3_er(bundle), frames.universal_t3_er), ""
    return None, (
        "none available: the source is not bundle:clean, no --attacker was named, and the bundle has no frame set with a "
        "universal perturbation"
    )


def _clean_t3_er(bundle: Bundle) -> Optional[float]:
    """T3-ER of the frame set's clean frames, as the bundle tells."""
    try:
        return float(bundle.manifest["frames"]["t3_er"]["clean"])
    except (KeyError, TypeError, ValueError):
        return None


def _endpoint_of(url: str) -> Endpoint:
    """Where the attacker of http://HOST:PORT/?token=... listens."""
    address = address_of(url, {"http": 80})
    token = "" if address is None else parse_qs(address.query).get("token", [""])[0]
    if address is None or re.search(r"[^!-~]", token):
        raise UsageError("found --attacker {}; expected http://HOST:PORT, with /?token=... where defq attack --serve "
                         "printed one".format(without_secrets(url)))  # fmt: skip
    return Endpoint(address.host, address.port, UrlToken(token))
