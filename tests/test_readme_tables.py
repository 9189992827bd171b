"""The tables of the documents show the figures of the reports."""

import pytest

from tests import readme_tables
from tests.readme_tables import ROOT, TABLES, filled


@pytest.mark.parametrize("file", TABLES)
def test_the_tables_show_what_the_reports_hold(file):
    assert filled(file) == (ROOT / file).read_text(), "fill them with: python -m tests.readme_tables"


def test_a_table_that_is_gone_is_named(monkeypatch):
    monkeypatch.setitem(TABLES, "README.md", {"| no such heading |": lambda: [["a"]]})
    with pytest.raises(ValueError, match=r"found 0 tables that begin with \| no such heading \| in README.md"):
        filled("README.md")


def test_another_figure_is_another_table(monkeypatch):
    monkeypatch.setitem(TABLES, "docs/defence/monitor.md", {"| | frames between": lambda: [["x", "1"]]})
    assert "\n| x | 1 |\n" in filled("docs/defence/monitor.md")


def test_figures_are_bold_where_a_goal_is_reached():
    assert readme_tables.marked(0.853, True) == "**0.85**"
    assert readme_tables.marked(0.0234, False, 3) == "0.023"
