"""defq serve over TLS: a real process, real sockets."""

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

from device.bundle.reader import load_bundle
from device.errors import DataError, UsageError
from device.link.credentials import Credentials
from device.link.host_client import HostClient
from device.payload.base import Sendable
from host.cli import main
from host.serving.tls import Certificates
from tests.host.conftest import BUNDLE, ROOT
from tests.host.serving.asking import AUTHORITY, CERTIFICATES, DEVICE, HOST, TOKEN, ask, trusting


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "tokens"
    file.touch(0o600)
    file.write_text(f"gate-2: {TOKEN}\n")
    return str(file)


def test_a_host_with_a_certificate_speaks_tls_alone(own_host, body):
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


def test_a_host_with_client_ca_takes_known_devices_alone(own_host, body):
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
