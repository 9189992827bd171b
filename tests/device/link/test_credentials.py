"""Options, token files and what a device with a host of TLS and tokens does as a whole."""

import argparse
import os
import ssl
import time

import numpy as np
import pytest

from device.errors import HostError, UsageError
from device.link import credentials as module
from device.link.credentials import Credentials, add_arguments, credentials_of, read_token
from device.link.host_client import HostClient
from device.link.tls import Tls
from device.payload.base import Sendable
from device.protocol.messages import error_body
from tests.device.fake_host import FakeHost
from tests.device.fake_server import send_answer
from tests.device.link.test_connection import CA, DEVICE, OTHER_CA, OTHER_DEVICE, TLS, context_of

TOKEN = "a-token-of-some-length"


def arguments(*options):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(options)


def token_file(folder, text=TOKEN + "\n"):
    (folder / "token").write_text(text)
    return str(folder / "token")


def test_nothing_is_needed():
    credentials = credentials_of(arguments())
    assert credentials.authorization() == ""
    assert credentials.tls_options == []


def test_options_become_credentials(tmp_path):
    name = token_file(tmp_path)
    credentials = credentials_of(
        arguments("--ca-file", "a", "--cert-file", "b", "--key-file", "c", "--token-file", name)
    )
    assert (credentials.ca_file, credentials.cert_file, credentials.key_file, credentials.token_file) == (
        "a",
        "b",
        "c",
        name,
    )
    assert credentials.tls_options == ["--ca-file", "--cert-file", "--key-file"]
    assert credentials.authorization() == "Authorization: Bearer {}\r\n".format(TOKEN)


def test_a_key_without_a_certificate():
    with pytest.raises(UsageError, match="found --key-file without --cert-file"):
        credentials_of(arguments("--key-file", "c"))


@pytest.mark.parametrize("text", ["", "short", "two words-of-some-length", "x" * 513, TOKEN + "\n" + TOKEN, "caf\u00e9-of-some-length", "a\r\nX: injected-header"])  # fmt: skip
def test_files_without_a_token(tmp_path, text):
    (tmp_path / "token").write_bytes(text.encode("utf-8"))
    with pytest.raises(
        UsageError, match="no token in .*token; expected one line|could not read the token in .*not ASCII"
    ):
        credentials_of(arguments("--token-file", str(tmp_path / "token")))


def test_an_absent_token_file_is_named(tmp_path):
    with pytest.raises(UsageError, match="could not read the token in .* .No such file or directory.; expected a file"):
        read_token(str(tmp_path / "none"))


def test_a_token_file_is_not_cut_off(tmp_path):
    name = token_file(tmp_path, TOKEN + "\n" * 1024)
    with pytest.raises(UsageError, match="found more than 1,024 characters in .*token; expected the token"):
        read_token(name)


def test_a_new_token_is_used_at_once(tmp_path, monkeypatch):
    credentials = Credentials(token_file=token_file(tmp_path))
    assert TOKEN in credentials.authorization()
    reads = []
    monkeypatch.setattr(module, "read_token", lambda name: reads.append(name) or read_token(name))
    credentials.authorization()
    assert reads == []  # not while it stays as it is
    (tmp_path / "new").write_text("another-token-of-some-length")
    os.replace(str(tmp_path / "new"), credentials.token_file)
    assert credentials.authorization() == "Authorization: Bearer another-token-of-some-length\r\n"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((CA + "x",), "could not use --ca-file .*authority.pemx .No such file"),
        ((__file__,), "could not use --ca-file .*expected a PEM file"),
        ((CA, DEVICE + "x"), "could not use --cert-file .*device.pemx .No such file"),
        ((CA, CA), "could not use --cert-file .*authority.pem "),  # no key in it
        ((CA, os.path.join(TLS, "device-encrypted.pem")), "could not use --cert-file .*a key without a password"),
        ((CA, DEVICE, OTHER_DEVICE), "could not use --cert-file .*device.pem with key .*other-device.pem .*MISMATCH"),
    ],
)
def test_files_that_cannot_be_used(files, words):
    with pytest.raises(UsageError, match=words):
        Tls(*files)


