"""defq serve over TLS, with metrics, JSON lines and another user: a real process, real sockets."""

import argparse
import fcntl
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings

import numpy as np
import pytest

from device.bundle.reader import load_bundle
from device.errors import DataError, UsageError
from device.link.credentials import Credentials
from device.link.host_client import HostClient
from device.payload.base import Sendable
from device.protocol.messages import HEADER_LENGTH, encode_request
from host.cli import main
from host.serving import serve
from host.serving.tls import Certificates
from host.serving.user import found_user
from tests.host.conftest import BUNDLE, ROOT
from tests.host.waits import until

CERTIFICATES = ROOT / "tests" / "device" / "data" / "tls"
HOST, DEVICE, AUTHORITY = (str(CERTIFICATES / f"{name}.pem") for name in ("host", "device", "authority"))
MODEL = load_bundle(str(BUNDLE)).id
INFER = f"/v2/models/{MODEL}/infer"
TOKEN = "gate-2-token-0123456789"


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "tokens"
    file.touch(0o600)
    file.write_text(f"gate-2: {TOKEN}\n")
    return str(file)


@pytest.fixture(scope="module")
def body():
    generator = np.random.default_rng(0)
    return encode_request({"activation": generator.normal(size=(2, 6, 8, 8)).astype(np.float32)}, request_id="frame-7")


def trusting(certificate=None):
    context = ssl.create_default_context(cafile=AUTHORITY)
    if certificate:
        context.load_cert_chain(certificate)
    return context


def ask(port, message, context=None, token=None, times=1):
    """The status of the last answer on one connection."""
    if context:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {HEADER_LENGTH: str(message.header_length)}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        for _ in range(times):
            connection.request("POST", INFER, message.body, headers)
            answer = connection.getresponse()
            answer.read()
        return answer.status
    finally:
        connection.close()


