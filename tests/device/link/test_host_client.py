"""The client of the host over real sockets, against a host that misbehaves on demand."""

import socket
import threading
import time

import numpy as np
import pytest

from device.errors import BundleError, HostError, UsageError
from device.link.circuit_breaker import CircuitBreaker
from device.link.deadline import Deadline
from device.link.host_client import HostClient
from device.link.host_request import HostRequest
from device.link.name_resolver import NameResolver
from device.payload.base import Sendable
from device.payload.choice import SETTLING, TRIES
from tests.device.payload.conftest import COEFFICIENTS, FP32, SHIPPED, UINT8


@pytest.fixture
def frame(bundle):
    """A frame of which only the activation can be sent."""
    return Sendable(np.ones((1, *bundle.activation_shape), np.float32))


@pytest.fixture
def client_to(bundle):
    opened = []

    def connect(url, **options):
        opened.append(HostClient(url, bundle, 0.5, **options))
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


def ask(client, frame):
    request = client.submit(frame, wait=True)
    request.wait()
    return request


def answered_again(client, frame):
    """The first request that is answered, once the pause after a failure is over."""
    give_up_s = time.perf_counter() + 10
    while True:
        request = ask(client, frame)
        if request.answer:
            return request
        assert time.perf_counter() < give_up_s


def test_answer_and_bytes(client_to, fake_host, frame):
    client = client_to(fake_host.url)
    client.check()
    request = ask(client, frame)
    assert request.answer == (2, 0.75, 4)
    assert frame.activation.nbytes < request.bytes_sent < frame.activation.nbytes + 700
    assert request.finished_s > 0


def test_a_frame_may_bring_its_own_threshold(client_to, fake_host, frame):
    client = client_to(fake_host.url, connections=1)
    for threshold in (None, 0.25, None):
        client.submit(frame, wait=True, threshold=threshold).wait()
    assert fake_host.thresholds == [[[0.5]], [[0.25]], [[0.5]]]


def test_connection_is_kept(client_to, fake_host, frame):
    client = client_to(fake_host.url, connections=1)
    assert all(ask(client, frame).answer for _ in range(5))
    assert len(fake_host.connections) == 1


def test_connections_that_the_host_closed_are_opened_again_without_a_loss(client_to, fake_host, frame, capfd):
    fake_host.mode = "close_after"
    client = client_to(fake_host.url, connections=1)
    assert all(ask(client, frame).answer for _ in range(5))
    assert "lost" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("garbage", "could not read the JSON header"),
        ("not_http", "not HTTP"),
        ("wrong_shape", "expected one label"),
        ("out_of_range", "expected a class"),
        ("nan", "expected a class"),
        ("nan_label", "NaN"),
        ("odd_length", "could not read the JSON header"),
        ("status_500", "the engine failed"),
        ("wrong_model", "this host serves 'b'"),
    ],
)
def test_wrong_answers_become_no_answer_and_one_sentence(client_to, fake_host, frame, capfd, mode, words):
    fake_host.mode = mode
    client = client_to(fake_host.url, connections=1)
    assert ask(client, frame).answer is None
    assert ask(client, frame).answer is None
    client.close()  # the sentence is printed by the connection's thread
    errors = capfd.readouterr().err
    assert words in errors
    assert errors.count("lost the host") == 1


@pytest.mark.parametrize("mode", ["silent", "drip"])
def test_slow_hosts_are_given_up_in_time(client_to, fake_host, frame, mode):
    fake_host.mode = mode
    client = client_to(fake_host.url, connections=1, timeout_s=0.3)
    started = time.perf_counter()
    request = ask(client, frame)
    assert request.answer is None
    assert time.perf_counter() - started < 1.0
    # and the only connection is free again for the next frame
    fake_host.mode = "right"
    deadline = time.perf_counter() + 5
    while ask(client, frame).answer is None:
        assert time.perf_counter() < deadline


