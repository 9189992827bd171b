"""The certificates of ``defq keys``, by the eyes of both sides of TLS and of OpenSSL's own program."""

import os
import shutil
import ssl
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from device.errors import InputError, UsageError
from host.credentials import certificates
from tests.host.credentials.folders import client_context, content, handshake, make, server_context


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_sides_trust_each_other(made, name, version):
    client = client_context(made)
    client.minimum_version = client.maximum_version = version
    assert handshake(server_context(made), client, name) == "cam-1"


def test_a_certificate_for_another_name_is_refused(made):
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for 'elsewhere.example'"):
        handshake(server_context(made), client_context(made), "elsewhere.example")


def test_a_certificate_of_another_authority_is_refused(made, tmp_path):
    make(tmp_path / "other", "--name", "localhost", "--device", "cam-1")
    with pytest.raises(
        ssl.SSLCertVerificationError, match="self.signed certificate in certificate chain|unable to get local issuer"
    ):
        handshake(server_context(made), client_context(made, tmp_path / "other" / "ca.pem"))
    with pytest.raises(ssl.SSLError, match="(?i)certificate.verify.failed"):
        handshake(server_context(made), client_context(tmp_path / "other", made / "ca.pem"))


def test_a_device_without_a_certificate(made):
    with pytest.raises(ssl.SSLError, match="(?i)peer did not return a certificate"):
        handshake(server_context(made), client_context(made, certificate=None))


def test_no_device_passes_for_the_host_nor_the_host_for_a_device(made):
    server = server_context(made, "devices/cam-1", "devices/cam-1-key")
    client = client_context(made)
    client.check_hostname = False
    with pytest.raises(ssl.SSLCertVerificationError, match="(?i)purpose"):
        handshake(server, client)
    with pytest.raises(ssl.SSLError, match="(?i)certificate.verify.failed"):
        handshake(server_context(made), client_context(made, certificate="host", key="host-key"))


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs the program openssl")
@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("host.pem", ["-purpose", "sslserver", "-verify_hostname", "localhost"]),
        ("host.pem", ["-purpose", "sslserver", "-verify_ip", "127.0.0.1"]),
        ("devices/cam-1.pem", ["-purpose", "sslclient"]),
    ],
)
def test_the_program_openssl_agrees(made, file, options):
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", "ca.pem", *options, file],
        cwd=made,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, f"{file}: OK\n"), done.stderr


def test_certificates_are_valid_for_the_stated_days(made):
    now = time.time()
    for file, days in (("ca.pem", 3650), ("host.pem", 825), ("devices/cam-2.pem", 825)):
        certificate = x509.load_pem_x509_certificate((made / file).read_bytes())
        assert certificate.not_valid_after_utc.timestamp() == pytest.approx(now + days * 86400, abs=300)
        assert certificate.not_valid_before_utc.timestamp() == pytest.approx(now - 86400, abs=300)
        assert isinstance(certificate.public_key().curve, ec.SECP256R1)
        assert certificate.signature_hash_algorithm.name == "sha256"


def test_a_certificate_ends_with_its_authority(tmp_path):
    make(tmp_path / "keys", "--name", "localhost", "--days", "3650")
    end = [x509.load_pem_x509_certificate((tmp_path / "keys" / file).read_bytes()).not_valid_after_utc for file in ("ca.pem", "host.pem")]  # fmt: skip
    assert end[1] <= end[0]


def test_renew_the_host(own):
    before = content(own)
    make(own, "--renew", "--days", "30")
    assert {name for name, data in content(own).items() if data != before[name]} == {"host.pem", "host-key.pem"}
    left = x509.load_pem_x509_certificate((own / "host.pem").read_bytes()).not_valid_after_utc.timestamp() - time.time()
    assert left == pytest.approx(30 * 86400, abs=300)
    assert handshake(server_context(own), client_context(own), "::1") == "cam-1"


def test_renew_a_device(own):
    before = content(own)
    make(own, "--renew", "--device", "cam-1")
    assert {name for name, data in content(own).items() if data != before[name]} == {"devices/cam-1.pem", "devices/cam-1-key.pem"}  # fmt: skip
    assert handshake(server_context(own), client_context(own)) == "cam-1"


@pytest.mark.parametrize(
    "name",
    ["", " ", "a b", "https://edge.example", "edge.example:8443", "*.example", "a_b", "-a.example", "a-.example", "a..b", ".a", "a.", "1.2.3",
     "256.1.1.1", "1.2.3.4/24", "x" * 64 + ".example", ".".join(["x" * 60] * 5), "0.0.0.0", "::", "224.0.0.1", "fe80::1%eth0", "[::1]", "a\n", "caf\u00e9\ud800"],
)  # fmt: skip
def test_bad_host_names(tmp_path, name):
    with pytest.raises(UsageError, match="found --name .*; expected "):
        make(tmp_path / "keys", f"--name={name}")
    assert not (tmp_path / "keys").exists()


def test_an_international_name(tmp_path):
    with pytest.raises(UsageError, match=r"use --name xn--bcher-kva.example, and the same in --host"):
        make(tmp_path / "keys", "--name", "b\u00fccher.example")
    make(tmp_path / "keys", "--name", "xn--bcher-kva.example")


def encrypted(key):
    loaded = serialization.load_pem_private_key(key, None)
    return loaded.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret"))  # fmt: skip


def stranger(_key):
    return certificates.make_authority()[1].key


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda key: key[:100], "found no private key in .*ca-key.pem"),
        (lambda key: key.replace(b"M", b"N"), "found (no private|a) key in .*ca-key.pem"),
        (lambda _key: b"", "found no private key in .*ca-key.pem"),
        (lambda _key: os.urandom(300), "found no private key in .*ca-key.pem"),
        (encrypted, "found a password on .*ca-key.pem"),
        (stranger, "found a key in .*ca-key.pem that does not belong to ca.pem"),
    ],
)
def test_a_damaged_key_of_the_authority(own, change, sentence):
    (own / "ca-key.pem").write_bytes(change((own / "ca-key.pem").read_bytes()))
    before = content(own)
    with pytest.raises(InputError, match=sentence):
        make(own, "--device", "cam-3")
    assert content(own) == before


def test_an_authority_that_is_none_or_has_ended(own, monkeypatch):
    with pytest.raises(InputError, match="certificate of no authority in ca.pem"):
        certificates.load_authority((own / "host.pem").read_bytes(), (own / "host-key.pem").read_bytes(), "ca-key.pem")
    later = certificates.now() + 3651 * certificates.EARLIER
    monkeypatch.setattr(certificates, "now", lambda: later)
    with pytest.raises(InputError, match="found that the authority in ca.pem ended on 20"):
        make(own, "--device", "cam-3")


@pytest.mark.parametrize("name", ["ca.pem", "host.pem"])
def test_a_damaged_certificate(own, name):
    (own / name).write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(InputError, match=f"found no certificate in .*{name}"):
        make(own, "--device", "cam-3")
