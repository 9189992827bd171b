"""defq serve as another user: a real process."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from device.errors import UsageError
from host.cli import main
from host.serving.user import found_user
from tests.host.conftest import BUNDLE, ROOT
from tests.host.serving.asking import HOST, ask, get, trusting


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, which alone may become another"
)
def test_the_host_runs_as_the_named_user(own_host, body, tmp_path):
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
