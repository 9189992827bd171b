"""What is in a kit, that its hashes are right, and that it is the same kit when it is built again."""

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

import device
from device.bundle.reader import load_bundle, pack_bundle
from device.errors import BundleError, OutputError, UsageError
from device.system.version import COMMIT_FILE, known_commit
from export.commands.kit import add_arguments
from export.commands.kit import run as run_kit
from export.kit.archive import kit_files, write_kit
from export.kit.boards import BOARDS, JETPACK4_ON_X86
from tests.kit.conftest import TINY, run, write_wheel

ROOT = Path(__file__).parents[2]


def arguments(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


@pytest.fixture
def files(board, wheels):
    return kit_files(TINY, board, wheels)


def test_everything_is_there_and_nothing_else(files, wheels):
    expected = {"README.txt", "SHA256SUMS", "install.sh", "kit.env", "kit.json", "requirements.txt", "uninstall.sh"}
    expected |= {f"templates/{name}" for name in ("defq.rules", "defq.service", "defq.sh", "device.conf", "service.sh")}
    expected |= {f"wheels/{wheel.name}" for wheel in wheels}
    expected |= {f"bundle/{name.name}" for name in TINY.iterdir()}
    for folder in ("device", "tables"):
        inside = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        expected |= {str(path.relative_to(ROOT)) for path in inside}
    expected |= {f"device/{COMMIT_FILE}"} if known_commit() else set()
    assert set(files) == expected
    assert files["device/bundle/reader.py"] == (ROOT / "device" / "bundle" / "reader.py").read_bytes()


def test_manifest_and_sums_name_every_file(files, board):
    about = json.loads(files["kit.json"])
    assert (about["board"], about["python"], about["bundle"]["id"]) == ("here", board.python, load_bundle(TINY).id)
    assert about["versions"]["numpy"] == "1.0"
    assert about["versions"]["sdn-edge-defq"] == device.__version__
    assert set(about["files"]) == set(files) - {"kit.json", "SHA256SUMS"}
    for name, stated in about["files"].items():
        assert stated == {"sha256": hashlib.sha256(files[name]).hexdigest(), "bytes": len(files[name])}
    sums = dict(reversed(line.split("  ")) for line in files["SHA256SUMS"].decode().splitlines())
    assert sums == {name: hashlib.sha256(files[name]).hexdigest() for name in files if name != "SHA256SUMS"}


def test_the_same_kit_is_the_same_bytes(files, board, wheels, tmp_path):
    write_kit(files, "kit", tmp_path / "one.tar.gz")
    shutil.copytree(TINY, tmp_path / "bundle", copy_function=shutil.copyfile)  # other times
    again = kit_files(tmp_path / "bundle", board, wheels)
    write_kit(dict(reversed(again.items())), "kit", tmp_path / "two.tar.gz")
    one = (tmp_path / "one.tar.gz").read_bytes()
    assert one == (tmp_path / "two.tar.gz").read_bytes()
    assert gzip.decompress(one)
    with tarfile.open(fileobj=io.BytesIO(one)) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == sorted(f"kit/{name}" for name in files)
    assert {(member.uid, member.gid, member.mtime) for member in members} == {(0, 0, 315532800)}
    assert {member.name for member in members if member.mode & 0o111} == {"kit/install.sh", "kit/uninstall.sh"}


def test_a_packed_bundle_makes_the_same_kit(files, board, wheels, tmp_path):
    pack_bundle(str(TINY), str(tmp_path / "bundle.tar.gz"))
    assert kit_files(tmp_path / "bundle.tar.gz", board, wheels) == files


def test_the_id_tells_kits_apart(files, board, wheels):
    def name(content):
        return json.loads(content["kit.json"])["id"]

    assert name(files) == name(kit_files(TINY, board, wheels))
    assert name(files) != name(kit_files(TINY, board._replace(source="csi://"), wheels))


@pytest.mark.parametrize("board", [*BOARDS.values(), JETPACK4_ON_X86], ids=lambda board: board.name)
def test_the_pins_of_a_board_fit_its_requirements(board):
    pins = dict(pin.split("==") for pin in board.pins)
    asked = {re.split("[=<>]", line)[0]: line for line in board.requirements}
    assert {"numpy", "onnxruntime", "opencv-python-headless"} <= set(asked)
    assert set(pins) - set(asked) == {"pip"}
    for name, wanted in board.ranges.items():
        assert pins[name] in SpecifierSet(wanted)
    assert set(board.from_system.values()) <= set(pins)
    newest = int(board.glibc.split(".")[1])
    assert f"manylinux_2_{newest}_{board.machine}" in board.platforms
    assert f"manylinux_2_{newest + 1}_{board.machine}" not in board.platforms
    assert f"manylinux2014_{board.machine}" in board.platforms
    assert all(word.count("=") == 1 for word in board.environment)


def test_picamera2_of_bookworm_gets_no_numpy_2():
    assert not any(line.startswith("numpy") and "<2" not in line for line in BOARDS["pi-bookworm"].requirements)
    assert BOARDS["jetson-nano"].abis[0] == "cp36m"
    assert "OPENBLAS_CORETYPE=ARMV8" in BOARDS["jetson-nano"].environment


def test_texts_are_filled_in(files, tmp_path):
    assert b"@" not in files["README.txt"]
    assert b"the machine of the tests" in files["README.txt"]
    (tmp_path / "kit.env").write_bytes(files["kit.env"])
    assert run("sh", "-c", ". ./kit.env && echo $TITLE", cwd=tmp_path).stdout == "the machine of the tests\n"


@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "busybox"])
@pytest.mark.parametrize("name", ["install.sh", "uninstall.sh", "defq.sh", "service.sh"])
def test_scripts_are_shell(shell, name):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    words = [shell, "sh"] if shell == "busybox" else [shell]
    assert run(*words, "-n", ROOT / "export/kit/templates" / name).returncode == 0


