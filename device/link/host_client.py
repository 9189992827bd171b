"""Sends frames to the host and brings the answers, without ever making the camera wait.

Each connection is a thread with one HttpClient. Everything that a frame waits for, from the look-up of the host's name to the
last byte of the answer, ends at the frame's deadline; so a host that sends one byte at a time delays nobody. After a failure
the host counts as lost: frames are refused at once, except for one now and then that tries the host again
(device/link/circuit_breaker.py).
"""

import http.client
import queue
import socket
import sys
import threading
from typing import Callable, List, Optional

import numpy as np

from device.bundle.reader import Bundle
from device.errors import AccessError, BundleError, CappedError, HostError, UsageError
from device.link.circuit_breaker import CircuitBreaker
from device.link.connection import reason_of
from device.link.credentials import NO_CREDENTIALS, Credentials
from device.link.deadline import DEFAULT_TIMEOUT_S, Deadline, clock
from device.link.endpoint import endpoint_of
from device.link.host_request import HostAnswer, HostRequest, answer_of
from device.link.http_client import HttpClient
from device.payload.base import Sendable
from device.payload.choice import FormChoice, FrameCost
from device.payload.encoder import Encoder
from device.payload.forms import CLASSES, FORMS, FP32
from device.payload.metadata import forms_taken
from device.protocol.messages import error_message, is_error
from device.system.systemd import wait_alive

AUTO = "auto"
PAYLOADS = (AUTO, *reversed(FORMS))


