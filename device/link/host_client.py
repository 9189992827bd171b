"""Sends activations to the host and brings its answers, without ever making the camera wait.

Each connection is a thread with one kept-open HTTP/1.1 socket. All that a frame waits for, from the look-up of the host's
name to the last byte of the answer, ends at the frame's deadline, so that a host that drips bytes holds nobody. After a
failure the host counts as lost (device/link/circuit_breaker.py): frames are refused at once, but for one now and then that tries it.
"""

import http.client
import queue
import socket
import sys
import threading
from typing import List, Optional

import numpy as np

from device.bundle.reader import Bundle
from device.errors import AccessError, BundleError, HostError, UsageError
from device.link.circuit_breaker import CircuitBreaker
from device.link.connection import reason_of
from device.link.credentials import NO_CREDENTIALS, Credentials
from device.link.deadline import Deadline, clock
from device.link.endpoint import endpoint_of
from device.link.host_request import HostAnswer, HostRequest, answer_of
from device.link.http_client import HttpClient
from device.payload.choice import Choice, Cost, nominal_sizes
from device.payload.forms import FORMS, FP32, NO_ALTERNATIVES, Alternatives, Encoder, forms_among, listed_forms
from device.protocol.messages import Encoded, error_message, is_error
from device.system.json_text import read_json
from device.system.systemd import wait_alive

AUTO = "auto"
PAYLOADS = (AUTO, *reversed(FORMS))


