"""Whether the host answers."""

from device.preview.host_watch import HostWatch


def test_host_is_down_after_three_frames_in_a_row_without_an_answer():
    watch = HostWatch()
    for second, source in enumerate(["host", "fallback", "edge", "fallback"]):
        watch.see(source, float(second))
        assert watch.down_s(10.0) is None
    watch.see("fallback", 4.0)
    assert watch.is_down
    assert watch.down_s(10.0) == 9.0  # since the first of them


def test_frames_that_leave_on_the_device_say_nothing_of_the_host():
    watch = HostWatch()
    for second in range(3):
        watch.see("fallback", float(second))
    watch.see("edge", 3.0)
    assert watch.is_down
    watch.see("host", 4.0)
    assert watch.down_s(5.0) is None
    watch.see("fallback", 6.0)
    assert not watch.is_down