def test_absent_host_refuses_at_once_and_is_found_within_two_seconds(client_to, fake_host, host_at, frame, capfd):
    port = fake_host.port
    client = client_to(fake_host.url, connections=1)
    assert ask(client, frame).answer
    fake_host.stop()
    deadline = time.perf_counter() + 3
    while ask(client, frame).answer:
        assert time.perf_counter() < deadline
    ask(client, frame)
    started = time.perf_counter()
    assert client.submit(frame, wait=False).done()
    assert time.perf_counter() - started < 0.1
    host_at(port)
    back = time.perf_counter()
    while ask(client, frame).answer is None:
        assert time.perf_counter() - back < 2
    client.close()
    errors = capfd.readouterr().err
    assert errors.count("lost the host") == 1
    assert errors.count("is back after") == 1


def test_a_burst_of_failures_is_one(client_to, fake_host, frame, monkeypatch):
    """When frames on eight connections fail together, that counts as one failure: the pause is the first and shortest one."""
    told = []

    class Told(CircuitBreaker):
        def failed(self, now_s, tried):
            told.append(tried)
            return super().failed(now_s, tried)

    monkeypatch.setattr("device.link.host_client.CircuitBreaker", Told)
    fake_host.mode = "silent"
    client = client_to(fake_host.url, connections=8, timeout_s=5)
    requests = [client.submit(frame, wait=False) for _ in range(8)]
    while fake_host.requests < 8:
        time.sleep(0.01)
    fake_host.stop()
    for request in requests:
        request.wait()
    client.close()
    assert told == [False] * 8


def test_whatever_goes_wrong_the_connection_serves_the_next_frame(client_to, fake_host, frame, monkeypatch, capfd):
    client = client_to(fake_host.url, connections=1)
    with monkeypatch.context() as patched:
        patched.setattr(
            "device.link.host_client.answer_of", lambda *_: {}[0]
        )  # a fault of ours, of a kind that nobody expects
        assert ask(client, frame).answer is None
    answered_again(client, frame)
    client.close()
    assert "lost the host" in capfd.readouterr().err


def test_a_frame_that_is_given_up_does_not_end_the_exchange_of_the_next_one(client_to, fake_host, frame):
    """At the deadline the waiting thread marks its request as lost and leaves the connection alone, which may already serve the next frame."""
    client = client_to(fake_host.url, connections=1)
    assert ask(client, frame).answer
    late = HostRequest(frame, np.zeros((1, 1), np.float32), Deadline.after(-1))
    assert late.wait()
    assert late.answer is None
    assert ask(client, frame).answer
    assert len(fake_host.connections) == 1


def test_a_request_that_is_waited_for_in_parts_stays_open(frame):
    request = HostRequest(frame, np.zeros((1, 1), np.float32), Deadline.after(60))
    assert not request.wait(0.01)
    assert not request.done()


def test_a_name_that_nobody_knows_is_an_absent_host(client_to, monkeypatch):
    def getaddrinfo(*arguments):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("device.link.name_resolver.RESOLVER", NameResolver(getaddrinfo))
    with pytest.raises(HostError, match="found no host at http://no.such.host.invalid"):
        client_to("http://no.such.host.invalid").check()


def test_a_look_up_of_the_name_that_hangs_is_given_up_in_time(client_to, frame, monkeypatch):
    go, asked = threading.Event(), []

    def getaddrinfo(host, *rest):
        if rest[-1] == socket.AI_NUMERICHOST:
            raise socket.gaierror(-2, "Name or service not known")
        asked.append(host)
        go.wait(20)
        return []

    monkeypatch.setattr("device.link.name_resolver.RESOLVER", NameResolver(getaddrinfo))
    client = client_to("http://b\u00fccher.example:9", timeout_s=0.2)
    try:
        with pytest.raises(HostError, match="could not be looked up in time"):
            client.check()
        requests = [client.submit(frame, wait=False) for _ in range(4)]
        assert all(request.wait() and request.answer is None for request in requests)
        client.close()
        assert not any(thread.is_alive() for thread in client._threads)
        assert asked == ["xn--bcher-kva.example"]  # one look-up for all of them
    finally:
        go.set()


def test_busy_connections_refuse_a_live_frame(client_to, fake_host, frame):
    fake_host.mode = "silent"
    client = client_to(fake_host.url, connections=1, timeout_s=1)
    first = client.submit(frame, wait=False)
    second = client.submit(frame, wait=False)
    assert second.done()
    assert second.answer is None
    assert not first.done()


