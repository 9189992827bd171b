"""Files that commands write."""

from export.data.output import check_writable


def test_asking_whether_a_file_can_be_written_leaves_it_as_it_is(tmp_path):
    check_writable(tmp_path / "new" / "file")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "old").write_text("kept")
    check_writable(tmp_path / "old")
    assert (tmp_path / "old").read_text() == "kept"
