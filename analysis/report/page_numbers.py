"""The numbers of a page for programs: strict JSON of all its sections, and one flat table.

Both are made after the page, so that their numbers of sources are those of its list.
"""

import json
import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from analysis.report.headline import Sentence
from analysis.report.page import Block, Cell, Choice, Facts, Page, Section, Table, Text
from analysis.report.provenance import Number
from analysis.report.sources import Cited
from study.store.spreadsheets import to_csv

COLUMNS = ("section", "table", "row", "column", "text", "value", "what", "rows", "trials", "source", "again")


def as_json(page: Page) -> bytes:
    """The page without its pictures: sentences, tables and sources; null where there is no number."""
    verdict = page.verdict
    document = {
        "title": page.title,
        "about": page.about,
        "standing": verdict.standing if verdict else None,
        "reasons": list(verdict.reasons) if verdict else [],
        "sentences": [_sentence(page, words) for words in verdict.sentences] if verdict else [],
        "controls": [{"control": one.name, "result": one.words, "standing": one.standing} for one in page.checks],
        "key_numbers": [{"label": tile.label, **_cited(page, tile.big)} for tile in page.tiles],
        "sections": [
            {"id": section.id, "title": section.title, "blocks": [_block(page, one) for one in _shown(section)]}
            for section in page.sections
        ],
        "arms": dict(page.vocabulary.arms),
    }
    document["sources"] = [
        {"number": number, "what": one.what, "table": one.table, "rows": one.rows, "trials": one.trials,
         "select": str(one.selection), "again": str(one.code)}
        for one, number in page.ledger.sources.items()
    ]  # fmt: skip
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def as_csv(page: Page) -> bytes:
    """A row for each number of a table: what it is of, its text and value, and where it comes from."""
    lines: list[list[Any]] = []
    for section in page.sections:
        for table in filter(None, map(_table_of, section.blocks)):
            lines += _lines(page, section, table)
    return to_csv(pd.DataFrame(lines, columns=COLUMNS))


def _lines(page: Page, section: Section, table: Table) -> Iterator[list[Any]]:
    for row in table.rows:
        named = ", ".join(cell.text for cell in row.cells if not cell.number and cell.text)
        for column, cell in zip(table.columns, row.cells, strict=True):
            if cell.number:
                one, shown = cell.number.source, _cell(page, cell)
                yield [section.id, table.id, named, column, shown["text"], shown["value"], one.what, one.rows,
                       one.trials, shown["source"], str(one.code)]  # fmt: skip


def _shown(section: Section) -> list[Block]:
    return [block for block in section.blocks if isinstance(block, Text | Facts) or _table_of(block)]


def _table_of(block: Block) -> Table | None:
    return block if isinstance(block, Table) else block.table if isinstance(block, Choice) else None


def _block(page: Page, block: Block) -> dict[str, Any]:
    table = _table_of(block)
    if table:
        rows = [[_cell(page, cell) for cell in row.cells] for row in table.rows]
        return {"table": table.id, "caption": table.caption, "columns": list(table.columns), "rows": rows}
    if isinstance(block, Facts):
        facts = block.facts.items()
        return {"facts": {name: value if isinstance(value, str) else _cited(page, value) for name, value in facts}}
    assert isinstance(block, Text)
    return _sentence(page, block.words)


def _sentence(page: Page, words: Sentence) -> dict[str, Any]:
    texts = [part if isinstance(part, str) else part.text for part in words]
    return {"text": "".join(texts), "numbers": [_cited(page, part) for part in words if not isinstance(part, str)]}


def _cell(page: Page, cell: Cell) -> dict[str, Any]:
    if cell.number is None:
        return {"text": cell.text}
    found = _cited(page, cell.number)
    return {**found, "value": _finite(cell.value) if found["value"] is None else found["value"]}


def _cited(page: Page, one: Number | Cited) -> dict[str, Any]:
    ends = {}
    value = None
    if isinstance(one, Number):
        value, ends = _finite(one.value), {"low": _finite(one.low), "high": _finite(one.high)}
    return {"text": one.text, "value": value, **ends, "source": page.ledger.cite(one.source)}


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