def test_check_tells_absent_from_wrong(client_to, fake_host):
    client = client_to(fake_host.url)
    fake_host.mode = "wrong_model"
    with pytest.raises(BundleError, match="does not serve bundle tiny-split2-.*this host serves 'b'"):
        client.check()
    fake_host.stop()
    with pytest.raises(HostError, match="found no host at http://127"):
        client.check()


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://a:1", "http://", "http://a:99999", "http://a/b", "http://[x"])
def test_urls_that_cannot_work(bundle, url):
    with pytest.raises(UsageError, match="expected http://HOST:PORT"):
        HostClient(url, bundle, 0.5)


@pytest.fixture
def quantised_frame(bundle, frames, frame):
    return frame._replace(pixels=frames[0], table=bundle.table)


ALL = list(SHIPPED)


@pytest.mark.parametrize("lists_inputs", [True, False])
def test_a_form_that_was_asked_for_is_sent(client_to, fake_host, frame, quantised_frame, lists_inputs):
    fake_host.forms = ALL
    fake_host.lists_inputs = lists_inputs
    sizes = {}
    for form in ALL:
        client = client_to(fake_host.url, payload=form)
        client.check()
        request = ask(client, quantised_frame)
        assert request.answer == (2, 0.75, 4)
        assert request.form == form
        sizes[form] = request.bytes_sent
    assert fake_host.received == ALL
    assert sizes[UINT8] < sizes[FP32] / 2
    client = client_to(fake_host.url, payload=COEFFICIENTS)
    assert ask(client, frame).form == UINT8  # a frame without DefQ has no coefficients to send


def test_a_form_that_the_host_does_not_take_is_one_sentence(client_to, fake_host, frame, capfd):
    client = client_to(fake_host.url, payload=UINT8, connections=1)
    with pytest.raises(
        UsageError, match="found --payload uint8, but the host at .* takes fp32 for .*; use --payload auto or fp32"
    ):
        client.check()
    assert ask(client, frame).answer is None  # and where nobody checked, no frame is sent as what it cannot read
    assert ask(client, frame).answer is None
    assert fake_host.requests == 0
    client.close()
    assert capfd.readouterr().err.count("found --payload uint8") == 1


def test_auto_with_a_host_that_takes_float32_alone(client_to, fake_host, quantised_frame, capfd):
    client = client_to(fake_host.url, payload="auto", connections=1)
    client.check()
    assert [ask(client, quantised_frame).form for _ in range(3)] == [FP32] * 3
    assert capfd.readouterr().err == "payload: fp32, all that the host at {} takes\n".format(fake_host.url)


def test_auto_tries_all_forms_and_says_once_which_it_took(client_to, fake_host, quantised_frame, capfd):
    fake_host.forms = ALL
    client = client_to(fake_host.url, payload="auto", connections=1)
    each = SETTLING + TRIES + 1  # the first over a connection does not count
    forms = [ask(client, quantised_frame).form for _ in range(3 * each + 5)]
    assert {COEFFICIENTS, UINT8} <= set(forms)  # and fp32, unless one slow answer made it look too slow to try
    assert len(set(forms[-5:])) == 1
    errors = capfd.readouterr().err
    assert errors.count("\n") == 1
    assert errors.startswith("payload: {} ".format(forms[-1]))


def test_a_host_that_comes_back_is_asked_again(client_to, fake_host, host_at, quantised_frame):
    fake_host.forms = ALL
    client = client_to(fake_host.url, payload="auto", connections=1)
    assert ask(client, quantised_frame).form == COEFFICIENTS
    fake_host.stop()
    while ask(client, quantised_frame).answer:
        pass
    host_at(fake_host.port)  # one that takes float32 alone
    assert answered_again(client, quantised_frame).form == FP32


def test_a_refusal_is_told_as_one_and_ends_when_the_host_takes_the_device_again(client_to, fake_host, frame, capfd):
    client = client_to(fake_host.url, connections=1)
    fake_host.mode = "status_401"
    assert ask(client, frame).answer is None
    fake_host.mode = "right"
    answered_again(client, frame)
    client.close()  # its thread has said what it had to say
    said = capfd.readouterr().err
    assert said.startswith("warning: the host at {} asks for a token (401)".format(fake_host.url))
    assert "answered on the device until that is put right" in said
    assert "is back after" in said