def get(url):
    """Status and body."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


# TLS


def test_tls(own_host, body):
    host = own_host("--tls-cert", HOST)
    assert host.url.startswith("https://")
    assert ask(host.port, body, trusting()) == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(host.port, body, ssl.create_default_context())
    with pytest.raises((http.client.HTTPException, OSError)):
        ask(host.port, body)  # http:// where https:// is spoken
    old = trusting()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        ask(host.port, body, old)
    old = trusting()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert ask(host.port, body, old) == 200
    code, errors = host.stop()
    assert code == 0
    assert "Traceback" not in errors


def test_mutual_tls(own_host, body):
    host = own_host("--tls-cert", HOST, "--tls-key", HOST, "--client-ca", AUTHORITY, "--log", "json")
    for certificate in (None, str(CERTIFICATES / "other-device.pem")):
        with pytest.raises((ssl.SSLError, OSError)):
            ask(host.port, body, trusting(certificate))
    assert ask(host.port, body, trusting(DEVICE)) == 200
    lines = [json.loads(line) for line in host.stop()[1].splitlines()]
    (request,) = [line for line in lines if line["event"] == "request"]
    assert (request["name"], request["status"]) == ("device", 200)


def test_a_device_with_certificate_and_token(own_host, token_file, tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN)
    with open(token_file, "a") as tokens:
        tokens.write(f"device: {TOKEN}-of-the-device\n")
    host = own_host("--tls-cert", HOST, "--client-ca", AUTHORITY, "--token-file", token_file)
    bundle = load_bundle(str(BUNDLE))
    activation = np.random.default_rng(0).normal(size=(1, 6, 8, 8)).astype(np.float32)
    answers = []
    for token in (TOKEN, f"{TOKEN}-of-the-device"):
        file.write_text(token)
        client = HostClient(
            host.url, bundle, 0.62, 1, 10.0, credentials=Credentials(AUTHORITY, DEVICE, None, str(file))
        )
        request = client.submit(Sendable(activation), wait=True)
        request.wait()
        client.close()
        answers.append(request.answer)
    assert answers[0] is None  # the token of another client
    assert answers[1].exit in (3, 4, 5)


BROKEN = {
    "missing": ({"cert": "nowhere.pem"}, 2, "could not read --tls-cert nowhere.pem (No such file or directory)"),
    "missing key": ({"cert": HOST, "key": "nowhere.pem"}, 2, "could not read --tls-key nowhere.pem (No such file"),
    "a folder": ({"cert": "."}, 2, "could not read --tls-cert . (Is a directory)"),
    "no certificate": ({"cert": str(ROOT / "README.md")}, 3, "expected PEM text that begins with -----BEGIN CERT"),
    "no key": ({"cert": HOST, "key": AUTHORITY}, 3, "expected a PEM key without a password"),
    "password": ({"cert": DEVICE, "key": str(CERTIFICATES / "device-encrypted.pem")}, 3, "without a password"),
    "another key": ({"cert": HOST, "key": DEVICE}, 3, "does not belong to the certificate in"),
    "expired": ({"cert": str(CERTIFICATES / "host-expired.pem")}, 3, "to 2020-01-01; expected one that is valid on 20"),
    "authority": ({"cert": HOST, "client-ca": "nowhere.pem"}, 2, "could not read --client-ca nowhere.pem"),
    "no authority": ({"cert": HOST, "client-ca": str(BUNDLE / "labels.txt")}, 3, "found no certificate in --client-ca"),
    "expired authority": ({"cert": HOST, "client-ca": str(CERTIFICATES / "host-expired.pem")}, 3, "to 2020-01-01"),
}


def loaded(cert, key=None, warnings=None, **more):
    return Certificates(cert, key or cert, more.get("client-ca"), [].append if warnings is None else warnings.append)


@pytest.mark.parametrize("case", sorted(BROKEN))
def test_files_that_cannot_be_used(case, capfd):
    files, code, words = BROKEN[case]
    with pytest.raises((UsageError, DataError)) as caught:
        loaded(**files)
    assert caught.value.exit_code == code
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # nothing asks for a password


def test_a_file_that_this_user_may_not_read(tmp_path, monkeypatch):
    def deny(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", deny)
    with pytest.raises(
        UsageError, match="could not read --tls-cert .* .Permission denied.; expected a PEM file that this"
    ):
        loaded(HOST)


def test_the_command_says_it_in_one_sentence():
    done = subprocess.run(
        [sys.executable, "-m", "host", "serve", "--bundle", "b", "--tls-cert", HOST, "--tls-key", DEVICE],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert done.stderr.startswith("error: found that the key in ")


@pytest.mark.parametrize("option", ["--tls-key", "--client-ca"])
def test_options_without_a_certificate(capsys, option):
    assert main(["serve", "--bundle", "b", option, HOST]) == 2
    assert f"found {option} without --tls-cert" in capsys.readouterr().err


def test_a_key_that_others_may_read(tmp_path):
    told, key = [], tmp_path / "key.pem"
    shutil.copyfile(HOST, key)
    key.chmod(0o600)
    loaded(HOST, str(key), told)
    assert told == []
    key.chmod(0o604)
    loaded(HOST, str(key), told)
    assert f"run: chmod o-rw {key}" in told[0]


def test_a_certificate_that_ends_soon(monkeypatch):
    told = []
    monkeypatch.setattr("host.serving.tls.SOON_S", 200 * 365 * 86400.0)
    loaded(HOST, warnings=told)
    assert any("ends on 2120-01-01; expected it to last longer" in each for each in told)


def shown_to_a_client(certificates):
    """The common name in the certificate of a handshake."""
    ours, theirs = socket.socketpair()
    server = threading.Thread(target=lambda: certificates.context.wrap_socket(ours, server_side=True).close())
    server.start()
    context = trusting()
    context.check_hostname = False
    with context.wrap_socket(theirs) as client:
        name = dict(part[0] for part in client.getpeercert()["subject"])["commonName"]
    server.join(10)
    ours.close()
    return name


def test_a_certificate_that_is_renewed(tmp_path):
    told, file = [], tmp_path / "host.pem"
    shutil.copyfile(HOST, file)
    file.chmod(0o600)
    certificates = loaded(str(file), warnings=told)
    assert shown_to_a_client(certificates) == "host"
    file.write_text("half a fi")
    certificates.refresh()
    assert told == []  # somebody may write it still
    for _ in range(3):
        certificates.refresh()
    assert len(told) == 1
    assert "found no certificate in --tls-cert" in told[0]
    assert "the certificate from before stays in use" in told[0]
    assert shown_to_a_client(certificates) == "host"
    shutil.copyfile(CERTIFICATES / "host-elsewhere.pem", file)
    for _ in range(2):
        certificates.refresh()
    assert shown_to_a_client(certificates) == "host-elsewhere"
    assert len(told) == 1


# Metrics


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


# The log


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


# Users and warnings


def warnings_of(*options, stays_root=False):
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    found = []
    serve.warn_of_risks(parser.parse_args(["--bundle", "b", *options]), stays_root, found.append)
    return found


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


def test_warning_about_root():
    assert "add --user NAME" in warnings_of(stays_root=True)[0]
    assert warnings_of() == []


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, which alone may become another"
)
def test_another_user(own_host, body, tmp_path):
    key = tmp_path / "host.pem"
    shutil.copyfile(HOST, key)
    key.chmod(0o400)  # read before root is left
    host = own_host("--user", "nobody", "--tls-cert", str(key), "--metrics-address", "127.0.0.1:0")
    fields = dict(line.split(":", 1) for line in open(f"/proc/{host.process.pid}/status"))  # noqa: SIM115
    assert set(fields["Uid"].split()) == {"65534"}
    assert "0" not in fields["Gid"].split() + fields["Groups"].split()
    for task in os.listdir(f"/proc/{host.process.pid}/task"):  # threads of the engine, too
        with open(f"/proc/{host.process.pid}/task/{task}/status") as file:
            assert "Uid:\t65534\t65534\t65534\t65534" in file.read()
    assert ask(host.port, body, trusting()) == 200
    assert get(host.process.stdout.readline().split()[-1] + "/metrics")[0] == 200
    assert host.stop() == (0, "")


RECORDER = """
import os, sys
from host.cli import main

