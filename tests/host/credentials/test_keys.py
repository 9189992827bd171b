"""What ``defq keys`` makes, by the eyes of both sides of TLS, of OpenSSL's own program and of the file system."""

import fcntl
import json
import os
import re
import shlex
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from device.errors import InputError, OutputError, UsageError
from device.link.credentials import read_token
from device.system.options import Parser
from host.credentials import certificates, keys, secret_files
from host.credentials.tokens import Tokens
from tests.host.waits import until

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / "tests" / "device" / "data"


def make(folder, *options):
    parser = Parser()
    keys.add_arguments(parser)
    return keys.run(parser.parse_args(["--out", str(folder), *options]))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Read, never changed."""
    folder = tmp_path_factory.mktemp("made") / "keys"
    make(folder, "--name", "localhost", "--name", "127.0.0.1", "--name", "::1", "--device", "cam-1", "--device", "cam-2")  # fmt: skip
    return folder


@pytest.fixture
def own(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "keys"))


def content(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def strict(context):
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def server_context(folder, certificate="host", key="host-key"):
    context = strict(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.load_cert_chain(folder / f"{certificate}.pem", folder / f"{key}.pem")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(folder, ca=None, certificate="devices/cam-1", key="devices/cam-1-key"):
    context = strict(ssl.create_default_context(cafile=str(ca or folder / "ca.pem")))
    if certificate:
        context.load_cert_chain(folder / f"{certificate}.pem", folder / f"{key}.pem")
    return context


def handshake(server, client, name="localhost"):
    """The common name that the host sees. Raises what the client met, or else what the host did."""
    seen = {}
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            connection.settimeout(5)
            try:
                with server.wrap_socket(connection, server_side=True) as tls:
                    seen["name"] = dict(pair[0] for pair in tls.getpeercert()["subject"])["commonName"]
                    tls.sendall(b"hello")
            except (OSError, ValueError) as error:
                seen["error"] = error

        thread = threading.Thread(target=serve)
        thread.start()
        client_error = None
        try:
            with (
                socket.create_connection(listener.getsockname(), timeout=5) as plain,
                client.wrap_socket(plain, server_hostname=name) as tls,
            ):
                assert tls.recv(16) == b"hello"
        except OSError as error:
            client_error = error
        thread.join(5)
        assert not thread.is_alive()
    if isinstance(client_error, ssl.SSLCertVerificationError):
        raise client_error
    if "error" in seen:
        raise seen["error"]
    if client_error:
        raise client_error
    return seen["name"]


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_sides_trust_each_other(made, name, version):
    client = client_context(made)
    client.minimum_version = client.maximum_version = version
    assert handshake(server_context(made), client, name) == "cam-1"


def test_another_name(made):
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for 'elsewhere.example'"):
        handshake(server_context(made), client_context(made), "elsewhere.example")


def test_another_authority(made, tmp_path):
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


def test_validity(made):
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


def test_modes_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        make(tmp_path / "keys", "--name", "localhost", "--device", "cam-1")
    finally:
        os.umask(before)
    folder = tmp_path / "keys"
    found = {str(file.relative_to(folder)): stat.S_IMODE(file.stat().st_mode) for file in folder.rglob("*")}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert found == {
        "ca.pem": 0o644, "ca-key.pem": 0o600, "host.pem": 0o644, "host-key.pem": 0o600, "tokens.txt": 0o600, "devices": 0o700,
        "devices/cam-1.pem": 0o644, "devices/cam-1-key.pem": 0o600, "devices/cam-1-token.txt": 0o600,
    }  # fmt: skip


def test_secrets_are_never_open_to_others(tmp_path, monkeypatch):
    """Not even before their first byte: the mode is that of open, and the final name comes last."""
    opened = []
    plain_open, plain_replace = os.open, os.replace

    def spy(path, flags, mode=0o777, **options):
        if flags & os.O_CREAT and str(path).startswith(str(tmp_path)):
            opened.append((Path(path).name, mode, flags))
        return plain_open(path, flags, mode, **options)

    def replace(source, target):
        assert not Path(target).exists() or Path(target).name == "tokens.txt"
        plain_replace(source, target)

    monkeypatch.setattr(os, "open", spy)
    monkeypatch.setattr(os, "replace", replace)
    make(tmp_path / "keys", "--name", "localhost", "--device", "cam-1")
    assert len(opened) == 8
    for name, mode, flags in opened:
        assert flags & os.O_EXCL
        assert mode == (0o600 if "key" in name or "token" in name else 0o644)


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OutputError, match=r"could not write .*ca-key.pem \(No space left on device\); expected a folder"
    ):
        make(tmp_path / "keys", "--name", "localhost")
    assert content(tmp_path / "keys") == {}


def test_a_file_system_without_modes(tmp_path, monkeypatch):
    plain = os.fstat
    monkeypatch.setattr(secret_files.os, "fstat", lambda number: os.stat_result((plain(number).st_mode | 0o077, *plain(number)[1:])))  # fmt: skip
    with pytest.raises(OutputError, match="keeps nothing from other users"):
        make(tmp_path / "keys", "--name", "localhost")
    assert content(tmp_path / "keys") == {}


def test_tokens(made):
    tokens = Tokens(made / "tokens.txt", warn=pytest.fail)
    own = [read_token(str(made / "devices" / f"{name}-token.txt")) for name in ("cam-1", "cam-2")]
    assert [tokens.client_of(f"Bearer {token}") for token in own] == ["cam-1", "cam-2"]
    assert all(len(token) == 43 for token in own)


def test_again_adds_and_keeps(own, capsys):
    before = content(own)
    assert make(own, "--name", "LOCALHOST", "--name", "::1", "--name", "127.0.0.1", "--device", "cam-1", "--device", "cam-3") == 0  # fmt: skip
    after = content(own)
    tokens = after.pop("tokens.txt")
    assert tokens.startswith(before.pop("tokens.txt") + b"cam-3: ")
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"devices/cam-3.pem", "devices/cam-3-key.pem", "devices/cam-3-token.txt"}
    said = capsys.readouterr().out
    assert f"kept  {own / 'host.pem'}, host-key.pem: for localhost, 127.0.0.1, ::1, until " in said
    assert f"kept  {own / 'devices' / 'cam-1.pem'}" in said
    assert handshake(server_context(own), client_context(own, certificate="devices/cam-3", key="devices/cam-3-key")) == "cam-3"  # fmt: skip


def test_what_it_prints(tmp_path, capsys):
    folder = tmp_path / "keys"
    make(folder, "--name", "edge.example", "--device", "cam-1")
    said = capsys.readouterr().out
    assert "--tls-cert host.pem --tls-key host-key.pem --client-ca ca.pem --token-file tokens.txt\n" in said
    assert "--host https://edge.example:8443 --ca-file ca.pem --cert-file cam-1.pem --key-file cam-1-key.pem --token-file cam-1-token.txt\n" in said  # fmt: skip
    assert (folder / "devices" / "cam-1-token.txt").read_text().strip() not in said
    make(tmp_path / "other", "--name", "fd00::1")
    said = capsys.readouterr().out
    assert "--client-ca" not in said
    assert "add --device NAME" in said


def test_the_printed_lines_work(own, capsys):
    """A host and a device as processes, started as printed; then the device's token is revoked."""
    make(own, "--device", "cam-1", "--device", "cam-2")
    host_line, device_line = re.findall(r"defq ((?:serve|run) .*)", capsys.readouterr().out)[:2]
    common = {"env": {**os.environ, "PYTHONPATH": str(ROOT)}, "text": True, "stderr": subprocess.PIPE, "stdout": subprocess.PIPE}  # fmt: skip
    start = [sys.executable, "-m", "device.commands.defq"]
    host_line = host_line.replace("BUNDLE", str(DATA / "tiny_bundle")).replace("8443", "0")
    host = subprocess.Popen([*start, *shlex.split(host_line)], cwd=own, **common)
    try:
        port = re.search(r"https://0\.0\.0\.0:(\d+)", host.stdout.readline()).group(1)
        device_line = device_line.replace("BUNDLE", str(DATA / "tiny_bundle")).replace("8443", port)
        device_line = device_line.replace("URI", f"npz:{DATA / 'frames.npz'}") + " --require-host --jsonl - --defq off"
        shutil.copy(own / "ca.pem", own / "devices")
        command = [*start, *shlex.split(device_line)]
        done = subprocess.run(command, cwd=own / "devices", **common, timeout=30)
        sources = {json.loads(line)["source"] for line in done.stdout.splitlines()}
        assert (done.returncode, "host" in sources, "fallback" in sources) == (0, True, False), done.stderr
        make(own, "--revoke", "cam-1")

        def is_refused():
            again = subprocess.run(command, cwd=own / "devices", **common, timeout=30)
            return (again.returncode, "refused the token of cam-1-token.txt" in again.stderr) == (5, True)

        until(is_refused, 30)
    finally:
        host.terminate()
        errors = host.communicate(timeout=10)[1]
    assert "Traceback" not in errors


