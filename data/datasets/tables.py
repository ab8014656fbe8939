"""Tables and lists of published sets: headed, quoted or not, perhaps saved again by a spreadsheet."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import ManifestError

_MOST_SHOWN = 120  # characters of a header in a message


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with named columns.

    Attributes:
        rows: the line that each begins on, and its cells without space around them; as many as there are columns, or
            more where the table is ragged.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def records(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Where each row begins, as "path:line", and its cells by column; what exceeds the columns is left out."""
        for line, cells in self.rows:
            yield f"{self.path}:{line}", dict(zip(self.columns, cells, strict=False))


def read_table(path: Path, *, required: Sequence[str], ragged: bool = False) -> Table:
    """Read a table whose first row names its columns, separated by tabs, commas or semicolons.

    Tabs, if that row has one; else what it has more of, since spreadsheets write semicolons where a comma is the
    decimal point. Byte order marks, both kinds of line end and empty lines do no harm; quotes are CSV's.

    Args:
        required: columns that must be there.
        ragged: rows may go on beyond the columns.

    Raises:
        ManifestError: the file is missing or not UTF-8, lacks a column, or a row has another number of cells.
    """
    text = read_text(path)
    head = text.partition("\n")[0]
    separator = "\t" if "\t" in head else max(",;", key=head.count)
    # Programs that write commas also double the quotes inside a cell; titles in tables with tabs may hold lone ones.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=separator != "\t")
    rows = []
    try:
        columns = tuple(name.strip() for name in next(reader, []))
        _check_columns(path, columns, required)
        line = reader.line_num + 1
        for cells in reader:
            if any(cells):
                if len(cells) < len(columns) or (len(cells) > len(columns) and not ragged):
                    found = f"found {len(cells)} values; the header names {len(columns)} columns"
                    raise ManifestError(f"{path}:{line}: {found}; get the table again, or mend the row")
                rows.append((line, tuple(cell.strip() for cell in cells)))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ManifestError(
            f"{path}:{reader.line_num}: not a table: {error}; close each quote, or get it again"
        ) from error
    return Table(path=path, columns=columns, rows=tuple(rows))


def read_lines(path: Path) -> list[tuple[str, str]]:
    """The lines of a list that are not blank, each after where it stands ("path:line").

    Raises:
        ManifestError: the file is missing or not UTF-8.
    """
    lines = enumerate(read_text(path).splitlines(), start=1)
    return [(f"{path}:{number}", line.strip()) for number, line in lines if line.strip()]


def read_text(path: Path) -> str:
    """A whole file of UTF-8 text, without a byte order mark.

    Raises:
        ManifestError: the file is missing or not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        remedy = "; give the file in it" if path.is_dir() else ""
        raise ManifestError(f"{path}: cannot be read: {error.strerror}{remedy}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8, or get it again") from error


def shown(columns: Sequence[str]) -> str:
    """The columns that a table has, for a message: how many, and the first of them, which may be very long."""
    names = ", ".join(columns[:6]) + (", …" if len(columns) > 6 else "")
    return f"{len(columns)} columns: {names if len(names) <= _MOST_SHOWN else names[:_MOST_SHOWN] + '…'}"


def _check_columns(path: Path, columns: tuple[str, ...], required: Sequence[str]) -> None:
    lacking = [name for name in required if name not in columns]
    if lacking:
        what = f"column {lacking[0]!r}" + (f" and {len(lacking) - 1} more that it needs" if len(lacking) > 1 else "")
        raise ManifestError(
            f"{path}:1: lacks the {what}; found {shown(columns)}; they go by tabs, commas or semicolons"
        )
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise ManifestError(f"{path}:1: names the column {twice!r} twice; get the table again")