class SafeHost(FakeHost):
    """A host with TLS. Where it is given an authority or a token, it asks for a certificate or for the token."""

    def __init__(self, bundle, client_ca=None, tokens=None):
        self.tokens = tokens
        super().__init__(bundle, context=context_of("host.pem", client_ca))
        self.url = self.url.replace("http://127.0.0.1", "https://localhost")

    def answer(self, connection, stream):
        head = stream.peek(1 << 14)
        if self.tokens and head and not any("Bearer {}\r\n".format(each).encode() in head for each in self.tokens):
            stream.read(1)
            send_answer(connection, "401 Unauthorized", error_body("found a token that is unknown"))
            return False
        return super().answer(connection, stream)


@pytest.fixture
def safe_host(bundle):
    started = []

    def start(**options):
        started.append(SafeHost(bundle, **options))
        return started[-1]

    yield start
    for host in started:
        host.stop()


@pytest.fixture
def client_to(bundle):
    opened = []

    def connect(url, credentials):
        opened.append(HostClient(url, bundle, 0.5, connections=1, credentials=credentials))
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


@pytest.fixture
def activation(bundle):
    return np.ones((1, *bundle.activation_shape), np.float32)


def ask(client, activation):
    request = client.submit(Sendable(activation), wait=True)
    request.wait()
    return request.answer


def test_frames_go_over_tls_with_certificate_and_token(safe_host, client_to, activation, tmp_path, capfd):
    host = safe_host(client_ca=CA, tokens=["an-older-token-of-theirs", TOKEN])
    client = client_to(host.url, Credentials(CA, DEVICE, None, token_file(tmp_path)))
    client.check()
    assert [ask(client, activation) for _ in range(3)] == [(2, 0.75, 4)] * 3
    assert len([each for each in host.connections if isinstance(each, ssl.SSLSocket)]) == 2  # the check, and all frames
    assert "lost" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (lambda folder: Credentials(OTHER_CA, DEVICE), "could not verify the certificate of the host"),
        (lambda folder: Credentials(CA), "asks devices for a certificate|refused a device without a certificate"),
        (lambda folder: Credentials(CA, OTHER_DEVICE), "expected one that its --client-ca signed"),
        (lambda folder: Credentials(CA, DEVICE), "asks for a token .401.; expected one of"),
        (
            lambda folder: Credentials(CA, DEVICE, None, token_file(folder, "x" * 20)),
            "refused the token of .*token .401.; expected one of",
        ),
    ],
)
def test_who_is_not_let_in_decides_alone_and_says_so_once(safe_host, client_to, activation, tmp_path, capfd, credentials, words):  # fmt: skip
    host = safe_host(client_ca=CA, tokens=[TOKEN])
    client = client_to(host.url, credentials(tmp_path))
    with pytest.raises(HostError, match=words):
        client.check()
    assert [ask(client, activation) for _ in range(3)] == [None] * 3
    client.close()
    errors = capfd.readouterr().err
    assert errors.count("\n") == 1
    assert "Traceback" not in errors


def test_a_token_put_right_is_found_within_two_seconds(safe_host, client_to, activation, tmp_path, capfd):
    name = token_file(tmp_path, "x" * 20)
    client = client_to(safe_host(tokens=[TOKEN]).url, Credentials(CA, None, None, name))
    assert ask(client, activation) is None
    (tmp_path / "new").write_text(TOKEN)
    os.replace(str(tmp_path / "new"), name)
    started = time.perf_counter()
    while ask(client, activation) is None:
        assert time.perf_counter() - started < 2
    client.close()
    assert "is back after" in capfd.readouterr().err
