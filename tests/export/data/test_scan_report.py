"""What a scan of photographs tells."""

from export.data.scan import scan_folder
from export.data.scan_report import escaped, lines, page
from tests.export.data.photographs import write


def test_names_of_classes_cannot_break_the_page(tmp_path):
    for name in ("a|b", "[x](y)", "*z*"):
        write(tmp_path / name, 12)
    scan = scan_folder(tmp_path, (96, 96))
    rows = [line for line in page(scan).splitlines() if line.startswith("|")]
    assert rows[0].count("|") == 7
    assert {row.replace("\\|", "").count("|") for row in rows[:6]} == {7}
    assert "\\[x](y)" in page(scan)
    assert any("a|b" in line for line in lines(scan)[0].splitlines())


def test_what_was_not_found_is_one_sentence(tmp_path):
    for name in ("cup", "bowl"):
        write(tmp_path / name, 12)
    (tmp_path / "cup" / "list.csv").write_text("mine")
    text = page(scan_folder(tmp_path, (8, 8)))
    assert "Not found: smaller than 8 x 8; corrupt; the same content within a class" in text
    assert "* suffixes ignored: .csv 1" in text
    assert text.count("\n* ") + text.startswith("* ") == 2


def test_escaped():
    assert escaped("a_b`c`<d>|") == "a\\_b\\`c\\`\\<d>\\|"
