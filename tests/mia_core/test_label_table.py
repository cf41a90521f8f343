"""Tables of labels, as people and spreadsheets save them."""

import pytest

from mia_core.data.label_table import read_table


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "labels.csv cannot be read: No such file"),
        (b"file,lable\na,1\n", "has no column 'label'; did you mean 'lable'"),
        (b"file,label\na,1\nb\n", "row 3 has no label"),
        (b"file,label\na,1\n,2\n", "row 3 has no file"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"", "has no column 'file'"),
    ],
)
def test_a_wrong_table_is_named(tmp_path, text, message):
    if text is not None:
        (tmp_path / "labels.csv").write_bytes(text)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "labels.csv", ("file", "label"))


def test_a_table_saved_by_a_spreadsheet_is_read(tmp_path):
    (tmp_path / "labels.csv").write_bytes(b'\xef\xbb\xbffile,label\r\n"a, b.png",1\r\n')
    assert read_table(tmp_path / "labels.csv", ("file", "label")).rows == [{"file": "a, b.png", "label": "1"}]


def write(tmp_path, text, encoding="utf-8"):
    (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
    return tmp_path / "labels.csv"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=repr)
def test_every_separator_encoding_and_end_of_line_gives_the_same_rows(tmp_path, separator, encoding, end):
    lines = ["file,label", "ä b.png,1", '"c.png",2', ""]
    path = write(tmp_path, end.join(line.replace(",", separator) for line in lines), encoding)
    table = read_table(path, ("file", "label"))
    assert table.rows == [{"file": "ä b.png", "label": "1"}, {"file": "c.png", "label": "2"}]
    assert bool(table.notes) == (encoding == "cp1252")


def test_what_spreadsheets_leave_is_passed_over_and_rows_keep_their_numbers(tmp_path):
    path = write(tmp_path, "sep=;\r\n file ;label;\r\na.png;1;\r\n;;\r\n\r\nb.png;2;;\r\n")
    table = read_table(path, ("file", "label"))
    assert [row["file"] for row in table.rows] == ["a.png", "b.png"]
    assert table.numbers == [3, 6]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file,label\na, b.png,1\n",
            r"row 2 has 3 cells, and the header 2: 'a, b.png,1'; a value that holds ',' needs",
        ),
        ("file,label,age\na.png,1\n", r"row 2 has 2 cells, and the header 3: 'a.png,1'"),
        ("file,label,file\na.png,1,b.png\n", "has 2 columns 'file'; rename all but one"),
        ("file;lable\na.png;1\n", "has no column 'label'; did you mean 'lable'"),
        ("file,label\n,\n  ,1\n", "row 3 has no file"),
        ('file,label\n"a.png,1\nb.png,2\n', "cannot be read: unexpected end of data"),
        ("<!DOCTYPE html>\n<html>", r"is a web page \(HTML\).*; a table is a CSV file"),
        ("version https://git-lfs.github.com/spec/v1\n", "is a Git-LFS pointer.*git lfs pull"),
        ("PK\x03\x04", "is a ZIP archive or an office document; .*; a table is a CSV file"),
    ],
)
def test_a_table_that_may_be_read_wrongly_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_table(write(tmp_path, text), ("file", "label"))


def test_utf_16_without_its_mark_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"UTF-16 without a mark at its start; save it as CSV in UTF-8"):
        read_table(write(tmp_path, "file,label\na,1\n", "utf-16-le"), ("file", "label"))


def test_columns_that_are_not_asked_for_may_be_there_twice(tmp_path):
    path = write(tmp_path, "file,age,age,label\na.png,1,2,x\n")
    assert read_table(path, ("file", "label")).rows[0]["label"] == "x"
