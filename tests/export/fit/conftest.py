"""What the tests of a fit change in the export is put back after them."""

import pytest

import export.networks
from export.calibration import attacked_images, gate
from export.commands import table as table_command

PREPARED = (
    (export.networks, "__path__"),
    (attacked_images, "PER_SAMPLE"),
    (table_command, "PER_SAMPLE"),
    (gate, "STRONG_RANGES"),
    (gate, "WEAK_RANGES"),
)


@pytest.fixture(autouse=True, scope="package")
def as_before():
    """Other tests see nothing of what small.prepare changes."""
    before = [(place, name, getattr(place, name)) for place, name in PREPARED]
    yield
    for place, name, value in before:
        setattr(place, name, value)
