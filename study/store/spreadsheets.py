"""CSV that spreadsheets open safely: text from a store or from data stays text and becomes no formula."""

from typing import Any

import pandas as pd

BEGINNINGS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Of formulas, also in full width."""
CONTROLS = ("\t", "\r", "\n")


def to_csv(frame: pd.DataFrame) -> bytes:
    """RFC 4180 in UTF-8, with empty fields for nulls and times in UTC; a text that would be a formula has a `'` first.

    Numbers stay as they are, also where they are written as text. Lines end in CRLF: else a CR in a text would not be
    quoted, and what follows it would be a row.
    """
    plain = frame.map(harmless)
    plain.columns = frame.columns.map(harmless)
    text = plain.to_csv(index=False, lineterminator="\r\n", date_format="%Y-%m-%dT%H:%M:%S.%f%z")
    return text.encode()


def harmless(cell: Any) -> Any:
    """A cell, with a `'` before it if it is a text that a spreadsheet would compute."""
    if not isinstance(cell, str) or not (cell.startswith(CONTROLS) or cell.lstrip().startswith(BEGINNINGS)):
        return cell
    return cell if _is_number(cell) else f"'{cell}"


def _is_number(text: str) -> bool:
    if not text.isascii() or text != text.strip() or "_" in text:
        return False
    try:
        float(text)
    except ValueError:
        return False
    return True
