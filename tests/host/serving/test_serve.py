"""defq serve with metrics, JSON lines and warnings: a real process, real sockets."""

import argparse
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from device.protocol.messages import HEADER_LENGTH
from host.cli import main
from host.serving import serve
from tests.host.conftest import ROOT
from tests.host.serving.asking import HOST, INFER, MODEL, TOKEN, ask, get, trusting
from tests.host.waits import until


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "tokens"
    file.touch(0o600)
    file.write_text(f"gate-2: {TOKEN}\n")
    return str(file)


def warnings_of(*options, stays_root=False):
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    found = []
    serve.warn_of_risks(parser.parse_args(["--bundle", "b", *options]), stays_root, found.append)
    return found


def test_warning_about_root():
    assert "add --user NAME" in warnings_of(stays_root=True)[0]
    assert warnings_of() == []


def test_metrics_have_an_address_of_their_own(own_host, body, token_file):
    host = own_host("--tls-cert", HOST, "--token-file", token_file, "--metrics-address", "127.0.0.1:0")
    line = host.process.stdout.readline()
    assert line.startswith("host: metrics and health on http://127.0.0.1:")
    url = line.split()[-1]
    assert get(url + "/health/live") == (200, '{"live":true}')
    assert get(url + "/health/ready") == (200, '{"ready":true}')
    assert get(url + "/v2")[0] == 404
    for token, status in ((TOKEN, 200), (TOKEN, 200), (None, 401), ("another-token-0123456789", 401)):
        assert ask(host.port, body, trusting(), token) == status
    connection = http.client.HTTPSConnection("127.0.0.1", host.port, timeout=10, context=trusting())
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert connection.getresponse().status == 404
    connection.close()
    status, text = get(url + "/metrics")
    assert status == 200
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(found['edge_host_requests_total{status="200"}']) == 2
    assert float(found['edge_host_requests_total{status="401"}']) == 2
    assert float(found['edge_host_refusals_total{reason="no_token"}']) == 1
    assert float(found['edge_host_refusals_total{reason="unknown_token"}']) == 1
    exits = [float(value) for name, value in found.items() if name.startswith("edge_host_frames_total")]
    assert sum(exits) == 4
    assert float(found["edge_host_batch_frames_sum"]) == 4
    assert float(found["edge_host_request_seconds_count"]) == 2
    assert float(found["edge_host_frames_waiting"]) == 0
    assert float(found["edge_host_received_bytes_total"]) == 2 * len(body.body)
    assert float(found["edge_host_certificate_end_seconds"]) > time.time()
    assert f'bundle="{MODEL}"' in text
    assert TOKEN not in text
    assert host.stop()[0] == 0


def test_ready_ends_before_the_last_request_has_its_answer(own_host, body):
    host = own_host("--metrics-address", "127.0.0.1:0")
    url = host.process.stdout.readline().split()[-1]
    with socket.create_connection(("127.0.0.1", host.port), timeout=10) as slow:
        head = f"POST {INFER} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body.body)}\r\n{HEADER_LENGTH}: {body.header_length}\r\n\r\n"
        slow.sendall(head.encode() + body.body[:-1])
        assert get(f"http://127.0.0.1:{host.port}/v2/health/live")[0] == 200  # so the head has been read
        host.process.send_signal(signal.SIGTERM)
        until(lambda: get(url + "/health/ready")[0] == 503)
        assert get(url + "/metrics")[0] == 200
        slow.sendall(body.body[-1:])
        assert slow.recv(65536).startswith(b"HTTP/1.1 200")
    assert host.stop()[0] == 0


def test_json_lines_without_secrets(own_host, body, token_file):
    os.chmod(token_file, 0o604)
    host = own_host("--log", "json", "--token-file", token_file)
    assert ask(host.port, body, token=TOKEN) == 200
    assert ask(host.port, body, token="another-token-0123456789") == 401
    with socket.create_connection(("127.0.0.1", host.port), timeout=10) as connection:
        connection.sendall(b"no HTTP at all\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 400")
    code, errors = host.stop()
    assert code == 0
    lines = [json.loads(line) for line in errors.splitlines()]
    one, other = (line for line in lines if line["event"] == "request")
    assert (one["name"], one["id"], one["frames"], one["batch"], one["status"]) == ("gate-2", "frame-7", 2, 2, 200)
    assert one["bytes"] == len(body.body)
    assert 0 < one["ms"] < 10000
    assert (other["name"], other["status"], other["frames"], other["bytes"]) == ("", 401, 0, 0)
    assert any("found no HTTP/1.1 request" in line.get("message", "") for line in lines)
    assert any("every user of this machine may read" in line.get("message", "") for line in lines)
    assert "0123456789" not in errors


def test_a_log_that_nobody_reads(own_host, body):
    host = own_host("--log-requests")
    fcntl.fcntl(host.process.stderr.fileno(), getattr(fcntl, "F_SETPIPE_SZ", 1031), 4096)
    assert ask(host.port, body, times=100) == 200  # 60 lines fill the pipe
    host.process.stderr.close()
    assert ask(host.port, body, times=2) == 200
    host.process.send_signal(signal.SIGTERM)
    assert host.process.wait(10) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), None),
        (("--address", "localhost"), None),
        (("--address", "::1"), None),
        (("--address", "0.0.0.0"), "with neither --tls-cert nor --token-file"),
        (("--address", "host.example"), "with neither --tls-cert nor --token-file"),
        (("--address", "::", "--token-file", "t"), "tokens cross the network readable"),
        (("--address", "0.0.0.0", "--tls-cert", "c"), None),
        (("--metrics-address", "[::1]:9100"), None),
        (("--metrics-address", "0.0.0.0:9100"), "which has neither TLS nor tokens"),
        (("--metrics-address", "[::]:9100"), "which has neither TLS nor tokens"),
    ],
)
def test_warnings_about_addresses(options, words):
    found = warnings_of(*options)
    assert len(found) == (words is not None)
    if words:
        assert words in found[0]


def test_what_is_not_asked_for_is_not_imported():
    program = "import sys, host.cli, host.serving.serve; print({'ray', 'prometheus_client', 'cryptography', 'host.cluster.command', 'host.credentials.keys'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("set()\n", "")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "found no command; expected one of serve, cluster, keys"),
        (["nothing"], 2, "found the command nothing; expected one of serve, cluster, keys"),
        (["--help"], 0, "Answer frames that did not exit on a device."),
        (["serve", "--help"], 0, "--tls-cert FILE"),
        (["cluster", "--help"], 0, "--replicas N"),
    ],
)
def test_the_command_line_knows_its_commands(capsys, arguments, code, words):
    try:
        ended = main(arguments)
    except SystemExit as left:  # --help
        ended = left.code
    assert ended == code
    assert words in "".join(capsys.readouterr())
