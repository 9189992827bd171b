"""``defq keys`` as a command: what it makes, adds, keeps and prints, and what it refuses."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from device.errors import InputError, UsageError
from tests.host.credentials.folders import DATA, ROOT, client_context, content, handshake, make, server_context
from tests.host.waits import until


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


def test_it_prints_how_to_start_host_and_device(tmp_path, capsys):
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


@pytest.mark.parametrize("name", ["", ".", "..", "../cam", "a/b", "-a", "_a", "a b", "a:b", "caf\u00e9", "a" * 65, "cam-key", "a\n"])  # fmt: skip
def test_bad_device_names(own, name):
    before = content(own)
    with pytest.raises(UsageError, match="found the device name "):
        make(own, f"--device={name}")
    assert content(own) == before


@pytest.mark.parametrize("days", ["0", "-1", "3651", "1000000000000"])
def test_numbers_of_days_that_cannot_work_are_refused(tmp_path, days):
    with pytest.raises(UsageError, match=f"found --days {days}; expected a whole number from 1 to 3650"):
        make(tmp_path / "keys", "--name", "localhost", "--days", days)
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("options", [["--device", "cam-1"], ["--revoke", "cam-1"], ["--renew"], []])
def test_adding_to_a_folder_that_is_not_there_is_refused(tmp_path, options):
    with pytest.raises(UsageError, match="found no folder .*; expected one that this command made, or --name"):
        make(tmp_path / "keys", *options)
    assert not (tmp_path / "keys").exists()


def test_an_empty_folder_without_a_name(tmp_path):
    (tmp_path / "keys").mkdir(mode=0o700)
    with pytest.raises(UsageError, match="found no authority in .*; expected one, or --name"):
        make(tmp_path / "keys", "--device", "cam-1")


@pytest.mark.parametrize("gone", ["ca.pem", "ca-key.pem", "host.pem", "host-key.pem", "devices/cam-1.pem", "devices/cam-1-key.pem", "devices/cam-1-token.txt"])  # fmt: skip
def test_half_of_what_belongs_together(own, gone):
    (own / gone).unlink()
    before = content(own)
    with pytest.raises(InputError, match=f"without {Path(gone).name}; expected all of .* or none"):
        make(own, "--device", "cam-1")
    assert content(own) == before
