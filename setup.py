"""What pyproject.toml cannot say: the commit that a build is made from, and models/ and tables/ as data files.

The data files go to share/defq/ under the environment; export/data/shipped.py finds them there.
"""

import os
import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # a build backend is not started in this folder

from device.system.version import COMMIT_FILE, git_commit  # noqa: E402


class BuildWithCommit(build_py):
    """Builds from an empty folder, and writes the commit for ``defq --version`` into the copy of device/."""

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)  # modules of earlier builds would be packed too
        super().run()
        commit = git_commit(str(ROOT))
        if commit and not self.editable_mode:
            Path(self.build_lib, "device", COMMIT_FILE).write_text(commit + "\n", encoding="ascii")


def data_files() -> list[tuple[str, list[str]]]:
    """Every folder of models/ and tables/ with its files, as setuptools takes them."""
    found = []
    for name in ("models", "tables"):
        for folder, _, files in sorted(os.walk(ROOT / name)):
            place = Path(folder).relative_to(ROOT)
            shipped = [str(place / file) for file in sorted(files) if not file.startswith(".")]
            found.append((f"share/defq/{place.as_posix()}", shipped))
    return found


setup(cmdclass={"build_py": BuildWithCommit}, data_files=data_files())
