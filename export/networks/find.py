"""Finds the networks: every module of this folder that assigns ``SPEC``, a NetworkSpec."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import export.networks
from device.errors import UsageError
from export.data.shipped import shipped_names

if TYPE_CHECKING:
    from export.networks.spec import NetworkSpec  # imports PyTorch, which the names alone do not need

ASSIGNED = re.compile("^SPEC = ", re.MULTILINE)


def network_names() -> tuple[str, ...]:
    """The names of all networks, sorted. Their modules are read, not imported: a help text needs no PyTorch."""
    files = (file for folder in export.networks.__path__ for file in Path(folder).glob("*.py"))
    return tuple(sorted(file.stem for file in files if ASSIGNED.search(file.read_text(encoding="utf-8"))))


def model_names() -> tuple[str, ...]:
    """The names that ``--model`` takes, sorted: those of the networks, and of the models that come with this package."""
    return tuple(sorted({*network_names(), *shipped_names()}))


def network_spec(name: str) -> NetworkSpec:
    """The spec of one network.

    Raises:
        UsageError: there is no such network.
    """
    if name not in network_names():
        raise UsageError(f"found the network {name}; expected one of {', '.join(network_names())}")
    spec: NetworkSpec = importlib.import_module(f"export.networks.{name}").SPEC
    return spec
