"""What the fault tests share: the programs, the report of their figures, and who is skipped for what reason."""

import json
import os

import numpy as np
import pytest

from tests.faults.link import FAR, Link, missing
from tests.faults.programs import ROOT, Device, Host, check, right, taken_s

FIGURES = ROOT / "build" / "faults.json"
COLUMNS = (
    "fault",
    "frames",
    "edge",
    "host",
    "fallback",
    "back after s",
    "p50 ms",
    "p99 ms",
)  # ms: of the host's answers
RECOVERY_S = 2.0

rows = []


def pytest_collection_modifyitems(items):
    reason = "takes minutes; run with: make faults (TEST_FAULTS=1)"
    for item in items:
        if item.get_closest_marker("long") and "faults" in item.path.parts and not os.environ.get("TEST_FAULTS"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def launch():
    """Start programs of programs.py; those that still run are killed at the end of the test."""
    started = []

    def launch(kind, *arguments, **options):
        started.append(kind(*arguments, **options))
        return started[-1]

    yield launch
    for program in started:
        program.kill()


@pytest.fixture
def line():
    """A link in fresh namespaces, clear until the test changes it."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    link = Link(seed=1)
    yield link
    link.close()


@pytest.fixture
def ends(launch, line):
    """A function that starts a host and a device at the two ends of the line; the host has answered when it is back."""

    def at_ends(*options, **how):
        with line.far_side():
            host = launch(Host, address=FAR)
        with line.near():
            device = launch(Device, host.url, *options, **how)
        device.wait_for("host", 0.0)
        return host, device

    return at_ends


@pytest.fixture
def finish():
    """End a device, check its decisions, and report a row of figures.

    Args of what it gives:
        recovery: seconds from the end of the fault to the first answer of the host.
        since, until: time.monotonic(); the frames that were taken in between go into the row.
    """

    def finish(fault, device, recovery=None, since=0.0, until=np.inf, **more):
        code = device.stop()
        assert code == 0, device.stderr
        assert "Traceback" not in device.stderr
        seen = device.seen()
        check([each.decision for each in seen])
        right([each.decision for each in seen])
        times = taken_s(seen, device.rate)
        found = [each.decision for each, taken in zip(seen, times, strict=True) if since <= taken <= until]
        return add_row(fault, found, recovery, **more)

    return finish


def add_row(fault, decisions, recovery=None, **more):
    """Add a row of decisions to the figures; gives the row."""
    waited = [each["ms"]["host"] for each in decisions if each["source"] == "host"]
    row = {"fault": fault, "frames": len(decisions)}
    row.update({name: sum(each["source"] == name for each in decisions) for name in ("edge", "host", "fallback")})
    row["back after s"] = None if recovery is None else round(recovery, 2)
    for percent in (50, 99):
        row[f"p{percent} ms"] = round(float(np.percentile(waited, percent)), 1) if waited else None
    row.update(more)
    rows.append(row)
    return row


def pytest_terminal_summary(terminalreporter):
    if not rows:
        return
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(rows, indent=1) + "\n")
    notes = any(set(row) - set(COLUMNS) for row in rows)
    terminalreporter.section("figures (also in build/faults.json)")
    terminalreporter.write_line("| " + " | ".join(COLUMNS + (("note",) if notes else ())) + " |")
    terminalreporter.write_line("|" + "---|" * (len(COLUMNS) + notes))
    for row in rows:
        note = "; ".join(
            f"{'' if name == 'note' else name + ' '}{value}" for name, value in row.items() if name not in COLUMNS
        )
        cells = ["" if row.get(name) is None else str(row[name]) for name in COLUMNS] + ([note] if notes else [])
        terminalreporter.write_line("| " + " | ".join(cells) + " |")