class HostClient:
    """The device's side of the host connection.

    Args:
        url: http://HOST:PORT, or https://.
        bundle: names the tail to ask for and bounds its answers.
        threshold: confidence from which a frame leaves at an exit of the host, unless it comes with its own.
        connections: frames on their way at the same time.
        timeout_s: from handing a frame over to giving it up.
        payload: one of PAYLOADS: the form in which frames go (device/payload/forms.py); ``auto`` takes the fastest of those that
            the host takes (device/payload/choice.py) and says on stderr which that is.
        credentials: TLS and token.

    Raises:
        UsageError: not such a URL, or files of ``credentials`` that cannot be used.
    """

    def __init__(
        self,
        url: str,
        bundle: Bundle,
        threshold: float,
        connections: int = 4,
        timeout_s: float = 2.0,
        payload: str = FP32,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> None:
        self.url = url
        self.endpoint = endpoint_of(url, credentials)
        self.bundle = bundle
        self.connections = connections
        self.timeout_s = timeout_s
        self.payload = payload
        self._choice = Choice(nominal_sizes(bundle), timeout_s, connections)
        self._forms: Optional[List[str]] = None  # that the host takes; None until it was asked
        self._told = False  # that it takes one alone
        self._threshold = np.full((1, 1), threshold, np.float32)
        self._queue: "queue.Queue[Optional[HostRequest]]" = queue.Queue()
        self._free = threading.Semaphore(connections)
        self._lock = threading.Lock()
        self._breaker = CircuitBreaker()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(connections)]
        for thread in self._threads:
            thread.start()

    def check(self) -> None:
        """Ask the host once whether it is ready and serves this bundle.

        Raises:
            HostError: absent, not ready, or not a host of this protocol.
            BundleError: it serves another bundle.
            UsageError: it does not take the payload form that was asked for.
        """
        try:
            self._ask_forms(Deadline.after(self.timeout_s))
        except (OSError, http.client.HTTPException) as error:
            raise HostError("found no host at {} ({}); expected one; start it there, as in: python -m host serve --bundle build/mobilenet".format(
                self.url, reason_of(error))) from error  # fmt: skip

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
        forms = forms_among(self._input_names(body), self.bundle, listed_forms(body))
        if self.payload not in (AUTO, *forms):
            raise UsageError("found --payload {}, but the host at {} takes {} for this bundle; expected one with a bundle exported by "
                             "this release; use --payload auto or {}".format(
                                 self.payload, self.url, " and ".join(forms), forms[-1]))  # fmt: skip
        if self.payload == AUTO and len(forms) == 1 and not self._told:
            self._told = True
            print("payload: {}, all that the host at {} takes".format(forms[0], self.url), file=sys.stderr, flush=True)
        self._forms = forms
        return forms

    def submit(
        self,
        activation: np.ndarray,
        wait: bool,
        threshold: Optional[float] = None,
        others: Alternatives = NO_ALTERNATIVES,
    ) -> HostRequest:
        """Hand a frame over.

        Args:
            activation: float32 (1, ...) as the head gave it; not changed by the caller until the request is done.
            wait: for a free connection, at most until the deadline; else a frame that finds none is refused.
            threshold: for this frame instead of the client's own.
            others: what it may be sent as instead.

        Returns:
            A request; one without an answer that is done already when the frame was refused.
        """
        own = self._threshold if threshold is None else np.full((1, 1), threshold, np.float32)
        request = HostRequest(activation, own, Deadline.after(self.timeout_s), others)
        with self._lock:
            admission = self._breaker.admit(clock())
        request.tries = admission.tries
        if admission.admitted and self._is_free(wait):
            self._queue.put(request)
        else:
            request.finish(None)
        return request

    def _is_free(self, wait: bool) -> bool:
        """Take a free connection, if there is one, or will be one in time."""
        if not wait:
            return self._free.acquire(blocking=False)
        return wait_alive(lambda seconds: self._free.acquire(timeout=seconds), self.timeout_s)

    def close(self) -> None:
        """End the threads; frames on their way are finished first."""
        for _ in self._threads:
            self._queue.put(None)
        deadline = Deadline.after(self.timeout_s)
        for thread in self._threads:
            thread.join(deadline.left_s())

    def _work(self) -> None:
        http_client = HttpClient(self.endpoint, self.bundle.id)
        encoder = Encoder(self.bundle)
        while True:
            request = self._queue.get()
            if request is None:
                http_client.close()
                return
            try:
                answer = self._ask(http_client, encoder, request)
                request.finish(answer)
                self._found()
            except (
                Exception
            ) as error:  # whatever it is: without this thread frames would wait for a connection for ever
                http_client.close()
                late = request.done() or isinstance(error, socket.timeout)
                reason = "no answer within {:.1f} s".format(self.timeout_s) if late else reason_of(error)
                self._lost(reason, request.tries, refused=isinstance(error, AccessError) and not late)
                request.finish(None)
            finally:
                self._free.release()

    def _ask(self, http_client: HttpClient, encoder: Encoder, request: HostRequest) -> HostAnswer:
        form = self._form(encoder, request)
        started_s = clock()
        payload = encoder.encode(request.activation, request.threshold, form, request.others)
        request.form = payload.form
        encoded_s = clock()
        message = Encoded(payload.body, payload.header_length)
        inference = http_client.infer(message, request.deadline, payload.encoding, request.sent)
        answer = answer_of(inference.tensors, self.bundle)
        if self.payload == AUTO:
            cost = Cost(encoded_s - started_s, clock() - encoded_s, inference.request_bytes)
            with self._lock:
                self._choice.add(payload.form, cost, counts=not inference.on_new_connection)
        return answer

    def _form(self, encoder: Encoder, request: HostRequest) -> str:
        """What to send a frame as; after a loss the host is asked again, as another may stand there now."""
        if self.payload == FP32:
            return FP32
        forms = self._forms or self._ask_forms(request.deadline)
        if self.payload != AUTO:
            return self.payload
        possible = encoder.possible(forms, request.others)
        with self._lock:
            form = self._choice.pick(possible, clock())
            news, self._choice.news = self._choice.news, []
        for sentence in news:
            print(sentence, file=sys.stderr, flush=True)
        return form

    def _lost(self, reason: str, tried: bool, refused: bool = False) -> None:
        with self._lock:
            news = self._breaker.failed(clock(), tried)
            self._choice.lost()
            self._forms = None
        if news:
            said = "warning: {1}" if refused else "warning: lost the host at {0} ({1})"
            until = "that is put right" if refused else "it is back"
            print((said + "; frames are answered on the device until {2}").format(self.url, reason, until),
                  file=sys.stderr, flush=True)  # fmt: skip

    def _found(self) -> None:
        with self._lock:
            seconds = self._breaker.answered(clock())
        if seconds is not None:
            print("the host at {} is back after {:.1f} s".format(self.url, seconds), file=sys.stderr, flush=True)

    def _input_names(self, metadata: bytes) -> List[str]:
        """The names of the inputs that the protocol's metadata lists; none where it lists none.

        Raises:
            HostError: it is no metadata of this bundle's model. Many servers answer 200 to whatever they are asked.
        """
        try:
            content = read_json(metadata)
            if content["name"] != self.bundle.id:
                raise ValueError("another model")
            return [str(each["name"]) for each in content.get("inputs") or []]
        except (ValueError, KeyError, TypeError) as error:
            raise HostError("found a server at {} that is no host of the Open Inference Protocol: it answers {!r} when it is asked "
                            "about bundle {}; expected the model's metadata; check the port in --host".format(
                                self.url, metadata[:60], self.bundle.id)) from error  # fmt: skip
