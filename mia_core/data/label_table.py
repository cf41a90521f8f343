"""Tables of labels: CSV files as people and spreadsheets save them, read strictly, whatever their separator is."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mia_core.data.disguises import HEAD_BYTES, disguise
from mia_core.data.spelling import form
from mia_core.errors import Refused, shorten
from mia_core.opening import MEBIBYTE, read_regular
from mia_core.settings import nearest

TABLE_BYTES = 256 * MEBIBYTE
"""A larger table of labels is refused: millions of rows."""
SEPARATORS = (",", ";", "\t", "|")
LINE_END = re.compile(r"[\r\n]")
HEADER_CHARACTERS = 2**16
WINDOWS = "cp1252"
"""Western European Windows, as its spreadsheets save a CSV file unless asked for UTF-8; it has all of Latin-1."""


@dataclass(frozen=True)
class Table:
    """rows: by column, as they are written. numbers: of the rows, as a spreadsheet counts them. notes: a line each."""

    rows: list[dict[str, str]]
    numbers: list[int]
    notes: tuple[str, ...] = ()


def read_table(
    path: Path, columns: Sequence[str], setting: str = "data.labels", named_by: Mapping[str, str] | None = None
) -> Table:
    """A CSV file with a header, in UTF-8, UTF-16 or Windows-1252, separated by comma, semicolon, tab or bar.

    setting: that names the table, for refusals. named_by: settings that name columns, by column. Refused when it cannot
    be read, when one of the columns is missing or there twice, when a row has no value there, and when a row has more
    or fewer cells than the header. Rows without any value are passed over, and so are empty cells beyond the header.
    """
    found = _read(path, columns, setting)
    header = found.header
    _check_header(f"{setting}: {path}", header, columns, named_by or {})
    rows, numbers = [], []
    for number, cells in enumerate(found.rows[1:], start=2 + found.skipped):
        if any(cell.strip() for cell in cells):
            rows.append(_row(f"{setting}: {path}, row {number}", header, cells, columns, found.separator))
            numbers.append(number)
    return Table(rows, numbers, found.notes)


def header_of(path: Path) -> list[str]:
    """The columns of a table. Refused when it cannot be read as one."""
    return _read(path, (), "data.labels").header


@dataclass(frozen=True)
class _Cells:
    """rows: from the header on. skipped: lines that stand before it."""

    rows: list[list[str]]
    separator: str
    skipped: int
    notes: tuple[str, ...]

    @property
    def header(self) -> list[str]:
        return [form(name) for name in self.rows[0]] if self.rows else []


def _read(path: Path, columns: Sequence[str], setting: str) -> _Cells:
    try:
        text, notes = _text(read_regular(path, TABLE_BYTES), setting, path.name)
        separator, skipped = _separator(text, columns)
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))[skipped:]
    except (OSError, UnicodeError, csv.Error) as error:
        raise Refused(f"{setting}: {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return _Cells(rows, separator, skipped, notes)


def _text(data: bytes, setting: str, name: str) -> tuple[str, tuple[str, ...]]:
    """Its text, and what is to be said of its encoding."""
    if words := disguise(data[:HEAD_BYTES]):
        raise Refused(f"{setting}: {name} {words}; a table is a CSV file")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16"), ()
    if b"\x00" in data:
        raise Refused(f"{setting}: {name} is no text, or UTF-16 without a mark at its start; save it as CSV in UTF-8")
    try:
        return data.decode("utf-8-sig"), ()
    except UnicodeDecodeError:
        note = f"{name} is not UTF-8, and was read as Windows-1252 (Latin-1); save it as UTF-8 if names look wrong"
        return data.decode(WINDOWS), (note,)


def _separator(text: str, columns: Sequence[str]) -> tuple[str, int]:
    """What separates cells, by the header, and how many lines stand before that: Excel's `sep=;` may."""
    header = LINE_END.split(text[:HEADER_CHARACTERS], 1)[0]
    if header.lower().startswith("sep=") and len(header) == len("sep=;"):
        return header[-1], 1
    cells = {separator: next(csv.reader([header], delimiter=separator), []) for separator in SEPARATORS}
    # The one by which all columns are there; where none is, what most cells come of is complained of.
    fits = {separator: set(columns) <= set(map(form, found)) for separator, found in cells.items()}
    return max(SEPARATORS, key=lambda separator: (fits[separator], len(cells[separator]))), 0


def _check_header(where: str, header: Sequence[str], columns: Sequence[str], named_by: Mapping[str, str]) -> None:
    for column in columns:
        if column not in header:
            way = f"; name another by {named_by[column]}" if column in named_by else ""
            raise Refused(f"{where} has no column {column!r}{nearest(column, filter(None, header))}{way}")
        if header.count(column) > 1:
            raise Refused(f"{where} has {header.count(column)} columns {column!r}; rename all but one")


def _row(where: str, header: Sequence[str], cells: list[str], columns: Sequence[str], separator: str) -> dict[str, str]:
    short = f": it has {len(cells)} cells, and the header {len(header)}" if len(cells) < len(header) else ""
    for column in columns:
        place = header.index(column)
        if place >= len(cells) or not cells[place].strip():
            raise Refused(f"{where} has no {column}{short}")
    if short or any(cell.strip() for cell in cells[len(header) :]):
        row = shorten(repr(separator.join(cells)), 80)
        raise Refused(
            f"{where} has {len(cells)} cells, and the header {len(header)}: {row}; a value that holds {separator!r} "
            "needs quotes"
        )
    return dict(zip(header, cells, strict=False))