class Refusing:
    def find_spec(self, name, path=None, target=None):
        raise ImportError(f"imported {name} as a user who may not read it")

become = os.setuid
os.setuid = lambda uid: (become(uid), sys.meta_path.insert(0, Refusing()))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, which alone may become another"
)
@pytest.mark.parametrize(
    "options", [[], ["--metrics-address", "127.0.0.1:0"], ["--log", "json", "--tls-cert", str(HOST)]]
)
def test_another_user_needs_nothing_of_this_environment(options, body):
    """It may lie in a home folder that is closed to others."""
    command = [
        sys.executable,
        "-c",
        RECORDER,
        "serve",
        "--bundle",
        str(BUNDLE),
        "--port",
        "0",
        "--user",
        "nobody",
        *options,
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        if found:
            assert ask(int(found.group(1)), body, trusting() if "--tls-cert" in options else None) == 200
        process.terminate()
        errors = process.communicate(timeout=30)[1]
    assert found, errors
    assert process.returncode == 0
    assert "Error" not in errors


def test_a_user_that_cannot_be(capsys, monkeypatch):
    assert main(["serve", "--bundle", "b", "--user", "no-such-user"]) == 2
    assert "found no user 'no-such-user' on this machine" in capsys.readouterr().err
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="found --user root and another user than root"):
        found_user("root")


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
def test_commands(capsys, arguments, code, words):
    try:
        ended = main(arguments)
    except SystemExit as left:  # --help
        ended = left.code
    assert ended == code
    assert words in "".join(capsys.readouterr())
