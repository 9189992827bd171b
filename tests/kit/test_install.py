"""install.sh and uninstall.sh on this machine, under a folder of the test: nothing outside of it is touched."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from export.kit.archive import kit_files
from tests.kit.conftest import BORROWED, TINY, listing, run, unpacked, write_wheel

FRAMES = TINY.parent / "frames.npz"
CONFIG = "etc/defq/device.conf"


@pytest.fixture
def kit(make_kit):
    return make_kit()


def releases(root):
    return sorted(path.name for path in (root / "opt/defq/releases").iterdir())


def exits(file):
    return [(line["exit"], line["label_id"]) for line in map(json.loads, file.read_text().splitlines())]


def decided_by_pytorch(bundle_split=2):
    """Exit (the last of the device where none was sure enough) and, for those that left there, label of every frame."""
    with np.load(TINY.parent / "expected.npz") as arrays:
        return [
            (int(exit_), int(label)) if exit_ <= bundle_split else None
            for exit_, label in zip(arrays["exit"], arrays["label"], strict=True)
        ]


def test_the_life_of_an_installation(kit, make_kit, board, install, root, tmp_path):
    done = install(kit)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert f"installed {releases(root)[0]}" in done.stdout
    launcher, config = root / "usr/local/bin/defq", root / CONFIG
    assert config.stat().st_mode & 0o777 == 0o600
    assert f"SOURCE={board.source}\n" in config.read_text()

    # it runs, even where a folder named device lies about
    (tmp_path / "device").mkdir()
    (tmp_path / "device/__init__.py").write_text("raise SystemExit('the wrong one')")
    out = tmp_path / "out.jsonl"
    words = ["--source", f"npz:{FRAMES}", "--defq", "off", "--threads", "1", "--jsonl", out]
    done = run(launcher, "run", "--bundle", root / "opt/defq/current/bundle", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for ours, theirs in zip(exits(out), decided_by_pytorch(), strict=True):
        assert theirs is None or ours == theirs

    # commands of the other parts are known there, but run elsewhere
    done = run(launcher, "train", "--model", "vgg16", cwd=tmp_path)
    assert done.returncode == 4
    assert done.stderr.startswith("error: found the command train, which runs on a workstation, but not ")
    assert run(launcher, "--version", cwd=tmp_path).stdout.startswith("defq ")

    # as the service: the settings become options
    expected = exits(out)
    settings = {"SOURCE": f"npz:{FRAMES}", "DEFQ": "off", "JSONL": str(tmp_path / "2.jsonl"), "HOST": "", "RAD": ""}
    settings.update(CEILING="0.5,0.1", CEILING_BYTES="20k/s", OPTIONS="--threads 1 --frames 7")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0defq-test-{os.getpid()}")
        systemd.settimeout(5)
        settings["NOTIFY_SOCKET"] = f"@defq-test-{os.getpid()}"
        done = run(root / "opt/defq/service.sh", env={"PATH": os.environ["PATH"], **settings})
        assert done.returncode == 0, done.stderr
        assert {systemd.recv(100), systemd.recv(100)} == {b"READY=1", b"WATCHDOG=1"}
    assert exits(tmp_path / "2.jsonl") == expected[:7]

    # a second time: nothing changes, and the settings stay
    config.write_text("SOURCE=csi://\n")
    before = listing(root / "opt/defq/releases")
    done = install(kit)
    assert done.returncode == 0, done.stderr
    assert "is installed already" in done.stdout
    assert "kept the settings" in done.stdout
    assert listing(root / "opt/defq/releases") == before
    assert config.read_text() == "SOURCE=csi://\n"

    # damaged, or cut off by a kill: made whole
    release = (root / "opt/defq/current").resolve()
    (release / "complete").unlink()  # the last thing that is written
    (release / "device/commands/cli.py").unlink()
    assert install(kit).returncode == 0
    assert (release / "complete").is_file()
    assert (release / "device/commands/cli.py").is_file()
    assert releases(root) == [release.name]

    # a newer kit takes its place
    old = releases(root)
    assert install(make_kit(board._replace(source="csi://"))).returncode == 0
    assert len(releases(root)) == 1
    assert releases(root) != old
    assert (root / "opt/defq/current").resolve().name == releases(root)[0]
    assert config.read_text() == "SOURCE=csi://\n"

    # and goes again
    done = run("sh", root / "opt/defq/uninstall.sh", "--root", root, "--yes", "--purge")
    assert done.returncode == 0, done.stderr
    assert list(root.rglob("*")) == []


@pytest.fixture
def broken(make_kit, wheels, tmp_path):
    """A kit with a wheel that asks for one that is not there."""
    folder = tmp_path / "broken"
    folder.mkdir()
    for wheel in wheels:
        shutil.copy(wheel, folder)
    write_wheel(folder, "onnxruntime", "1.0", needs=["absent"])
    return make_kit(wheels=sorted(folder.glob("*.whl")))


def test_a_failed_installation_is_taken_back(broken, install, root):
    root.mkdir()
    done = install(broken)
    assert done.returncode == 3
    assert "No matching distribution found for absent" in done.stderr
    assert "error: pip could not install the wheels of the kit" in done.stderr
    assert "taking back what was done" in done.stderr
    assert list(root.rglob("*")) == []


def test_what_was_there_before_stays_when_a_newer_kit_fails(kit, broken, install, root):
    assert install(kit).returncode == 0
    before = listing(root)
    assert install(broken).returncode == 3
    assert listing(root) == before

    (root / "etc/udev/rules.d/99-defq.rules").unlink()  # fails late: nearly everything is in its place
    (root / "etc/udev/rules.d").rmdir()
    (root / "etc/udev/rules.d").write_text("")
    (root / "opt/defq/current/device/commands/cli.py").write_text("")  # has to be made again, too
    before = listing(root)
    assert install(kit).returncode == 1
    assert listing(root) == before


def test_a_program_that_does_not_start_is_taken_back(make_kit, board, wheels, install, root, tmp_path):
    folder = tmp_path / "stubs"
    folder.mkdir()
    for wheel in wheels:
        shutil.copy(wheel, folder)
    write_wheel(folder, BORROWED, "1.0", {"numpy.py": "raise ImportError('built for another NumPy')"})
    done = install(make_kit(wheels=sorted(folder.glob("*.whl"))))
    assert done.returncode == 3
    assert "built for another NumPy" in done.stderr
    assert "error: what was installed does not start" in done.stderr
    assert not root.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_installation_is_taken_back(kit, root, tmp_path, number):
    slow = tmp_path / "slow"
    slow.write_text(f'#!/bin/sh\ncase "$*" in *venv*) sleep 60 ;; *) exec {sys.executable} "$@" ;; esac\n')
    slow.chmod(0o755)
    command = ["sh", str(kit / "install.sh"), "--yes", "--root", str(root), "--python", str(slow)]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    for _ in range(200):
        if (root / "opt/defq/releases").exists() and list((root / "opt/defq/releases").rglob("kit.json")):
            break
        time.sleep(0.05)
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "taking back" in said
    assert not root.exists()


def fake(tmp_path, **answers):
    """A PATH whose commands answer as those of another machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in answers.items():
        (folder / name).write_text("#!/bin/sh\n" + script + "\n")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


