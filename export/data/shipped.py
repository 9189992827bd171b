"""Where the folders models/ and tables/ lie that come with this package."""

import sysconfig
from collections.abc import Iterator
from pathlib import Path

PACKAGES = Path(__file__).resolve().parents[2]
"""The repository, or the folder that the package is installed in."""
INSTALLED = "share/defq"
"""Under the root of an environment; setup.py puts both folders there."""


def shipped_folder(name: str) -> Path:
    """``models`` or ``tables``: of the repository around this package, else of the environment that it is installed in.

    Returns:
        the first of these places that exists; the one in the repository where none does, for messages.
    """
    places = list(_places(name))
    return next((place for place in places if place.is_dir()), places[0])


def _places(name: str) -> Iterator[Path]:
    if (PACKAGES / "pyproject.toml").is_file():  # in site-packages a folder models/ may be another package's
        yield PACKAGES / name
    yield Path(sysconfig.get_path("data")) / INSTALLED / name
    for scheme in ("posix_user", "nt_user", "osx_framework_user"):  # pip install --user
        if scheme in sysconfig.get_scheme_names():
            yield Path(sysconfig.get_path("data", scheme)) / INSTALLED / name
    yield PACKAGES / INSTALLED / name  # pip install --target


MODELS = shipped_folder("models")
TABLES = shipped_folder("tables")


def shipped_names() -> tuple[str, ...]:
    """The names of the models whose weights come with this package, sorted."""
    return tuple(sorted(file.stem for file in MODELS.glob("*.safetensors")))
