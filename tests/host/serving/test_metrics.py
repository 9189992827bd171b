"""What the metrics count, and what shows them."""

import asyncio
import sys

import numpy as np
import pytest

from device import __version__
from device.errors import UsageError

pytest.importorskip("prometheus_client", reason="needs prometheus_client: pip install -r requirements-host.txt")

from prometheus_client.parser import text_string_to_metric_families

from host.cluster.dispatcher import ForwardedRequest
from host.cluster.replica_proxy import answer_of
from host.serving.metrics import Metrics, metrics_app
from host.serving.request_log import RequestLog


def samples(metrics):
    """Name with labels -> value."""
    found = {}
    for family in text_string_to_metric_families(metrics.text()[0].decode()):
        for each in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(each.labels.items()))
            found[f"{each.name}{{{labels}}}" if labels else each.name] = each.value
    return found


def answered(exits, ms=3.0):
    record = RequestLog("192.0.2.1:5")
    record.status, record.ms, record.bytes = 200, ms, 1000
    record.exits = np.array(exits, np.int64)
    record.frames = len(exits)
    return record


def refused(status):
    record = RequestLog("192.0.2.1:5")
    record.status, record.bytes = status, 10
    return record


def test_requests_frames_and_refusals_are_counted():
    metrics = Metrics("tiny-split2-00000000")
    metrics.request(answered([3, 5, 3]))
    metrics.request(answered([14], ms=700.0))
    for status in (400, 400, 404, 413, 503, 401, 429, 499, 500):
        metrics.request(refused(status))
    metrics.refused(401, "no_token")
    metrics.refused(0, "connections")
    metrics.batch(4)
    found = samples(metrics)
    assert found["edge_host_requests_total{status=200}"] == 2
    assert found["edge_host_requests_total{status=400}"] == 2
    assert found["edge_host_requests_total{status=499}"] == 1
    exits = {name: value for name, value in found.items() if name.startswith("edge_host_frames_total")}
    assert exits == {
        "edge_host_frames_total{exit=3}": 2,
        "edge_host_frames_total{exit=5}": 1,
        "edge_host_frames_total{exit=14}": 1,
    }
    reasons = {name: value for name, value in found.items() if name.startswith("edge_host_refusals_total")}
    assert reasons == {
        # 401 and 429 are told by host/serving/guard.py itself, once
        "edge_host_refusals_total{reason=malformed}": 2,
        "edge_host_refusals_total{reason=other_model}": 1,
        "edge_host_refusals_total{reason=too_large}": 1,
        "edge_host_refusals_total{reason=overloaded}": 1,
        "edge_host_refusals_total{reason=no_token}": 1,
        "edge_host_refusals_total{reason=connections}": 1,
    }
    assert found["edge_host_received_bytes_total"] == 2 * 1000 + 9 * 10
    assert found["edge_host_request_seconds_count"] == 2
    assert found["edge_host_request_seconds_bucket{le=0.002}"] == 0
    assert found["edge_host_request_seconds_bucket{le=0.005}"] == 1
    assert found["edge_host_request_seconds_bucket{le=1.0}"] == 2
    assert found["edge_host_batch_frames_bucket{le=2.0}"] == 0
    assert found["edge_host_batch_frames_bucket{le=4.0}"] == 1
    assert found[f"edge_host_build_info{{bundle=tiny-split2-00000000,version={__version__}}}"] == 1


def test_each_host_counts_by_itself():
    one, other = Metrics("a"), Metrics("b")
    one.request(refused(400))
    assert "edge_host_requests_total{status=400}" not in samples(other)


@pytest.mark.skipif(sys.platform != "linux", reason="figures of the process come from Linux's /proc")
def test_figures_of_the_process():
    assert samples(Metrics("a"))["process_resident_memory_bytes"] > 1e6


def test_what_is_asked_when_it_is_shown():
    metrics = Metrics("a")
    values = {"waiting": 5, "ends": 2e9}
    metrics.watch_waiting(lambda: values["waiting"])
    metrics.watch_certificate(lambda: values["ends"])
    assert samples(metrics)["edge_host_frames_waiting"] == 5
    values.update(waiting=6, ends=3e9)
    assert samples(metrics)["edge_host_frames_waiting"] == 6
    assert samples(metrics)["edge_host_certificate_end_seconds"] == 3e9


def test_the_application():
    ready = [False]
    app = metrics_app(Metrics("a"), lambda: ready[0])

    def get(path):
        scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
        reply = asyncio.run(answer_of(app, ForwardedRequest(scope, b"")))
        return reply.status, dict(reply.headers)[b"content-type"], reply.body

    status, kind, body = get("/metrics")
    assert status == 200
    assert kind.startswith(b"text/plain; version=")
    assert b"edge_host_build_info" in body
    assert get("/health/live")[::2] == (200, b'{"live":true}')
    assert get("/health/ready")[0] == 503
    ready[0] = True
    assert get("/health/ready")[::2] == (200, b'{"ready":true}')
    assert [get(path)[0] for path in ("/v2", "/metrics/", "/health/live/")] == [404] * 3  # and no redirect


def test_without_prometheus_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(
        UsageError, match="found no prometheus_client in this environment.*--metrics-address; pip install"
    ):
        Metrics("a")
