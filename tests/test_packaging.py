"""What ``pip install .`` installs, and that pyproject.toml says the same as the requirements files."""

import importlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import device

try:
    import tomllib
except ImportError:  # Python 3.10; pytest brings it there
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PACKAGES = ("device", "export", "host")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRA = re.compile(r"\[(\w+)\]")


def requirements(name):
    """The requirements of a file by the extra that the comment above them names; those before any such comment under "".

    Returns:
        extra -> set of requirements, without comments.
    """
    found, extras = {}, [""]
    for line in (ROOT / name).read_text().splitlines():
        if line.startswith("#"):
            extras = EXTRA.findall(line) or extras
        elif line.strip() and not line.startswith("-r "):
            for extra in extras:
                found.setdefault(extra, set()).add(line.partition("  #")[0].strip())
    return found


def test_dependencies_are_those_of_the_requirements_files():
    assert requirements("requirements-device.txt") == {"": set(PROJECT["dependencies"])}
    extras = {name: set(listed) for name, listed in PROJECT["optional-dependencies"].items()}
    extras["demo"].remove(f"{PROJECT['name']}[export,host]")
    assert requirements("requirements-host.txt") == extras


def test_the_version_stands_in_one_place():
    assert PROJECT["dynamic"] == ["version"]
    cited = re.findall(r"^version: *\"?([\d.]+)\"?$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited in ([], [device.__version__])


def test_the_command_is_there():
    module, _, name = PROJECT["scripts"]["defq"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The names in a wheel that is built from a copy of this project, and its folder."""
    copy = tmp_path_factory.mktemp("project")
    hidden = shutil.ignore_patterns("__pycache__", ".*")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, copy / name, ignore=hidden)
    for name in ("bench", "tests", "docs"):  # whose modules must not be taken along
        (copy / name).mkdir()
        (copy / name / "__init__.py").write_text("")
    for name in ("models", "tables"):  # without their megabytes
        for file in files_under(name):
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            (copy / file).write_text(file)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    program = "from setuptools import build_meta; print(build_meta.build_wheel('built'))"
    for _ in range(2):  # a second build has no remains of the first
        done = subprocess.run([sys.executable, "-c", program], cwd=copy, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        removed = copy / "device" / "jpeg" / "encoder.py"
        removed.unlink(missing_ok=True)
    return copy / "built" / done.stdout.split()[-1]


def files_under(name):
    return [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / name).rglob("*"))
        if path.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in path.parts[-3:])
    ]


def test_a_wheel_holds_every_file_of_the_packages_and_nothing_else(built):
    assert built.name == f"sdn_edge_defq-{device.__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(built).namelist())
    information = {name for name in names if ".dist-info/" in name}
    expected = {file for name in PACKAGES for file in files_under(name)}
    expected -= {"device/jpeg/encoder.py", "host/README.md"}  # taken away above, and read by nobody but people
    prefix = f"sdn_edge_defq-{device.__version__}.data/data/share/defq/"
    expected |= {prefix + file for name in ("models", "tables") for file in files_under(name)}
    assert names - information == expected
    assert "[console_scripts]\ndefq = device.commands.defq:main" in zipfile.ZipFile(built).read(
        next(name for name in information if name.endswith("entry_points.txt"))).decode()  # fmt: skip


def test_installed_the_shipped_files_are_found(built, tmp_path):
    """As with pip install --target: modules and data files side by side."""
    place = tmp_path / "site"
    data = f"sdn_edge_defq-{device.__version__}.data/data/"
    with zipfile.ZipFile(built) as wheel:
        for name in wheel.namelist():
            target = place / name.removeprefix(data)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(wheel.read(name))
    program = "from export.data.shipped import shipped_folder as of; print(of('models')); print(of('tables'))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=place, capture_output=True, text=True, timeout=60,
        env={"PYTHONPATH": str(place), "PATH": ""},
    )  # fmt: skip
    assert done.stdout.split() == [str(place / "share/defq/models"), str(place / "share/defq/tables")]