GETCONF = 'case $1 in LONG_BIT) echo {bits} ;; *) echo "glibc {glibc}" ;; esac'


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"uname": "echo armv7l"}, "found a processor of type armv7l; expected the machine of the tests"),
        ({"getconf": GETCONF.format(bits=32, glibc="2.36")}, "found a system of 32 bits on a processor of type"),
        ({"getconf": GETCONF.format(bits=64, glibc="2.9")}, "found glibc 2.9, older than 2.17; expected"),
        ({"getconf": "exit 1"}, "found a system of unknown bits"),
    ],
)
def test_another_machine_is_refused(kit, install, root, tmp_path, changes, found):
    done = install(kit, env=fake(tmp_path, **changes))
    assert done.returncode == 4
    assert done.stderr.startswith("error: " + found)
    assert done.stderr.count("\n") == 1
    assert not root.exists()


def test_another_board_is_refused(make_kit, board, install, root):
    kit = make_kit(board._replace(models="Raspberry Pi|Jetson Nano"))
    done = install(kit)
    assert done.returncode == 4
    assert f"error: found a machine without {root}/proc/device-tree/model" in done.stderr
    model = root / "proc/device-tree/model"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"Khadas VIM3\0")
    done = install(kit)
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert done.stderr.startswith("error: found Khadas VIM3; expected the machine of the tests; build the kit")
    model.write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    assert "found no terminal to ask at" in install(kit, yes=False).stderr  # it came that far


def test_another_python_is_refused(make_kit, board, install):
    done = install(make_kit(board._replace(python="3.5")))
    assert done.returncode == 4
    assert f"error: found Python {board.python} as {sys.executable}" in done.stderr
    assert "the wheels of this kit need Python 3.5" in done.stderr
    done = install(make_kit(), python="/nowhere/python3")
    assert done.returncode == 4
    assert done.stderr.startswith("error: found no Python as /nowhere/python3")


