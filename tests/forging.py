"""Stores made by an enemy: their content is changed, and then sealed anew, so that no checksum tells."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from study.store import Store, files, seals
from study.store.schema import to_parquet

Rows = list[dict[str, Any]]

WHOLE_TRIAL: dict[str, Any] = {
    "dataset": "digits", "target": "dcgan", "split": "panel", "train_size": 40, "steps": 1, "replicate": 0,
    "seconds_train": 1.0, "config": "{}", "versions": "{}", "finished_at": datetime(2026, 1, 1, tzinfo=UTC),
}  # fmt: skip
"""What every row of trials has."""


def rewrite(store: Store, table: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Replace a table in every pass that has it, with markers that say so."""
    for name, marker in store.markers().items():
        for relative in [file for file in marker["files"] if file.startswith(f"{table}/")]:
            data = to_parquet(change(read_parquet(store, relative)))
            (store.folder / relative).write_bytes(data)
            marker["files"][relative] = files.seal(data)
        (store.folder / "done" / f"{name}.json").write_bytes(seals.to_json(marker))


def of_format_3(store: Store) -> None:
    """With markers as they were before they told format, flags and training, so that a row's flags are any text."""
    for name, marker in store.markers().items():
        earlier = {key: value for key, value in marker.items() if key not in ("format", "flags", "training")}
        (store.folder / "done" / f"{name}.json").write_bytes(seals.to_json(earlier))


def diverge(store: Store, trial_id: str) -> None:
    """As if the training of a trial had diverged: nothing was attacked."""
    (name,) = store.passes([trial_id])
    marker = {**store.marker(name), "flags": "diverged"}
    marker["files"] = {file: seal for file, seal in marker["files"].items() if not file.startswith("scores/")}
    for relative in marker["files"]:
        rows = read_parquet(store, relative)
        if relative.startswith("trials/"):
            rows = with_text(rows, "flags", "diverged")
        if relative.startswith("attacks/"):
            rows = with_text(rows, "skipped", "the training diverged")
            for column in [name for name in rows.column_names if pa.types.is_floating(rows.schema.field(name).type)]:
                rows = rows.set_column(rows.column_names.index(column), column, pa.nulls(len(rows), pa.float64()))
        data = to_parquet(rows)
        (store.folder / relative).write_bytes(data)
        marker["files"][relative] = files.seal(data)
    (store.folder / "done" / f"{name}.json").write_bytes(seals.to_json(marker))


def rewrite_design(store: Store, change: Callable[[pa.Table], pa.Table]) -> None:
    """Replace the current design."""
    relative = f"design/{store.pointer()['spec']}.parquet"
    _publish(store, relative, to_parquet(change(read_parquet(store, relative))))


def rewrite_spec(store: Store, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the current spec in place."""
    relative = f"specs/{store.pointer()['spec']}.json"
    spec = json.loads((store.folder / relative).read_bytes())
    change(spec)
    _publish(store, relative, json.dumps(spec).encode())


def rewrite_pointer(store: Store, **changed: Any) -> None:
    """Change study.json."""
    (store.folder / "study.json").write_bytes(seals.to_json({**store.pointer(), **changed}))


def read_parquet(store: Store, relative: str) -> pa.Table:
    """Whatever is there, unchecked."""
    return pa.parquet.read_table(pa.BufferReader((store.folder / relative).read_bytes()))


def with_column(table: pa.Table, name: str, text: str) -> pa.Table:
    """One more column of texts."""
    return table.append_column(name, pa.array([text] * len(table), pa.string()))


def with_text(table: pa.Table, name: str, text: str, where: Callable[[dict[str, Any]], bool] = lambda row: True) -> Any:
    """A text in place of a column's values, in some rows."""
    old = table[name].to_pylist()
    values = [text if where(row) else value for row, value in zip(table.to_pylist(), old, strict=True)]
    return table.set_column(table.column_names.index(name), name, pa.array(values, pa.string()))


def with_json(table: pa.Table, name: str, change: Callable[[dict[str, Any]], None]) -> pa.Table:
    """JSON texts of a column, each changed in place."""
    texts = []
    for text in table[name].to_pylist():
        value = json.loads(text) if text else {}
        change(value)
        texts.append(json.dumps(value))
    return table.set_column(table.column_names.index(name), name, pa.array(texts, pa.string()))


def _publish(store: Store, relative: str, data: bytes) -> None:
    pointer = store.pointer()
    (store.folder / relative).write_bytes(data)
    rewrite_pointer(store, files={**pointer["files"], relative: files.seal(data)})