def test_other_names_need_renew(own):
    before = content(own)
    with pytest.raises(UsageError, match=r"host.pem for localhost, 127.0.0.1, ::1 already, not edge.example; .* add --renew"):  # fmt: skip
        make(own, "--name", "edge.example")
    assert content(own) == before
    make(own, "--name", "edge.example", "--renew")
    assert {name for name, data in content(own).items() if data != before[name]} == {"host.pem", "host-key.pem"}
    assert handshake(server_context(own), client_context(own), "edge.example") == "cam-1"


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


def look(tokens):
    """A file that has changed is read at the second look, if it rests by then."""
    for _ in range(2):
        tokens.client_of("")


def test_a_token_is_rotated_then_retired(own, monkeypatch):
    monkeypatch.setattr("host.credentials.tokens.CHECK_S", 0.0)
    tokens = Tokens(own / "tokens.txt", warn=pytest.fail)
    old, other = (read_token(str(own / "devices" / f"{name}-token.txt")) for name in ("cam-1", "cam-2"))
    make(own, "--rotate", "cam-1")
    new = read_token(str(own / "devices" / "cam-1-token.txt"))
    look(tokens)
    assert [tokens.client_of(f"Bearer {token}") for token in (old, new, other)] == ["cam-1", "cam-1", "cam-2"]
    make(own, "--retire", "cam-1")
    look(tokens)
    assert [tokens.client_of(f"Bearer {token}") for token in (old, new, other)] == [None, "cam-1", "cam-2"]


