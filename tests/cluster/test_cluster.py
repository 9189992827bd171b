"""``defq cluster`` on this machine: answers, errors, addresses, deaths of replicas, scaling, the end."""

import http.client
import json
import os
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from device.protocol.messages import HEADER_LENGTH, decode_response, encode_request
from tests.cluster.conftest import Cluster, descendants
from tests.host.waits import until


def exchange(url, method, path, body=b"", headers=None):
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.getheader(HEADER_LENGTH), answer.read()
    finally:
        connection.close()


def test_the_device_works_unchanged(cluster, device):
    assert sum(line["source"] == "host" for line in device(cluster.url)) == 19


def test_several_frames_in_one_request(cluster, bundle, sent, answers):
    encoded = encode_request({"activation": sent[1], "threshold": np.full((19, 1), 0.62, np.float32)})
    headers = {HEADER_LENGTH: str(encoded.header_length)}
    status, length, body = exchange(cluster.url, "POST", f"/v2/models/{bundle.id}/infer", encoded.body, headers)
    assert status == 200
    tensors = decode_response(body, int(length)).tensors
    assert list(zip(tensors["exit"].tolist(), tensors["label"].tolist(), strict=True)) == answers


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/v2/health/ready", b"", {}, 200),
        ("GET", "/v2/models/{id}/ready", b"", {}, 200),
        ("GET", "/v2/models/other/ready", b"", {}, 404),
        ("GET", "/", b"", {}, 404),
        ("POST", "/v2", b"", {}, 405),
        ("POST", "/v2/models/{id}/infer", b"garbage", {}, 400),
        ("POST", "/v2/models/{id}/infer", b"{}", {"Content-Encoding": "br"}, 415),
        ("POST", "/v2/models/{id}/infer", b"", {"Content-Length": str(65 << 20)}, 413),
    ],
)
def test_every_status_comes_with_json(cluster, bundle, method, path, body, headers, status):
    found, _, body = exchange(cluster.url, method, path.replace("{id}", bundle.id), body, headers)
    assert found == status
    assert (status == 200) is ("error" not in json.loads(body))


def test_every_port_is_for_this_machine_alone(cluster):
    family = [cluster.process.pid, *descendants(cluster.process.pid)]
    sockets = set()
    for pid in family:
        for name in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(os.readlink(name))
            except OSError:
                continue  # it has ended, or is closed
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                listening.append(fields[1].rpartition(":")[0])
    assert len(listening) > 5  # Ray has many
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert set(listening) <= loopback


def test_killing_replicas_under_load_loses_no_frame(cluster, fleet):
    before = set(cluster.replicas())
    assert len(before) == 2
    devices = fleet(cluster.url, devices=6)
    for _ in range(2):  # one after the other
        frames_pass(devices)
        os.kill(cluster.replicas()[0], signal.SIGKILL)
        cluster_is_whole(cluster)
    frames_pass(devices)
    for pid in cluster.replicas():  # and both at once
        os.kill(pid, signal.SIGKILL)
    cluster_is_whole(cluster)
    frames_pass(devices)
    devices.stop()
    assert not before & set(cluster.replicas())
    print(f"{devices.frames} frames, {devices.fallback} fallback")
    assert devices.frames > 100
    assert (devices.fallback, devices.wrong) == (0, 0)


def frames_pass(devices, count=50):
    """Wait until the devices have had so many more frames answered."""
    before = devices.frames
    until(lambda: devices.frames >= before + count, 60)


def cluster_is_whole(cluster):
    time.sleep(0.5)  # real time: the table of processes still names the dead for a moment
    until(lambda: len(cluster.replicas()) >= 2, 60)


def test_replicas_come_with_the_load_and_go_with_it(fleet):
    scaled = Cluster("--replicas", "1-2", "--upscale-delay-s", "1", "--downscale-delay-s", "2")
    try:
        assert len(scaled.replicas()) == 1
        devices = fleet(scaled.url, devices=8)
        scaled.wait_for("host: 2 replicas", 60)
        devices.stop()
        scaled.wait_for("host: 1 replicas", 60)
        assert devices.frames > 100
        assert (devices.fallback, devices.wrong) == (0, 0)
    finally:
        code, errors = scaled.stop()
    assert (code, "Traceback" in errors) == (0, False)


def test_an_end_under_load_answers_what_it_took(fleet):
    ending = Cluster("--replicas", "1")
    devices = fleet(ending.url, devices=2, timeout_s=5)
    frames_pass(devices)
    assert devices.fallback == 0
    code, errors = ending.stop()
    devices.stop()
    assert (code, "Traceback" in errors) == (0, False)
    assert devices.frames > 20
    assert devices.wrong == 0  # what it did not take has the device's own answer
    host, port = ending.url.removeprefix("http://").split(":")
    with pytest.raises(ConnectionRefusedError), socket.create_connection((host, int(port)), 5):
        pass
