"""Kits for the machine that the tests run on, with wheels made here: no network."""

import compileall
import importlib.metadata
import platform
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from py_compile import PycInvalidationMode

import pytest

from export.kit.archive import kit_files, write_kit
from export.kit.boards import BOARDS, Board

TINY = Path(__file__).parents[1] / "device" / "data" / "tiny_bundle"
BORROWED = "numpy"  # its wheel lends the new environment the packages of this one
PINS = (f"{BORROWED}==1.0", "opencv-python-headless==1.0", "onnxruntime==1.0")


def write_wheel(folder, name, version, contents=None, needs=()):
    """A wheel as pip takes it. contents: file name -> text, of the package."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    metadata = [
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}",
        *(f"Requires-Dist: {need}" for need in needs),
    ]
    files = {
        **(contents or {}),
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{each},,\n" for each in [*files, f"{info}/RECORD"])
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for each, text in files.items():
            archive.writestr(each, text)
    return wheel


@pytest.fixture(scope="session")
def pip_wheel(tmp_path_factory):
    """pip as it is installed here, as a wheel again."""
    try:
        pip = importlib.metadata.distribution("pip")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("pip is not installed in this environment")
    folder = tmp_path_factory.mktemp("pip")
    for file in pip.files or ():
        if file.suffix != ".pyc" and not str(file).startswith(".."):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(pip.locate_file(file)), folder / file)
    # Python cannot keep what it compiles of a module in an archive: without this every run of pip would start anew
    compileall.compile_dir(folder, quiet=1, legacy=True, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    return Path(shutil.make_archive(str(folder), "zip", folder)).rename(f"{folder}/pip-{pip.version}-py3-none-any.whl")


@pytest.fixture(scope="session")
def board(pip_wheel) -> Board:
    """This machine, as if it were a board."""
    return BOARDS["pi-bookworm"]._replace(
        name="here",
        title="the machine of the tests",
        machine=platform.machine(),
        python="{}.{}".format(*sys.version_info[:2]),
        glibc="2.17",
        models="",
        pins=(*PINS, f"pip=={pip_wheel.name.split('-')[1]}"),
        ranges={},
        source="npz:" + str(TINY.parent / "frames.npz"),
    )


@pytest.fixture(scope="session")
def wheels(tmp_path_factory, pip_wheel):
    folder = tmp_path_factory.mktemp("wheels")
    shutil.copy(pip_wheel, folder)
    for pin in PINS:
        name, _, version = pin.partition("==")
        contents = {"borrowed.pth": sysconfig.get_path("purelib") + "\n"} if name == BORROWED else {}
        write_wheel(folder, name, version, contents)
    return sorted(folder.glob("*.whl"))


def unpack(archive, folder):
    """Unpack with tar, as a person does. Python's own way gives no warning only from 3.10.12 and 3.11.4 on."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["tar", "xzf", archive, "-C", folder], check=True)


def unpacked(files, archive):
    """Write a kit and unpack it beside its archive, as a person does."""
    write_kit(files, "unpacked-" + archive.name, archive)
    unpack(archive, archive.parent)
    return archive.parent / ("unpacked-" + archive.name)


@pytest.fixture
def make_kit(tmp_path, board, wheels):
    """Build a kit for this machine and unpack it."""

    def make(board=board, wheels=wheels, bundle=TINY):
        number = len(list(tmp_path.glob("kit*.tar.gz")))
        return unpacked(kit_files(bundle, board, wheels), tmp_path / f"kit{number}.tar.gz")

    return make


def run(*command, **options):
    return subprocess.run(
        [str(each) for each in command],
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        **options,
    )


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture
def install(root):
    """Run a kit's installer as an ordinary user would, under a folder of the test."""

    def go(kit, *options, python=sys.executable, yes=True, **others):
        words = ["--root", root, "--python", python, *(["--yes"] if yes else []), *options]
        return run("sh", kit / "install.sh", *words, **others)

    return go


def listing(folder):
    """Every path under a folder, with what a link points to or when a file was changed."""
    return {
        str(path.relative_to(folder)): path.readlink()
        if path.is_symlink()
        else path.is_dir() or path.stat().st_mtime_ns
        for path in folder.rglob("*")
    }