def test_a_changed_kit_is_refused(kit, install, root):
    with (kit / "device/commands/cli.py").open("a") as file:
        file.write("\n")
    done = install(kit)
    assert done.returncode == 3
    assert done.stderr.startswith("error: found device/commands/cli.py of the kit absent or changed")
    (kit / "device/commands/cli.py").unlink()
    assert "found device/commands/cli.py of the kit absent or changed" in install(kit).stderr
    (kit / "SHA256SUMS").unlink()
    assert "found SHA256SUMS of the kit absent or changed" in install(kit).stderr
    assert not root.exists()


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--fast"], "found option --fast"),
        (["--prefix"], "found --prefix without a value"),
        (["--prefix", "opt"], "found the folder opt; expected an absolute path"),
        (["--prefix", "/a b"], "found the folder /a b; expected an absolute path"),
        (["--prefix", "/"], "found --prefix /; expected a folder of its own"),
        (["--user", "root"], "found --user root; expected an ordinary user"),
        (["--user", "a;b"], "found --user a;b; expected a name"),
    ],
)
def test_wrong_options_are_refused(kit, install, root, options, found):
    done = install(kit, *options)
    assert done.returncode == 2
    assert done.stderr.startswith("error: " + found)
    assert done.stderr.count("\n") == 1
    assert not root.exists()


def test_it_asks_before_it_installs(kit, install, root):
    assert "found no terminal to ask at; expected one, or --yes" in install(kit, yes=False).stderr
    ours, theirs = os.openpty()
    os.write(ours, b"n\n")
    command = ["sh", str(kit / "install.sh"), "--root", str(root), "--python", sys.executable]
    done = subprocess.run(command, stdin=theirs, capture_output=True, text=True, timeout=60)
    os.close(ours)
    os.close(theirs)
    assert done.stdout.endswith("Install? [y/N] ")
    assert (done.returncode, done.stderr) == (1, "error: nothing was installed\n")
    assert not root.exists()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory, board, wheels):
    """An installation of a board with an environment and packages of its own, under another prefix: (prefix, root)."""
    folder = tmp_path_factory.mktemp("elsewhere")
    special = board._replace(
        models="Raspberry Pi",
        environment=("OPENBLAS_CORETYPE=GENERIC", "ORT_DISABLE_TELEMETRY=1"),
        from_system={"json": "onnxruntime", "absent_module": "opencv-python-headless"},
    )
    kit = unpacked(kit_files(TINY, special, wheels), folder / "kit.tar.gz")
    prefix, root = folder / "opt" / "app.1", folder / "root"
    words = ["--yes", "--force", "--root", root, "--prefix", prefix, "--python", sys.executable]
    done = run("sh", kit / "install.sh", *words)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"warning: found a machine without {root}/proc/device-tree/model; the kit is for")
    assert done.stderr.count("\n") == 1
    assert "json is the system's own" in done.stdout
    return prefix, root


def test_what_the_system_has_is_not_installed_again(elsewhere):
    prefix, _ = elsewhere
    packages = next((prefix / "current/venv/lib").glob("python*/site-packages"))
    installed = {path.name for path in packages.glob("*.dist-info")}
    assert installed == {"numpy-1.0.dist-info", "opencv_python_headless-1.0.dist-info"}


def test_the_environment_of_a_board(elsewhere):
    prefix, root = elsewhere
    launcher = (root / "usr/local/bin/defq").read_text()
    assert "\nexport OPENBLAS_CORETYPE=GENERIC ORT_DISABLE_TELEMETRY=1\n" in launcher
    assert f"{prefix}/current" in launcher


def test_the_unit_starts_the_service(elsewhere):
    prefix, root = elsewhere
    unit = root / "etc/systemd/system/defq.service"
    lines = unit.read_text().splitlines()
    assert f"ExecStart={prefix}/service.sh" in lines
    assert {"User=defq", "Type=notify", "Restart=always", f"EnvironmentFile={root}/{CONFIG}"} <= set(lines)
    assert "ExecReload=/bin/kill -HUP $MAINPID" in lines  # for log rotation
    for text in (unit.read_text(), (prefix / "service.sh").read_text(), (root / CONFIG).read_text()):
        assert re.search("@[A-Z]+@", text) is None
    if shutil.which("systemd-analyze"):
        done = run("systemd-analyze", "verify", unit)
        assert done.returncode == 0, done.stderr
        assert "defq.service" not in done.stderr


def test_settings_and_records_stay_unless_asked_for(kit, install, root):
    assert install(kit).returncode == 0
    (root / "var/lib/defq/decisions.jsonl").write_text("{}\n")
    (root / "opt/defq/mine").write_text("")
    done = run("sh", kit / "uninstall.sh", "--root", root, "--yes")
    assert done.returncode == 0, done.stderr
    left = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert left == {CONFIG, "var/lib/defq/decisions.jsonl", "opt/defq/mine"}
    assert f"left {root}/opt/defq: there are other files in it" in done.stdout
    done = run("sh", kit / "uninstall.sh", "--root", root, "--yes")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert done.stderr.startswith(f"error: found no installation in {root}/opt/defq")


def test_another_prefix_goes_too(elsewhere):
    prefix, root = elsewhere
    assert run("sh", prefix / "uninstall.sh", "--root", root, "--yes", "--purge").returncode == 0
    assert not prefix.parent.exists()
    assert list(root.rglob("*")) == []
