"""Files of external meters: their many forms, the window on the wall clock, and what makes a window unavailable."""

import threading
import time
from datetime import datetime, timezone

import numpy as np
import pytest

from device.errors import HardwareError
from device.power import csv_file
from device.power.base import Meter
from device.power.open import open_sensor

START = 1764000000.0

FORMS = {
    "plain": "t,W\n{t:.3f},{w}\n",
    "no heading": "{t:.3f},{w}\n",
    "milliwatts first": "Power (mW);Time [s]\n{mw};{t:.3f}\n",
    "decimal commas": "timestamp;power_W\n{comma_t};{comma_w}\n",
    "milliseconds": "time_ms,voltage_V,current_A,power_W\n{ms:.0f},5.0,9.9,{w}\n",
    "tabs, quoted": '"timestamp"\t"watts"\n"{t:.3f}"\t"{w}"\n',
    "fnirsi_logger.py": "timestamp sample_in_packet voltage_V current_A dp_V dn_V temp_C_ema energy_Ws capacity_As\n"
    "{t:.3f} 0 5.00000 {amperes:.5f} 1.184 1.031 30.500 0.000000 0.000001\n",
    "ISO with zone": "time,power\n{iso}+00:00,{w}\n",
    "ISO, Zulu, blank": "time,power\n{blank}Z,{w}\n",
    "ISO, local": "time,power\n{local},{w}\n",
    "remarks and a mark": "\ufeff# meter 7\nt,W\n\n{t:.3f},{w}\n",
}


def text_of(form, readings):
    """A file with a line for each (seconds, watts)."""
    head, _, line = FORMS[form].rstrip("\n").rpartition("\n")
    lines = []
    for seconds, watts in readings:
        utc = datetime.fromtimestamp(seconds, timezone.utc).replace(tzinfo=None)
        lines.append(line.format(
            t=seconds, w=watts, mw=watts * 1000, ms=seconds * 1000, amperes=watts / 5, iso=utc.isoformat(),
            blank=utc.isoformat(" "), local=datetime.fromtimestamp(seconds).isoformat(),
            comma_t="{:.3f}".format(seconds).replace(".", ","), comma_w=str(watts).replace(".", ",")))  # fmt: skip
    return "\n".join(([head] if head else []) + lines) + "\n"


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "meter.csv"
        path.write_bytes(text.encode("utf-8"))
        return str(path)

    return write


@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_form_gives_seconds_and_watts(file, form):
    readings = [(START + 0.125 * index, 2.5 + 0.25 * index) for index in range(8)]
    times, watts = csv_file.read(file(text_of(form, readings)))
    np.testing.assert_allclose(times, [seconds for seconds, _ in readings], rtol=0, atol=1e-3)
    np.testing.assert_allclose(watts, [each for _, each in readings], rtol=1e-9)


def test_lines_that_are_no_reading_are_left_out_and_times_put_in_order(file):
    text = "t,W\n{0}.5,2\n{0}.0,1\n-\n{0}.6,nan\n{0}.7\n{0}.8,x\n{0}.9,3\n{0}.95,4".format(int(START))
    times, watts = csv_file.read(file(text))
    np.testing.assert_allclose(times - START, [0, 0.5, 0.9], atol=1e-6)
    assert watts.tolist() == [1, 2, 3]  # the last line is not complete yet


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no readings"),
        ("t,W\n", "no readings"),
        ("voltage_V,temperature\n5,30\n", "found the columns voltage_V,temperature"),
        ("t,current_A\n{0},1\n".format(START), "found the columns t,current_A"),
        ("\x00\x01\x02\n", "found the columns"),
        ("t,W\n0.0,1\n0.1,1\n", "found times up to 0.1 .* wall clock in seconds since 1970"),
    ],
)
def test_a_file_without_readings_is_refused(file, text, problem):
    with pytest.raises(HardwareError, match=problem):
        open_sensor("csv:" + file(text))


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(
        HardwareError, match="could not read .*meter.csv .No such file or directory.; expected columns t,W"
    ):
        open_sensor("csv:" + str(tmp_path / "meter.csv"))


def test_window_between_readings():
    times = np.arange(0, 12, 0.5) + 0.25
    watts = 2 + times  # a ramp: trapezoids are exact
    energy_j, samples, problem = csv_file.integrate(times, watts, 1.0, 9.0)
    assert energy_j == pytest.approx(8 * (3 + 11) / 2)
    assert (samples, problem) == (16, None)


def test_a_spike_outside_the_window_does_not_count():
    times = np.arange(0, 10, 0.1)
    watts = np.where((times > 3) & (times < 7), 4.0, 1000.0)
    assert csv_file.integrate(times, watts, 3.15, 6.85)[0] == pytest.approx(4 * 3.7)


@pytest.mark.parametrize(
    ("times", "problem"),
    [
        ([], "holds no readings"),
        (np.arange(2.5, 12), "first came 1.5 s after the window's start"),
        (np.arange(0, 9), "last came 1.0 s before the window's end"),
        (np.arange(0, 12, 3), "gave 2 readings in 8.0 s, at most 3.0 s apart"),
        (np.delete(np.arange(0, 12, 0.5), slice(8, 12)), "at most 2.5 s apart"),
    ],
)
def test_a_window_that_is_not_covered_is_unavailable(times, problem):
    energy_j, _, told = csv_file.integrate(np.asarray(times, float), np.ones(len(times)), 1.0, 9.0)
    assert energy_j is None
    assert problem in told


def test_meter_reads_a_file_that_grows(file):
    now = time.time()
    path = file(text_of("plain", [(now + 0.02 * index, 3.0) for index in range(-50, 15)]))  # until 0.3 s from now
    sensor = open_sensor("csv:" + path)
    assert sensor.read_mw() == 3000

    def grow():
        with open(path, "a") as out:
            out.write(text_of("no heading", [(now + 0.02 * index, 3.0) for index in range(15, 1500)]))

    rest = threading.Timer(0.6, grow)
    rest.start()
    with Meter(sensor) as meter:
        time.sleep(0.4)
    rest.join()
    reading = meter.reading
    assert reading.energy_j == pytest.approx(3 * reading.duration_s, rel=0.01)
    assert reading.samples >= 15
    assert reading[4:] == ("external meter meter.csv", "what the external meter measures", "measured", None)


def test_meter_does_not_wait_for_a_file_that_ended(file):
    path = file(text_of("plain", [(START + index, 3.0) for index in range(20)]))
    sensor = csv_file.CsvFile(path, patience_s=0.2)
    assert sensor.read_mw() is None  # long ago
    started_s = time.perf_counter()
    reading = Meter(sensor).start().stop()
    assert time.perf_counter() - started_s < 2.5
    assert reading.energy_j is None
    assert "its program may not run, or its clock differs" in reading.problem


def test_a_clock_that_is_set_meanwhile_spoils_the_window(file, monkeypatch):
    path = file(text_of("plain", [(time.time() + index, 3.0) for index in range(-5, 50)]))
    meter = Meter(csv_file.CsvFile(path, patience_s=0.1)).start()
    now = time.time()
    monkeypatch.setattr(csv_file.time, "time", lambda: now + 5)
    assert meter.stop().problem == "the board's clock was set while it measured"


def test_a_file_that_is_removed_meanwhile_gives_a_reason(tmp_path, file):
    meter = Meter(csv_file.CsvFile(file(text_of("plain", [(START, 3.0)])), patience_s=0.1)).start()
    (tmp_path / "meter.csv").unlink()
    assert meter.stop().problem.startswith("could not read ")