def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    board = BOARDS["jetson-nano"]
    for pin in board.pins:
        write_wheel(tmp_path / "wheels", *pin.split("=="))
    out = tmp_path / "kits" / "kit.tar.gz"
    words = ["--bundle", TINY, "--board", "jetson-nano", "--wheels", tmp_path / "wheels", "--out", out]
    assert run_kit(arguments(*words)) == 0
    said = capsys.readouterr().out
    assert f"wrote {out}" in said
    assert "sudo ./defq-jetson-nano-tiny-split2-" in said
    with tarfile.open(out) as archive:
        folders = {member.name.split("/")[0] for member in archive}
    assert folders == {"defq-jetson-nano-" + load_bundle(TINY).id}
    assert os.listdir(tmp_path / "kits") == ["kit.tar.gz"]


def test_an_unknown_board_is_told_the_known_ones():
    with pytest.raises(
        UsageError, match="found board 'pi'; expected one of pi-bookworm, pi-trixie, jetson-nano, orin-jp6"
    ):
        run_kit(arguments("--bundle", TINY, "--board", "pi"))
    with pytest.raises(UsageError, match=r"; did you mean pi-trixie\?$"):
        run_kit(arguments("--bundle", TINY, "--board", "pi-trixi"))
    with pytest.raises(UsageError, match="found no bundle; expected the folder of one, as in: make flash-kit"):
        run_kit(arguments("--bundle", "", "--board", "pi-bookworm"))


def test_bundles_that_cannot_be_flashed(board, wheels, bundle_folder):
    with pytest.raises(BundleError, match="found no bundle at"):
        run_kit(arguments("--bundle", bundle_folder / "none", "--board", "pi-bookworm"))
    with (bundle_folder / "tail.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleError, match=r"tail\.onnx of bundle .*the file was changed"):
        kit_files(bundle_folder, board, wheels)


@pytest.fixture
def bundle_folder(tmp_path):
    return Path(shutil.copytree(TINY, tmp_path / "bundle"))


def test_an_archive_that_cannot_be_written(files, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not write the kit to"):
        write_kit(files, "kit", tmp_path / "file" / "kit.tar.gz")
    with pytest.raises(UsageError, match="found a folder at"):
        run_kit(arguments("--bundle", TINY, "--board", "pi-bookworm", "--out", tmp_path))


def test_one_sentence_and_an_exit_code():
    done = subprocess.run(
        [sys.executable, "-m", "export", "kit", "--bundle", "nowhere", "--board", "pi-bookworm"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.startswith("error: found no bundle at nowhere")
    assert done.stderr.count("\n") == 1
