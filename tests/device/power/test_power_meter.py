"""Windows: trapezoids over readings, gaps, sensors that fail meanwhile, and the thread that samples."""

import os
import threading
import time

import pytest

from device.power import base as power
from device.power import ina3221
from device.power.base import Meter, PowerSensor
from device.power.none import NoSensor
from tests.device.power.test_power import NANO, jetson_nano


class Clock:
    """time.perf_counter by hand."""

    def __init__(self, monkeypatch):
        self.now_s = 100.0
        monkeypatch.setattr(power.time, "perf_counter", lambda: self.now_s)


def sampled(clock, readings):
    """A window over (seconds since the start, milliwatts)."""
    values = iter([milliwatts for _, milliwatts in readings])
    window = power.SampledWindow("X", lambda: next(values))
    for seconds, _ in readings:
        clock.now_s = 100 + seconds
        window.add()
    return window


def test_energy_is_the_area_under_the_readings(monkeypatch):
    window = sampled(Clock(monkeypatch), [(0, 1000), (0.5, 3000), (0.6, 3000), (1.5, 0)])
    assert window.energy_j() == pytest.approx(0.5 * 2 + 0.1 * 3 + 0.9 * 1.5)
    assert (window.samples, window.duration_s(), window.problem) == (4, pytest.approx(1.5), None)


def test_uneven_readings_weigh_by_their_time(monkeypatch):
    window = sampled(Clock(monkeypatch), [(0, 2000), (0.9, 2000), (0.91, 9000), (0.92, 2000), (1.8, 2000)])
    assert window.energy_j() == pytest.approx(1.8 * 2 + 0.02 / 2 * 7)


def test_a_short_gap_is_bridged(monkeypatch):
    window = sampled(Clock(monkeypatch), [(0, 1000), (0.4, None), (0.8, float("nan")), (0.9, 3000), (1, 3000)])
    assert window.energy_j() == pytest.approx(0.9 * 2 + 0.1 * 3)
    assert window.samples == 3


@pytest.mark.parametrize(
    ("readings", "problem"),
    [
        ([(0, 1000), (0.1, 1000), (1.3, 1000)], "X did not answer for 1.2 s"),
        ([(0, None), (0.1, 1000), (0.2, 1000)], "X did not answer"),
        ([(0, 1000), (0.1, 1000), (0.2, None)], "X stopped answering after 2 readings"),
        ([(0, 1000), (0.1, 1000), (0.2, float("inf"))], "X stopped answering after 2 readings"),
        ([(0, 1000)], "X gave too few readings"),
        ([(0, None), (1, None)], "X stopped answering after 0 readings"),
    ],
)
def test_a_sensor_that_fails_gives_no_energy(monkeypatch, readings, problem):
    window = sampled(Clock(monkeypatch), readings)
    assert window.energy_j() is None
    assert window.problem == problem


class Steady(PowerSensor):
    name, scope, kind, interval_s = "steady", "board", "measured", 0.005

    def __init__(self):
        self.asked, self.often = 0, threading.Event()

    def read_mw(self):
        self.asked += 1
        if self.asked > 5:
            self.often.set()
        return 2500.0


def test_meter_samples_in_a_thread():
    sensor, before = Steady(), threading.active_count()
    with Meter(sensor) as meter:
        assert sensor.often.wait(10)
    assert threading.active_count() == before
    reading = meter.reading
    assert reading.duration_s >= 5 * sensor.interval_s
    assert reading.energy_j == pytest.approx(2.5 * reading.duration_s)
    assert reading.mean_w == pytest.approx(2.5)
    assert 6 <= reading.samples <= reading.duration_s / sensor.interval_s + 3
    assert reading[4:] == ("steady", "board", "measured", None)


def test_meter_stops_when_the_work_fails():
    meter, before = Meter(Steady()), threading.active_count()
    with pytest.raises(ZeroDivisionError), meter:
        1 / 0  # noqa: B018
    assert threading.active_count() == before
    assert meter.reading.samples >= 2


def test_meter_of_a_sensor_that_vanishes_meanwhile(tmp_path):
    jetson_nano(tmp_path)
    with Meter(ina3221.find(str(tmp_path))) as meter:
        time.sleep(0.12)
        for what in ("power", "voltage"):
            os.remove(str(tmp_path / NANO / "in_{}0_input".format(what)))
        time.sleep(0.06)
    reading = meter.reading
    assert reading.energy_j is None
    assert reading.mean_w is None
    assert reading.samples >= 1
    assert reading.problem.startswith("INA3221 POM_5V_IN stopped answering after")


def test_meter_of_no_sensor_needs_no_thread(monkeypatch):
    clock, before = Clock(monkeypatch), threading.active_count()
    with Meter(NoSensor()) as meter:
        assert threading.active_count() == before
        clock.now_s += 2
    assert meter.reading.duration_s == pytest.approx(2)
    assert meter.reading[:2] == (None, None)
    assert meter.reading[3:] == (0, "none", "nothing", "none", "no power sensor is in use")
