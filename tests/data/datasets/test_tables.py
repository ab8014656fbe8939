"""Tables and lists as they come. Run: pytest tests/data/datasets/test_tables.py."""

from pathlib import Path

import pytest

from data.datasets.tables import read_lines, read_table
from data.errors import ManifestError


def write(folder: Path, text: str) -> Path:
    path = folder / "table"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "a\tb\n1\tx, y\n2\tz\n",
        '"a"\t"b"\r\n"1"\t"x, y"\r\n\r\n"2"\t"z"\r\n',
        '\ufeffa,b\n1,"x, y"\n2, z\n,\n',
        '\ufeffa;b\r\n1;x, y\r\n2;"z"\r\n',
    ],
)
def test_tabs_commas_or_semicolons_quotes_or_none_and_either_line_end_give_the_same_rows(tmp_path, text):
    table = read_table(write(tmp_path, text), required=("a", "b"))
    assert [cells for _, cells in table.rows] == [("1", "x, y"), ("2", "z")]
    assert [record for _, record in table.records()] == [{"a": "1", "b": "x, y"}, {"a": "2", "b": "z"}]


def test_a_row_is_called_by_the_line_it_begins_on(tmp_path):
    path = write(tmp_path, 'a,b\n1,"two\nlines"\n2,z\n')
    assert [where for where, _ in read_table(path, required=()).records()] == [f"{path}:2", f"{path}:4"]


def test_a_ragged_table_goes_on_beyond_its_columns_and_another_may_not(tmp_path):
    path = write(tmp_path, "a\tb\n1\tx\ty\tz\n")
    assert read_table(path, required=(), ragged=True).rows == ((2, ("1", "x", "y", "z")),)
    with pytest.raises(ManifestError, match="table:2: found 4 values; the header names 2 columns"):
        read_table(path, required=())


def test_a_lone_quote_in_a_title_is_a_letter_but_one_left_open_among_commas_is_refused(tmp_path):
    rows = read_table(write(tmp_path, 'a\tb\n1\tthe 12" mix\n'), required=()).rows
    assert rows == ((2, ("1", 'the 12" mix')),)
    with pytest.raises(ManifestError, match="table:3: not a table: unexpected end of data; close each quote"):
        read_table(write(tmp_path, 'a,b\n1,"left open\n2,x\n'), required=())


@pytest.mark.parametrize("text", ["", "x,y\n"])
def test_the_column_that_is_lacking_is_named(tmp_path, text):
    with pytest.raises(ManifestError, match="table:1: lacks the column 'a' and 1 more that it needs; found"):
        read_table(write(tmp_path, text), required=("a", "b"))


@pytest.mark.parametrize("separator", ["\t", ",", ";", "|"])
def test_of_a_header_of_many_columns_a_message_shows_the_first(tmp_path, separator):
    path = write(tmp_path, separator.join(f"a long name of column {number}" for number in range(190)) + "\n")
    with pytest.raises(ManifestError, match="they go by tabs, commas or semicolons") as failure:
        read_table(path, required=("a",))
    assert len(str(failure.value)) < len(str(path)) + 250


def test_lines_that_are_blank_are_passed_over_and_counted(tmp_path):
    path = write(tmp_path, "\ufeffone\r\n\r\n  two \r\n")
    assert read_lines(path) == [(f"{path}:1", "one"), (f"{path}:3", "two")]
