"""A study as flat files that any program reads: one Parquet file (and CSV) per table, each row once, one schema."""

import os
from pathlib import Path

import pandas as pd
import pyarrow as pa

from mia_core.errors import Refused
from study.store.outputs import write_output
from study.store.passes import Store
from study.store.reading import read
from study.store.schema import SCHEMAS, TEXT, to_parquet
from study.store.spreadsheets import to_csv

FLAT = ("trials", "quality", "attacks", "history", "wide")
SCORES = "scores"
"""The one table with a row per record."""


def export_flat(store: Store, out: Path, include_records: bool = False, csv: bool = False) -> dict[str, int]:
    """Write `<out>/<table>.parquet` of the tables in FLAT, as `read` gives them; rows by table.

    include_records: `scores` too. csv: `<table>.csv` beside each, see `to_csv`. Files of an earlier export there are
    removed first, also those that this one does not write: scores never stay beside tables that were written without
    them. Refused where `out` is no folder, Damaged for a sealed file whose bytes changed.
    """
    if out.exists() and not out.is_dir():
        raise Refused(f"{out}: is no folder; name one, or a place for a new one")
    tables = (*FLAT, *([SCORES] if include_records else []))
    frames = {table: read(store.root, store.study, table) for table in tables}
    for path in (out / f"{table}.{kind}" for table in (*FLAT, SCORES) for kind in ("parquet", "csv")):
        if os.path.lexists(path):
            path.unlink()
    for table, frame in frames.items():
        write_output(out / f"{table}.parquet", to_parquet(_typed(frame, table)))
        if csv:
            write_output(out / f"{table}.csv", to_csv(frame))
    return {table: len(frame) for table, frame in frames.items()}


def _typed(frame: pd.DataFrame, table: str) -> pa.Table:
    """With the column types of the store, whatever pandas made of them: plain texts, and no column of nulls alone."""
    known = SCHEMAS.get(table) or {**SCHEMAS["attacks"], **SCHEMAS["trials"]}
    found = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    fields = []
    for field in found.schema:
        kind = known.get(field.name, field.type)
        if pa.types.is_large_string(kind) or pa.types.is_dictionary(kind) or pa.types.is_null(kind):
            kind = TEXT
        fields.append(pa.field(field.name, kind))
    return found.cast(pa.schema(fields))
