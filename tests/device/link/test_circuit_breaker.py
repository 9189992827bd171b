"""The pauses between tries while a host does not answer."""

from device.link.circuit_breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, CircuitBreaker


def test_the_pause_doubles_with_each_try_that_fails_and_not_with_each_frame():
    breaker, now_s = CircuitBreaker(), 100.0
    assert breaker.admit(now_s) == (True, False)
    assert breaker.failed(now_s, False)
    for late_s in (0.0, 0.01, 0.02, 0.05):  # frames on other connections, which fail a moment later
        assert not breaker.failed(now_s + late_s, False)
    pauses = []
    for _ in range(5):
        began_s = now_s
        while not breaker.admit(now_s).admitted:
            now_s += 0.001
        pauses.append(round(now_s - began_s, 2))
        assert breaker.admit(now_s) == (False, False)  # one tries at a time
        assert not breaker.failed(now_s, True)
        assert not breaker.failed(now_s, False)
    assert pauses == [FIRST_PAUSE_S, 0.2, 0.4, LONGEST_PAUSE_S, LONGEST_PAUSE_S]


def test_a_host_that_is_found_begins_anew():
    breaker = CircuitBreaker()
    for second in range(3):
        assert breaker.failed(second, bool(second)) == (second == 0)
    assert breaker.answered(3.0) == 3.0
    assert breaker.answered(4.0) is None
    assert breaker.admit(4.0) == (True, False)
    assert breaker.failed(5.0, False)
    assert breaker.admit(5.0 + FIRST_PAUSE_S + 1e-6) == (True, True)


def test_an_outage_that_began_at_the_zero_of_the_clock_is_one():
    breaker = CircuitBreaker()
    assert breaker.failed(0.0, False)
    assert not breaker.admit(0.0).admitted
    assert breaker.answered(1.0) == 1.0


def test_pauses_are_those_it_was_told():
    breaker = CircuitBreaker(1.0, 3.0)
    assert breaker.failed(0.0, False)
    assert not breaker.admit(0.9).admitted
    assert breaker.admit(1.0) == (True, True)
    assert not breaker.failed(1.5, True)
    assert not breaker.admit(3.4).admitted
    assert breaker.admit(3.5).admitted
    breaker.failed(4.0, True)
    assert not breaker.admit(6.9).admitted
    assert breaker.admit(7.0).admitted