def test_revoked_tokens_are_refused_the_last_one_too(own, monkeypatch):
    monkeypatch.setattr("host.credentials.tokens.CHECK_S", 0.0)
    tokens = Tokens(own / "tokens.txt", warn=pytest.fail)
    both = [read_token(str(own / "devices" / f"{name}-token.txt")) for name in ("cam-1", "cam-2")]
    make(own, "--revoke", "cam-1")
    look(tokens)
    assert [tokens.client_of(f"Bearer {token}") for token in both] == [None, "cam-2"]
    make(own, "--revoke", "cam-2")
    look(tokens)
    assert [tokens.client_of(f"Bearer {token}") for token in both] == [None, None]
    make(own, "--rotate", "cam-2")
    again = read_token(str(own / "devices" / "cam-2-token.txt"))
    look(tokens)
    assert tokens.client_of(f"Bearer {again}") == "cam-2"
    assert len((own / "tokens.txt").read_text().splitlines()) == 1


def test_tokens_change_without_the_authority(own):
    for name in ("ca.pem", "ca-key.pem"):
        (own / name).unlink()
    make(own, "--rotate", "cam-1", "--retire", "cam-1", "--revoke", "cam-2")
    assert len((own / "tokens.txt").read_text().splitlines()) == 1


def test_other_lines_mode_and_owner_of_the_token_file_stay(own):
    file = own / "tokens.txt"
    file.write_bytes(b"# cam\xc3\xa9ras\n\n" + file.read_bytes() + b"a-token-without-a-name\n")
    file.chmod(0o640)
    owner = 0
    if os.geteuid() == 0:
        owner = 4321
        os.chown(file, owner, owner)
    make(own, "--revoke", "cam-1")
    lines = file.read_bytes().splitlines()
    assert (lines[:2], lines[3], len(lines)) == ([b"# cam\xc3\xa9ras", b""], b"a-token-without-a-name", 4)
    assert lines[2].startswith(b"cam-2: ")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    if owner:
        assert (file.stat().st_uid, file.stat().st_gid) == (owner, owner)


