"""What the host reads of requests that have their answers is bounded, for each and for all of them."""

import asyncio
import itertools
from types import SimpleNamespace

import pytest

from host.serving import discard
from host.serving.discard import BURST_BYTES, BYTES_A_SECOND, Discard, DiscardRate
from host.serving.limits import ConnectionLimits
from tests.host.site import BOTH_LOOPS
from tests.host.waits import until


@pytest.fixture
def clock(monkeypatch):
    made = SimpleNamespace(now_s=1000.0)
    monkeypatch.setattr(discard, "time", SimpleNamespace(monotonic=lambda: made.now_s))
    return made


def test_one_client_that_is_refused_does_not_wait(clock):
    rate = DiscardRate()
    assert rate.pause_s(0) == 0
    assert rate.pause_s(BURST_BYTES) == 0
    assert rate.pause_s(1) > 0


def test_all_connections_together_stay_within_the_rate_and_go_on_one_after_the_other(clock):
    rate, part = DiscardRate(), 1 << 18
    pauses = [rate.pause_s(part) for _ in range(1000)]
    assert pauses[-1] == pytest.approx((1000 * part - BURST_BYTES) / BYTES_A_SECOND)
    later = [after - before for before, after in itertools.pairwise(pauses[100:])]
    assert later == pytest.approx([part / BYTES_A_SECOND] * len(later))
    clock.now_s += 1000 * part / BYTES_A_SECOND
    assert rate.pause_s(part) == 0


def test_the_rest_of_one_request_is_bounded_in_time_and_size(monkeypatch):
    async def run():
        by_size = Discard(asyncio.get_running_loop())
        by_size.count(discard.DISCARD_BYTES - 1)
        assert not by_size.finished.done()
        by_size.count(1)
        assert by_size.finished.done()
        monkeypatch.setattr(discard, "DISCARD_S", 0.01)
        await asyncio.wait_for(Discard(asyncio.get_running_loop()).finished, 10)

    asyncio.run(run())


@BOTH_LOOPS
def test_connections_that_have_their_answer_make_room_for_others_of_their_address(serve, monkeypatch):
    """A client that is refused and connects again at once does not reach the bound on connections of its address."""
    monkeypatch.setattr(discard, "DISCARD_S", 60)
    host = serve(ConnectionLimits(of_one_address=20))
    held = []
    for _ in range(20):
        held.append(host.connect())
        held[-1].sendall(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx")
        assert held[-1].recv(65536).startswith(b"HTTP/1.1 404")
    assert host.ask()[0] == 200
    assert host.refusals == []
    for each in held:
        each.close()
    until(lambda: not host.server.server_state.connections)


@BOTH_LOOPS
def test_a_client_that_is_paused_gets_its_answer_and_is_read_on(serve, monkeypatch):
    monkeypatch.setattr(discard, "BYTES_A_SECOND", 8 << 20)
    monkeypatch.setattr(discard, "BURST_BYTES", 1)
    monkeypatch.setattr(discard, "DISCARD_S", 20)
    host = serve()
    status, headers, body = host.ask("POST", "/unread", body=b"x" * 4_000_000)
    assert (status, headers["connection"], body) == (404, "close", b"no")
