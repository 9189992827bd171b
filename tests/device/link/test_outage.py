from device.link.outage import FIRST_PAUSE_S, LONGEST_PAUSE_S, Outage


def test_the_pause_doubles_with_each_try_that_fails_and_not_with_each_frame():
    outage, now_s = Outage(), 100.0
    assert outage.admit(now_s) == (True, False)
    assert outage.lost(now_s, False)
    for late_s in (0.0, 0.01, 0.02, 0.05):  # frames on other connections, which fail a moment later
        assert not outage.lost(now_s + late_s, False)
    pauses = []
    for _ in range(5):
        began_s = now_s
        while not outage.admit(now_s).admitted:
            now_s += 0.001
        pauses.append(round(now_s - began_s, 2))
        assert outage.admit(now_s) == (False, False)  # one tries at a time
        assert not outage.lost(now_s, True)
        assert not outage.lost(now_s, False)
    assert pauses == [FIRST_PAUSE_S, 0.2, 0.4, LONGEST_PAUSE_S, LONGEST_PAUSE_S]


def test_a_host_that_is_found_begins_anew():
    outage = Outage()
    for second in range(3):
        assert outage.lost(second, bool(second)) == (second == 0)
    assert outage.found(3.0) == 3.0
    assert outage.found(4.0) is None
    assert outage.admit(4.0) == (True, False)
    assert outage.lost(5.0, False)
    assert outage.admit(5.0 + FIRST_PAUSE_S + 1e-6) == (True, True)


def test_an_outage_that_began_at_the_zero_of_the_clock_is_one():
    outage = Outage()
    assert outage.lost(0.0, False)
    assert not outage.admit(0.0).admitted
    assert outage.found(1.0) == 1.0
