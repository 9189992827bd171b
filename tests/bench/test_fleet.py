"""python -m bench.fleet: the search for how many devices a host serves, the traces of frames, and the clients that play them."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from bench.fleet import __main__ as fleet
from bench.fleet import report
from bench.fleet.search import Step, search, verdict
from bench.fleet.trace import Trace, load, record, save
from device.errors import DataError, EdgeError
from device.protocol.messages import decode_request
from tests.host.conftest import BUNDLE, ROOT

FRAMES = ROOT / "tests" / "device" / "data" / "frames.npz"


def step(devices=10, p99=50.0, lag=1.0, failures=None, answered=1000, seconds=10):
    percentiles = [None if each is None else {"p50": each / 2, "p99": each, "max": each} for each in (p99, lag)]
    return Step(devices, seconds, 1000, answered, failures or {}, *percentiles, 0.1)


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (step(), "ok"),
        (step(p99=100.0), "ok"),
        (step(p99=100.1), "late"),
        (step(failures={"status 503": 1}), "late"),
        (step(lag=5.1), "void"),
        (step(p99=103.0, lag=5.1), "void"),  # without the lag it may have been in time
        (step(p99=300.0, lag=20.0), "late"),  # whatever the lag
        (step(failures={"status 503": 1}, lag=5.1), "void"),
        (step(failures={"status 503": 100}, lag=5.1), "late"),
        (step(p99=None, lag=None, answered=0), "ok"),  # nothing had to be sent
    ],
)
def test_a_measured_step_has_the_verdict_that_its_figures_give(of, expected):
    assert verdict(of) == expected


@pytest.mark.parametrize("capacity", [0, 1, 3, 4, 7, 8, 41, 100, 333])
def test_search_finds_the_capacity_of_a_steady_host(capacity):
    served = search(lambda devices, seconds: step(devices, 20.0 if devices <= capacity else 900.0, seconds=seconds), 10)
    assert served.limit == "host"
    assert capacity - max(1, capacity // 16) < served.devices <= capacity
    border = [each.devices for each in served.steps if each.seconds == 10]
    assert border.count(served.devices) == (2 if capacity else 0)  # the border was asked twice
    assert len(served.steps) <= 20


def test_search_gets_over_hiccups():
    chance = np.random.default_rng(4)

    def play(devices, seconds):
        hiccup = chance.random() < 0.15
        return step(devices, 900.0 if hiccup or devices > 100 else 20.0, seconds=seconds)

    found = [search(play, 10).devices for _ in range(20)]
    assert np.median(found) >= 93
    assert max(found) <= 100


def test_search_says_when_the_generator_is_the_limit():
    served = search(
        lambda devices, seconds: step(devices, 20.0, lag=1.0 if devices <= 50 else 9.0, seconds=seconds), 10
    )
    assert served.limit == "generator"
    assert 48 <= served.devices <= 50


def test_search_gives_up_where_nothing_is_steady():
    chance = np.random.default_rng(1)
    served = search(lambda devices, seconds: step(devices, chance.choice([20.0, 900.0]), seconds=seconds), 10)
    assert served.limit == "unrest" or len(served.steps) < 24
    assert len(served.steps) < 40


def test_search_ends_without_a_limit():
    served = search(lambda devices, seconds: step(devices, None, None, answered=0, seconds=seconds), 10)
    assert served.limit == "search"
    assert served.devices == 4096


@pytest.fixture(scope="module")
def trace(host):
    return record(BUNDLE, f"npz:{FRAMES}", "off", host.url)


def test_a_trace_holds_what_the_device_sends(trace):
    expected = np.load(ROOT / "tests" / "device" / "data" / "expected.npz")["exit"]
    assert [request is None for request in trace.requests] == (expected <= 2).tolist()
    assert trace.share_sent == pytest.approx((expected > 2).mean())
    assert trace.about["defq"] == "off"
    for request in filter(None, trace.requests):
        head, _, body = request.partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v2/models/tiny-split2-")
        length = int(head.lower().split(b"inference-header-content-length: ")[1].split(b"\r\n")[0])
        assert decode_request(body, length).tensors["activation"].shape == (1, 6, 8, 8)
    assert trace.bytes_a_frame == sum(len(each) for each in trace.requests if each) / len(trace.requests)


def test_defq_changes_the_trace(host, trace):
    quantised = record(BUNDLE, f"npz:{FRAMES}", "on", host.url)
    assert len(quantised.requests) == len(trace.requests)
    assert quantised.requests != trace.requests


@pytest.mark.parametrize(("payload", "defq"), [("uint8", "off"), ("coefficients", "on")])
def test_payload_forms_are_the_device_s_own(host, trace, payload, defq):
    packed = record(BUNDLE, f"npz:{FRAMES}", defq, host.url, payload)
    assert all(b"Content-Encoding: deflate" in request for request in packed.requests if request)
    assert 0 < packed.bytes_a_request < trace.bytes_a_request
    assert packed.about["forms"] == [payload]


def test_a_trace_survives_its_file(trace, tmp_path):
    save(trace, tmp_path / "made" / "trace.npz")
    assert load(tmp_path / "made" / "trace.npz") == trace


def test_a_damaged_trace_is_refused(trace, tmp_path):
    save(trace._replace(requests=[None, b"abc"]), tmp_path / "trace.npz")
    content = (tmp_path / "trace.npz").read_bytes()
    (tmp_path / "trace.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="no usable trace"):
        load(tmp_path / "trace.npz")


def test_a_device_that_fails_is_named(host):
    with pytest.raises(EdgeError, match="exit code 3"):
        record(BUNDLE, "npz:absent.npz", "off", host.url)


def play(trace, url, tmp_path, *options):
    save(trace, tmp_path / "trace.npz")
    command = [sys.executable, "-m", "bench.fleet.generator", str(tmp_path / "trace.npz"), "--url", url, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": "."})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Step(**json.loads(done.stdout))


needs_locust = pytest.mark.skipif(
    not importlib.util.find_spec("locust"), reason="needs locust: pip install -r bench/requirements.txt"
)  # importing it here would patch the sockets of all tests


@needs_locust
def test_a_small_fleet_is_served(host, trace, tmp_path):
    played = play(trace, host.url, tmp_path, "--devices", "3", "--warm-up", "0.3", "--seconds", "1", "--rate", "20")
    assert played.failures == {}
    assert played.frames == pytest.approx(60, abs=3)
    # whole rounds of a trace are not complete in a second, so the share is only near the trace's
    assert played.answered / played.frames == pytest.approx(trace.share_sent, abs=0.3)
    assert 0 < played.latency_ms["p50"] <= played.latency_ms["p99"] <= played.latency_ms["max"] < 2000
    assert played.lag_ms["p50"] <= played.latency_ms["p50"]


@needs_locust
def test_frames_without_an_answer_are_counted(tmp_path):
    nobody = Trace([b"POST /v2/models/tiny/infer HTTP/1.1\r\nContent-Length: 0\r\n\r\n"], {})
    played = play(nobody, "http://127.0.0.1:1", tmp_path, "--devices", "2", "--warm-up", "0.1", "--seconds", "0.5")
    assert played.failures == {"ConnectionRefusedError": played.frames}
    assert played.answered == 0
    assert verdict(played) == "late"


def test_host_and_generator_need_cores_of_their_own(capsys):
    assert fleet.main(["--threads", "9999"]) == 2
    assert "one more for the load generator" in capsys.readouterr().err


def test_a_bundle_without_frames_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fleet, "_cores", lambda threads: [0, 1])
    assert fleet.main(["--bundle", str(BUNDLE), "--out", str(tmp_path)]) == 3
    assert "defq bundle --model tiny --frames" in capsys.readouterr().err


def test_a_cell_is_kept_while_its_settings_are_the_same(tmp_path):
    file = tmp_path / "cell.json"
    assert fleet.kept_cell(file, {"rate": 15}) is None
    file.write_text(json.dumps({"settings": {"rate": 15}, "devices": 3}))
    assert fleet.kept_cell(file, {"rate": 15}) == {"settings": {"rate": 15}, "devices": 3}
    assert fleet.kept_cell(file, {"rate": 30}) is None
    file.write_text("{")
    assert fleet.kept_cell(file, {"rate": 15}) is None


def cell(case, devices, share):
    steps = [step(devices, 40.0), step(devices + 1, 700.0), step(2 * devices, 1900.0, failures={"TimeoutError": 9})]
    trace_facts = {
        "share_sent": share,
        "bytes_a_request": 130000,
        "bytes_a_frame": 130000 * share,
        "accuracy": None,
        "forms": ["fp32"],
    }
    return {
        "settings": {"model": "tiny", "case": case, "payload": "fp32", "rate": 15, "seconds": 10, "threads": 1, "limit_ms": 100, "max_lag_ms": 5},
        "trace": trace_facts, "devices": devices, "limit": "host", "load": 0.1,
        "machine": {"cpu": "a processor", "python": "3.11", "packages": {"onnxruntime": "1.32"}},
        "steps": [{**each._asdict(), "verdict": verdict(each)} for each in steps],
    }  # fmt: skip


def test_the_report_gives_the_ratio_and_the_links(tmp_path):
    cells = [cell("clean", 50, 0.25), cell("attacked", 10, 1.0)]
    report.write(cells, tmp_path)
    row = next(line for line in (tmp_path / "fleet.md").read_text().splitlines() if line.startswith("| tiny | clean |"))
    fields = [each.strip() for each in row.strip("|").split("|")]
    traffic = 130000 * 0.25 * 15 * 8 / 1e6
    assert fields[6:11] == [f"{traffic:.2f}", "25", "256", "50", "5.0"]
    assert fields[11:] == [f"{50 * 15 * 0.25:.0f}", "40", "51", "700"]
    assert (tmp_path / "fleet.png").read_bytes().startswith(b"\x89PNG")
