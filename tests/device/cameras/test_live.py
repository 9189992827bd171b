"""The thread that reads a live camera: the newest frame counts, and a camera that fails is opened again."""

import threading
import time

import numpy as np
import pytest

from device.cameras import clock, live
from device.cameras.live import LiveCamera, NewestFrame
from device.cameras.live_source import NoFrame, Patience, Shot, Source
from device.errors import CameraError
from device.system.stop_flag import StopFlag

QUICK = Patience(open_s=0.3, stall_s=0.3, pause_s=0.02, longest_pause_s=0.08, give_up_s=0.6)


class ScriptedSource(Source):
    """A source that follows a script, one step for each grab: it gives a number as a frame, raises an exception, or waits for an event. Then the last
    frame comes again and again."""

    def __init__(self, steps):
        self.steps = list(steps)
        self.closed = threading.Event()
        self.thread = threading.current_thread()
        self.shown = 0

    def grab(self):
        assert threading.current_thread() is self.thread
        if self.steps:
            step = self.steps.pop(0)
            if isinstance(step, Exception):
                raise step
            if isinstance(step, threading.Event):
                step.wait(10)
                step = 99
            self.shown = step
        else:
            time.sleep(0.005)
        return Shot(np.full((1, 1), self.shown, np.uint8), None)

    def close(self):
        assert threading.current_thread() is self.thread
        self.closed.set()


class Driver:
    """A driver that opens one script after the other. An exception in the place of a script means that the source cannot be opened."""

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.sources = []
        self.opened_s = []

    def __call__(self):
        self.opened_s.append(time.monotonic())
        script = self.scripts.pop(0) if self.scripts else []
        if isinstance(script, Exception):
            raise script
        if isinstance(script, threading.Event):
            script.wait(10)
            script = []
        self.sources.append(ScriptedSource(script))
        return self.sources[-1]


@pytest.fixture
def newest():
    started = []

    def start(driver, patience=QUICK):
        started.append(NewestFrame(driver, "camera X", patience))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def until(condition, seconds=5.0):
    end_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def read_until(frames, condition):
    end_s = time.monotonic() + 5
    while True:
        frame = frames.get()
        if condition(frame):
            return frame
        assert time.monotonic() < end_s


def test_newest_frame_wins_and_the_rest_are_counted(newest):
    hold = threading.Event()
    driver = Driver([0, 1, 2, 3, 4, hold])
    frames = newest(driver, Patience())
    until(lambda: len(driver.sources[0].steps) == 0)
    frame = frames.get()
    assert (frame.index, int(frame.pixels[0, 0]), frames.dropped) == (4, 4, 4)
    assert frame.timestamp_s <= time.monotonic()
    hold.set()
    assert frames.get().index >= 5


def test_a_camera_that_fails_is_named_once_closed_and_opened_again(newest, capsys):
    gone = CameraError("found no X; expected a camera; plug it in")
    driver = Driver([1, NoFrame("it gave empty frames")], gone, gone, [7])
    frames = newest(driver)
    last = read_until(frames, lambda frame: frame.pixels[0, 0] == 7)
    assert last.index > 0  # numbers go on
    assert frames.reopened == 1
    assert driver.sources[0].closed.is_set()
    err = capsys.readouterr().err.splitlines()
    assert err[0] == (
        "warning: camera X failed (it gave empty frames); it is opened again until it answers, for 0.6 s at most"
    )
    assert len(err) == 2
    assert err[1].startswith("camera X is back after 0.")
    pauses = np.diff(driver.opened_s)
    assert pauses[0] >= 0.02
    assert pauses[1] >= 0.04
    assert pauses[2] >= 0.08


def test_pauses_grow_no_further_and_shrink_when_the_camera_has_run_for_a_while(newest):
    failing = [1, RuntimeError("lost")]
    driver = Driver(failing, failing, failing, failing, [])
    frames = newest(driver)
    read_until(frames, lambda _: frames.reopened == 4)
    assert max(np.diff(driver.opened_s)) < 2  # 0.02, 0.04, 0.08, 0.08
    assert np.diff(driver.opened_s)[3] >= 0.08  # that it came back for one frame does not count
    until(lambda: frames.get() is not None and time.monotonic() - driver.opened_s[-1] > 0.2)
    driver.sources[-1].steps.append(RuntimeError("lost"))
    read_until(frames, lambda _: frames.reopened == 5)
    assert driver.opened_s[5] - driver.opened_s[4] - 0.2 < 1


def test_a_driver_that_blocks_for_ever_holds_its_thread_only(newest, capsys):
    stuck = threading.Event()
    driver = Driver([1, stuck], [2])
    frames = newest(driver)
    assert frames.get().pixels[0, 0] == 1
    assert read_until(frames, lambda frame: frame.pixels[0, 0] == 2).index > 0
    assert "camera X failed (it gave no frame for 0.3 s)" in capsys.readouterr().err
    assert not driver.sources[0].closed.is_set()
    stuck.set()  # it wakes up: its frame is not wanted any more, and it closes what it had opened
    assert driver.sources[0].closed.wait(5)
    assert all(frames.get().pixels[0, 0] != 99 for _ in range(5))


