"""Reports as CSV: what is written is read back, and what is no report of this release is refused in one sentence."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from device.errors import DataError
from export.calibration.cost import RADS
from export.evaluation import adaptive, frontier, monitor, paper, transfer
from export.evaluation.csv_file import read_csv, write_csv
from export.evaluation.rows import ConditionRow, MonitorRow, TransferRow

REPORTS = Path(__file__).parents[3] / "reports"
FORMS = {
    "adaptive": ConditionRow,
    "comparison": ConditionRow,
    "frontier": ConditionRow,
    "monitor": MonitorRow,
    "paper": ConditionRow,
    "transfer": TransferRow,
}


@dataclass(frozen=True)
class OwnTableRow:
    """A row of reports/signs/evaluation.csv, which was put together from several calls of defq evaluate."""

    table: str
    attack: str
    defence: str
    images: int
    rad: int
    threshold: float
    t3_er: float
    efcy: float
    accuracy: float
    mean_cost: float


COMMITTED = {**{f"{name}.csv": form for name, form in FORMS.items()}, "signs/evaluation.csv": OwnTableRow}


def test_every_committed_report_has_a_form():
    assert {str(file.relative_to(REPORTS)) for file in REPORTS.rglob("*.csv")} == set(COMMITTED)


@pytest.mark.parametrize("name", COMMITTED)
def test_a_report_that_is_read_and_written_is_the_same_file(name, tmp_path):
    rows = read_csv(REPORTS / name, COMMITTED[name])
    assert rows
    write_csv(rows, tmp_path / "report.csv")
    assert (tmp_path / "report.csv").read_bytes() == (REPORTS / name).read_bytes()


def adaptive_report(rows, title):
    return "\n".join(adaptive.adaptive_report(rows, title, rad) for rad in RADS)


@pytest.mark.parametrize(
    ("name", "report"),
    [
        ("adaptive", adaptive_report),
        ("frontier", frontier.frontier_report),
        ("monitor", monitor.monitor_report),
        ("paper", paper.report),
        ("transfer", lambda rows, _: transfer.transfer_report(rows)),
    ],
)
def test_the_page_beside_a_report_shows_its_rows(name, report):
    rows = read_csv(REPORTS / f"{name}.csv", FORMS[name])
    assert report(rows, "CIFAR-10 test images") == (REPORTS / f"{name}.md").read_text()


def test_cells_have_the_types_of_the_fields():
    row = read_csv(REPORTS / "monitor.csv", MonitorRow)[0]
    assert (row.mix, row.frames, row.attacked_quantised) == (0.0, 3345000, None)
    assert row.exit_histogram == (291155, 942681, 748717, 1362447)
    assert read_csv(REPORTS / "transfer.csv", TransferRow)[0].origin == "vgg16"


def test_no_report_has_no_rows(tmp_path):
    assert read_csv(tmp_path / "none.csv", ConditionRow) == []


LINE = "vgg16,clean,none,8 bit,1000,5,0.77,0.887,0.2564,0.7867,0.593,87 913"
BAD = [
    (LINE.replace("1000", "many"), "could not read images in line 2 of .*: found many; expected a whole number"),
    (
        LINE.replace("1000", "-1"),
        "could not read images in line 2 of .*: found -1; expected a whole number of at least 0",
    ),
    (
        LINE.replace("0.887", "nan"),
        "could not read accuracy in line 2 of .*: found nan; expected a number of at least 0",
    ),
    (LINE.replace("0.887", ""), "could not read accuracy in line 2 of .*: found ''; expected a number"),
    (LINE.replace("87 913", "87;913"), "could not read exit_histogram in line 2 of .*: found 87;913; expected a whole"),
    (LINE.replace("87 913", ""), "could not read exit_histogram in line 2 of .*: found ''; expected a whole number"),
    (LINE + ",1", "found 13 cells in line 2 of .*; expected 12, one for each column; delete the file"),
    ("vgg16", "found 1 cells in line 2 of .*; expected 12"),
    ("", "found 0 cells in line 2 of .*; expected 12"),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_a_cell_that_is_none_of_its_column_is_named(line, message, tmp_path):
    file = tmp_path / "report.csv"
    heading = (REPORTS / "paper.csv").read_text().split("\n", 1)[0]
    file.write_text(f"{heading}\n{line}\n{LINE}\n")
    with pytest.raises(DataError, match=message):
        read_csv(file, ConditionRow)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found the columns of an empty file in .*; expected model,attack,"),
        (b"a,b\n1,2\n", "found the columns a,b in .*; expected model,attack,.*, those of this release; delete it"),
        (b"\xff\xfe\n", "could not read .* (.*utf-8.*); expected the rows of a report"),
        (b"x" * 200_000, "could not read .*field larger than"),
        (b"x" * (17 << 20), "could not read .*bytes, of which at most"),
    ],
    ids=["empty", "other columns", "no text", "one long cell", "too large"],
)
def test_what_is_no_report_is_refused(content, message, tmp_path):
    (tmp_path / "report.csv").write_bytes(content)
    with pytest.raises(DataError, match=message.replace("(", r"\(").replace(")", r"\)")):
        read_csv(tmp_path / "report.csv", ConditionRow)