class HostClient:
    """The device's side of the link to a host.

    Args:
        url: http://HOST:PORT, or https://.
        bundle: names the tail to ask for, and bounds its answers.
        threshold: confidence from which a frame leaves at an exit of the host, unless the frame comes with its own.
        connections: the number of frames that can be on their way at the same time.
        timeout_s: from handing a frame over to giving it up.
        payload: one of PAYLOADS, the form in which frames are sent. ``auto`` uses the fastest form that the host takes
            (device/payload/choice.py) and says on stderr which one that is.
        credentials: certificates and token.

    Raises:
        UsageError: it is no such URL, or files of ``credentials`` cannot be used.
    """

    def __init__(
        self,
        url: str,
        bundle: Bundle,
        threshold: float,
        connections: int = 4,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        payload: str = FP32,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> None:
        self.url = url
        self.endpoint = endpoint_of(url, credentials)
        self.bundle = bundle
        self.connections = connections
        self.timeout_s = timeout_s
        self.payload = payload
        sizes = {name: form.estimated_bytes(bundle) for name, form in CLASSES.items()}
        self._choice = FormChoice(sizes, timeout_s, connections)
        self._forms: Optional[List[str]] = None  # that the host takes; None until it was asked
        self._told_of_one_form = False
        self._threshold = np.full((1, 1), threshold, np.float32)
        self._queue: "queue.Queue[Optional[HostRequest]]" = queue.Queue()
        self._free = threading.Semaphore(connections)
        self._lock = threading.Lock()  # of the choice and the breaker
        self._breaker = CircuitBreaker()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(connections)]
        for thread in self._threads:
            thread.start()

    def check(self) -> None:
        """Ask the host once whether it is ready and serves this bundle.

        Raises:
            HostError: it is absent, not ready, or not a host of this protocol.
            BundleError: it serves another bundle.
            UsageError: it does not take the payload form that was asked for.
        """
        try:
            self._ask_forms(Deadline.after(self.timeout_s))
        except (OSError, http.client.HTTPException) as error:
            raise HostError("found no host at {} ({}); expected one; start it there, as in: defq serve --bundle build/mobilenet".format(
                self.url, reason_of(error))) from error  # fmt: skip

    def submit(
        self,
        frame: Sendable,
        wait: bool,
        threshold: Optional[float] = None,
        may_pay: Optional[Callable[[int], bool]] = None,
    ) -> HostRequest:
        """Hand a frame over.

        Args:
            frame: its arrays must not be changed until the request is done.
            wait: wait for a free connection, until the deadline at most; otherwise a frame that finds none is refused.
            threshold: for this frame instead of the client's own.
            may_pay: asked in another thread with the number of bytes before they are sent, whether they may be.

        Returns:
            The request. When the frame was refused, it is done already and has no answer.
        """
        own = self._threshold if threshold is None else np.full((1, 1), threshold, np.float32)
        with self._lock:
            admission = self._breaker.admit(clock())
        request = HostRequest(frame, own, Deadline.after(self.timeout_s), admission.tries, may_pay)
        if admission.admitted and self._take_connection(wait):
            request.taken = True
            self._queue.put(request)
        else:
            request.finish(None)
        return request

    def close(self) -> None:
        """End the threads. Frames on their way are finished first, each at its deadline at the latest."""
        for _ in self._threads:
            self._queue.put(None)
        deadline = Deadline.after(self.timeout_s)
        for thread in self._threads:
            thread.join(deadline.left_s())

    def _take_connection(self, wait: bool) -> bool:
        """Reserve a connection; False if none is free, or none becomes free in time."""
        if not wait:
            return self._free.acquire(blocking=False)
        return wait_alive(lambda seconds: self._free.acquire(timeout=seconds), self.timeout_s)

    def _work(self) -> None:
        """Send frames over one connection, until ``close``."""
        http_client = HttpClient(self.endpoint, self.bundle.id)
        encoder = Encoder(self.bundle)
        while True:
            request = self._queue.get()
            if request is None:
                http_client.close()
                return
            try:
                request.finish(self._ask(http_client, encoder, request))
                self._found()
            except CappedError:
                request.finish(None)  # the host is not at fault
            except (
                Exception
            ) as error:  # any at all: if this thread ended, frames would wait for its connection for ever
                http_client.close()
                late = request.done() or isinstance(error, socket.timeout)
                reason = "no answer within {:.1f} s".format(self.timeout_s) if late else reason_of(error)
                self._lost(reason, request.tries_lost_host, refused=isinstance(error, AccessError) and not late)
                request.finish(None)
            finally:
                self._free.release()

    def _ask(self, http_client: HttpClient, encoder: Encoder, request: HostRequest) -> HostAnswer:
        form = self._form_for(encoder, request)
        started_s = clock()
        payload = encoder.encode(request.frame, request.threshold, form)
        request.form = payload.form
        encoded_s = clock()
        inference = http_client.infer(payload.message, request.deadline, payload.content_encoding, request)
        answer = answer_of(inference.tensors, self.bundle)
        if self.payload == AUTO:
            cost = FrameCost(encoded_s - started_s, clock() - encoded_s, inference.request_bytes)
            with self._lock:
                self._choice.add(payload.form, cost, counts=not inference.on_new_connection)
        return answer

    def _form_for(self, encoder: Encoder, request: HostRequest) -> str:
        """The form in which to send a frame. After a loss the host is asked again, since another one may stand there now."""
        if self.payload == FP32:
            return FP32
        forms = self._forms or self._ask_forms(request.deadline)
        if self.payload != AUTO:
            return self.payload
        possible = encoder.possible(forms, request.frame)
        with self._lock:
            form = self._choice.pick(possible, clock())
            news = self._choice.take_news()
        for sentence in news:
            print(sentence, file=sys.stderr, flush=True)
        return form

    def _ask_forms(self, deadline: Deadline) -> List[str]:
        """Ask the host which payload forms it takes; errors as of ``check``, and those of a connection."""
        http_client = HttpClient(self.endpoint, self.bundle.id)
        try:
            status, _, body = http_client.metadata(deadline)
        finally:
            http_client.close()
        if status == 404 and is_error(body):
            raise BundleError(
                "the host at {} does not serve bundle {}: {}".format(self.url, self.bundle.id, error_message(body))
            )
        if status != 200:
            raise HostError("found status {} from the host at {}: {}; expected 200; is it a host of this bundle?".format(
                status, self.url, error_message(body)))  # fmt: skip
        try:
            forms = forms_taken(body, self.bundle)
        except ValueError as error:  # many servers answer 200 to whatever they are asked
            raise HostError("found a server at {} that is no host of the Open Inference Protocol: it answers {!r} when it is asked "
                            "about bundle {}; expected the model's metadata; check the port in --host".format(
                                self.url, body[:60], self.bundle.id)) from error  # fmt: skip
        if self.payload not in (AUTO, *forms):
            raise UsageError("found --payload {}, but the host at {} takes {} for this bundle; expected one with a bundle exported by "
                             "this release; use --payload auto or {}".format(
                                 self.payload, self.url, " and ".join(forms), forms[-1]))  # fmt: skip
        if self.payload == AUTO and len(forms) == 1 and not self._told_of_one_form:
            self._told_of_one_form = True
            print("payload: {}, all that the host at {} takes".format(forms[0], self.url), file=sys.stderr, flush=True)
        self._forms = forms
        return forms

    def _lost(self, reason: str, tried: bool, refused: bool) -> None:
        """Count the host as lost, and say so once."""
        with self._lock:
            is_news = self._breaker.failed(clock(), tried)
            self._choice.host_lost()
            self._forms = None
        if is_news:
            said = "warning: {1}" if refused else "warning: lost the host at {0} ({1})"
            until = "that is put right" if refused else "it is back"
            print((said + "; frames are answered on the device until {2}").format(self.url, reason, until),
                  file=sys.stderr, flush=True)  # fmt: skip

    def _found(self) -> None:
        """Count the host as present, and say so if it was lost."""
        with self._lock:
            lost_s = self._breaker.answered(clock())
        if lost_s is not None:
            print("the host at {} is back after {:.1f} s".format(self.url, lost_s), file=sys.stderr, flush=True)