def test_a_camera_that_never_comes_back(newest):
    gone = CameraError("found no X; expected a camera; plug it in")
    frames = newest(Driver([1, NoFrame("it was unplugged")], *[gone] * 50))
    assert frames.get().index == 0
    started_s = time.monotonic()
    with pytest.raises(
        CameraError, match=r"found no frame from camera X for 1 s \(found no X\); expected .*; check its cable"
    ):
        frames.get()
    assert 0.5 < time.monotonic() - started_s < 3
    with pytest.raises(CameraError):
        frames.get()


def test_a_reader_that_waits_stops_when_asked_to(newest):
    hold = threading.Event()
    stop = StopFlag()
    frames = newest(Driver([1, hold]), Patience())
    assert frames.get(stop).index == 0
    threading.Timer(0.1, stop.set).start()
    started_s = time.monotonic()
    assert frames.get(stop) is None
    assert time.monotonic() - started_s < 1
    hold.set()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (CameraError("found no X; expected a camera; plug it in"), "^found no X; expected a camera; plug it in$"),
        (ValueError("a\nb"), r"^camera X failed \(a\); expected a steady stream"),
        (ValueError(), r"^camera X failed \(ValueError\)"),
        (threading.Event(), r"camera X failed \(it did not open within 0.3 s\)"),
    ],
)
def test_a_camera_that_cannot_be_opened_at_the_start(script, message):
    with pytest.raises(CameraError, match=message):
        NewestFrame(Driver(script), "camera X", QUICK)
    if isinstance(script, threading.Event):
        script.set()


@pytest.mark.parametrize(
    ("step", "message"),
    [(NoFrame("it gave empty frames"), "it gave empty frames"), (threading.Event(), "it gave no frame for 0.3 s")],
)
def test_a_camera_that_never_worked_is_not_waited_for(newest, capsys, step, message):
    driver = Driver([step])
    with pytest.raises(CameraError, match=r"camera X failed \(" + message):
        newest(driver).get()
    assert len(driver.opened_s) == 1
    assert capsys.readouterr().err == ""
    if isinstance(step, threading.Event):
        step.set()


def test_closing_ends_the_thread_and_reading(newest):
    driver = Driver([])
    frames = newest(driver)
    assert frames.get() is not None
    frames.stop()
    assert driver.sources[0].closed.is_set()
    while frames.get() is not None:
        pass


def test_a_camera_that_cannot_be_closed_is_opened_again(newest, capsys):
    class Sticky(ScriptedSource):
        def close(self):
            raise RuntimeError("busy")

    sources = [Sticky([1, NoFrame("lost")]), ScriptedSource([2])]

    def open_():
        source = sources.pop(0)
        source.thread = threading.current_thread()
        return source

    frames = newest(open_)
    assert read_until(frames, lambda frame: frame.pixels[0, 0] == 2).index > 0
    assert "could not be closed (busy)" in capsys.readouterr().err


def test_systemd_hears_of_life_while_a_camera_is_waited_for(newest, monkeypatch):
    heard = []
    monkeypatch.setattr(live, "notify", heard.append)
    frames = newest(Driver([1, NoFrame("lost")], CameraError("gone"), CameraError("gone"), [2]))
    read_until(frames, lambda frame: frame.pixels[0, 0] == 2)
    hold = threading.Event()
    frames = newest(Driver([1, hold]), Patience())
    stop = StopFlag()
    frames.get()
    threading.Timer(0.3, stop.set).start()
    assert frames.get(stop) is None
    assert set(heard) == {"WATCHDOG=1"}
    hold.set()


def test_a_live_camera_passes_on_what_its_thread_counts():
    hold = threading.Event()
    driver = Driver([1, NoFrame("lost")], [2, 3, 4, hold])

    class Scripted(LiveCamera):
        def open_source(self):
            return driver()

    with Scripted("camera X", QUICK._replace(stall_s=5)) as camera:
        assert camera.live
        assert camera.describe() == "camera X"
        until(lambda: len(driver.sources) == 2 and not driver.sources[1].steps)
        assert camera.read().index == 3
        assert (camera.reopened, camera.dropped) == (1, 3)
        camera.stop_flag = StopFlag()
        camera.stop_flag.set()
        assert camera.read() is None
        hold.set()


@pytest.fixture
def clocks(monkeypatch):
    """A machine that was suspended for 1000 s: CLOCK_BOOTTIME is ahead by that."""

    class Clocks:
        @staticmethod
        def monotonic():
            return 500.0

        @staticmethod
        def clock_gettime(number):
            assert number == 7
            return 1500.0

    monkeypatch.setattr(clock, "time", Clocks)


@pytest.mark.parametrize(
    ("sensor_s", "expected_s"),
    [(499.96, 499.96), (1499.96, 499.96), (500.0, 500.0), (0.0, None), (400.0, None), (1400.0, None), (1500.1, None)],
)
def test_a_time_stamp_of_either_clock(clocks, sensor_s, expected_s):
    assert clock.exposure_s(sensor_s) == (None if expected_s is None else pytest.approx(expected_s))


def test_the_clocks_of_this_machine_agree_with_pythons():
    assert 0 <= time.monotonic() - clock.exposure_s(time.monotonic() - 0.05) < 1
    assert time.monotonic() - clock.exposure_s(time.clock_gettime(clock.CLOCK_BOOTTIME) - 0.05) == pytest.approx(
        0.05, abs=0.5
    )