@pytest.mark.parametrize("option", ["--rotate", "--retire", "--revoke"])
def test_tokens_of_a_stranger(own, option):
    before = content(own)
    with pytest.raises(UsageError, match="found no (device|token of) cam-9"):
        make(own, option, "cam-9")
    assert content(own) == before


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


@pytest.mark.parametrize("name", ["", ".", "..", "../cam", "a/b", "-a", "_a", "a b", "a:b", "caf\u00e9", "a" * 65, "cam-key", "a\n"])  # fmt: skip
def test_bad_device_names(own, name):
    before = content(own)
    with pytest.raises(UsageError, match="found the device name "):
        make(own, f"--device={name}")
    assert content(own) == before


@pytest.mark.parametrize("days", ["0", "-1", "3651", "1000000000000"])
def test_absurd_days(tmp_path, days):
    with pytest.raises(UsageError, match=f"found --days {days}; expected a whole number from 1 to 3650"):
        make(tmp_path / "keys", "--name", "localhost", "--days", days)
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("options", [["--device", "cam-1"], ["--revoke", "cam-1"], ["--renew"], []])
def test_no_folder_yet(tmp_path, options):
    with pytest.raises(UsageError, match="found no folder .*; expected one that this command made, or --name"):
        make(tmp_path / "keys", *options)
    assert not (tmp_path / "keys").exists()


def test_an_empty_folder_without_a_name(tmp_path):
    (tmp_path / "keys").mkdir(mode=0o700)
    with pytest.raises(UsageError, match="found no authority in .*; expected one, or --name"):
        make(tmp_path / "keys", "--device", "cam-1")


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


@pytest.mark.parametrize("gone", ["ca.pem", "ca-key.pem", "host.pem", "host-key.pem", "devices/cam-1.pem", "devices/cam-1-key.pem", "devices/cam-1-token.txt"])  # fmt: skip
def test_half_of_what_belongs_together(own, gone):
    (own / gone).unlink()
    before = content(own)
    with pytest.raises(InputError, match=f"without {Path(gone).name}; expected all of .* or none"):
        make(own, "--device", "cam-1")
    assert content(own) == before


def test_a_damaged_token_file(own):
    (own / "tokens.txt").write_bytes(b"cam-1: short\n")
    with pytest.raises(UsageError, match="found a token of 5 characters in line 1"):
        make(own, "--rotate", "cam-1")
    assert (own / "tokens.txt").read_bytes() == b"cam-1: short\n"


def test_folders_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="found a file at .*file; expected a folder"):
        make(tmp_path / "file", "--name", "localhost")
    with pytest.raises(OutputError, match="could not write .*; expected a folder"):
        make(tmp_path / "file" / "keys", "--name", "localhost")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(OutputError, match="found that other users may write into .*; run: chmod 700"):
        make(tmp_path / "open", "--name", "localhost")
    assert content(tmp_path / "open") == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_ours(tmp_path):
    (tmp_path / "keys").mkdir(mode=0o500)
    with pytest.raises(OutputError, match=r"could not write .* \(Permission denied\)"):
        make(tmp_path / "keys", "--name", "localhost")


def test_a_link_in_the_place_of_a_file_is_not_followed(own, tmp_path):
    (tmp_path / "aim").write_text("untouched")
    (own / "devices" / "cam-3-token.txt").symlink_to(tmp_path / "aim")
    with pytest.raises((InputError, OutputError), match="cam-3"):
        make(own, "--device", "cam-3")
    assert (tmp_path / "aim").read_text() == "untouched"


def test_one_at_a_time(own):
    before = content(own)
    descriptor = os.open(own, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="found another defq keys at work"):
            make(own, "--device", "cam-3")
    finally:
        os.close(descriptor)
    assert content(own) == before
    assert make(own, "--device", "cam-3") == 0
