"""Reading a store into pandas: sealed rows only, every byte checked."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from study.store.compactions import sealed_table, valid
from study.store.files import Damaged
from study.store.passes import UNREADABLE, Store
from study.store.schema import KEYS, PASS_TABLES, from_parquet, to_table

TABLES = (*PASS_TABLES, "design", "wide")


def read(root: str | Path, study: str, table: str, all: bool = False) -> pd.DataFrame:
    """Sealed rows of the current design, in its order (`all=True`: of every design, ordered by ids).

    `wide` is one row a trial x attack: trials, quality as `<measure>_<extractor>_<against>`, and the attack's columns.
    Raises ValueError for an unknown table or study and for scores of a public copy, Damaged for a sealed file whose
    bytes changed.
    """
    if table not in TABLES:
        raise ValueError(f"table {table!r} is not one of {', '.join(TABLES)}")
    store = Store(root, study)
    design = _design(store)
    if table == "design":
        return design
    _refuse_scores_of_a_public_copy(store, table)
    names = ("trials", "quality", "attacks") if table == "wide" else (table,)
    passes = store.passes(None if all else design["trial_id"].dropna())
    tables = _sealed(store, names, passes, store.markers())
    frames = [
        found.to_pandas().sort_values(KEYS[name], ignore_index=True)
        if all
        else _current(found.to_pandas(), name, design)
        for name, found in tables
    ]
    return _wide(*frames) if table == "wide" else frames[0]


def _design(store: Store) -> pd.DataFrame:
    relative = f"design/{store.pointer()['spec']}.parquet"
    try:
        return from_parquet(store.published(relative), "design").to_pandas()
    except (OSError, pa.ArrowException):
        raise Damaged(f"{store.uri}/{relative} {UNREADABLE}") from None


def sealed(store: Store, table: str, passes: Iterable[str]) -> pa.Table:
    """Rows of a table, of those passes at least: compacted passes first, each row once."""
    ((_, found),) = _sealed(store, (table,), passes, store.markers())
    return found


def _sealed(
    store: Store, tables: Iterable[str], passes: Iterable[str], markers: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, pa.Table]]:
    """Tables one after the other. markers: all sound ones. Damaged when one of the passes has none."""
    wanted = list(passes)
    for table in tables:
        covered, parts = _compacted(store, table, markers)
        for name in wanted:
            if name not in covered:
                parts += rows_of_pass(store, markers.get(name) or store.marker(name), table)
        yield table, _each_once(parts, table)


def _each_once(parts: Sequence[pa.Table], table: str) -> pa.Table:
    if not parts:
        return to_table(table, [])
    if len(parts) == 1:  # of one pass, or compacted: each row is there once
        return parts[0]
    whole = pa.concat_tables(parts, promote_options="permissive")
    duplicated = whole.select(KEYS[table]).to_pandas().duplicated().to_numpy()
    return whole.filter(pa.array(~duplicated))


def trial_tables(
    store: Store, trial_id: str, names: Sequence[str] = ("trials", "quality", "attacks")
) -> tuple[list[str], dict[str, pd.DataFrame]]:
    """Names of the passes of one trial, and its sealed rows of some tables; ValueError for scores of a public copy."""
    markers = store.every_marker([trial_id])
    tables = {}
    for table in names:
        _refuse_scores_of_a_public_copy(store, table)
        parts = [part for marker in markers.values() for part in rows_of_pass(store, marker, table)]
        tables[table] = pa.concat_tables(parts, promote_options="permissive").to_pandas() if parts else pd.DataFrame()
    return list(markers), tables


def rows_of_pass(store: Store, marker: Mapping[str, Any], table: str) -> list[pa.Table]:
    """What one pass has of a table."""
    files = marker["files"].items()
    return [sealed_table(store.place, item, seal) for item, seal in files if item.startswith(f"{table}/")]


def _refuse_scores_of_a_public_copy(store: Store, table: str) -> None:
    if table == "scores" and store.public:
        raise ValueError(f"{store.uri}: a public copy has no scores, which this needs; use the study it was made of")


def last_levels(rows: pd.DataFrame, steps: str = "attack_steps") -> list[str]:
    """Labels of attacks, in their order, each after its last level of attack steps only."""
    last: dict[str, tuple[float, str]] = {}
    for label, level in rows[["attack", steps]].drop_duplicates().itertuples(index=False):
        family = label if pd.isna(level) else label.removesuffix(f"_steps{level:.0f}")
        last[family] = max(last.get(family, (0.0, label)), (0.0 if pd.isna(level) else level, label))
    return [label for _, label in last.values()]


def _compacted(store: Store, table: str, markers: Mapping[str, Mapping[str, Any]]) -> tuple[set[str], list[pa.Table]]:
    """Names of the passes that the largest sound compaction covers, and its file of one table."""
    for manifest in valid(store.place, markers):
        relative = f"compacted/{table}-{manifest['name']}.parquet"
        with contextlib.suppress(Damaged):
            return set(manifest["passes"]), [sealed_table(store.place, relative, manifest["files"][relative])]
    return set(), []


def _current(frame: pd.DataFrame, table: str, design: pd.DataFrame) -> pd.DataFrame:
    """Rows that the current design wants, in its order; attacks under its labels."""
    kind = {"quality": "measure", "attacks": "attack", "scores": "attack"}.get(table, "trial")
    wanted = design.loc[design["kind"] == kind, ["trial_id", "trajectory_id", "id", "label"]].reset_index(drop=True)
    wanted["rank"] = wanted.index
    keys = [key for key in KEYS[table] if key not in ("query", "epoch")]
    wanted = wanted.rename(columns={"id": keys[-1]} if kind != "trial" else {}).drop_duplicates(keys)
    rows = frame.merge(wanted[[*keys, "label", "rank"]], on=keys, how="inner")
    rows = rows.sort_values(["rank", *KEYS[table][len(keys) :]], ignore_index=True)
    if table == "attacks":
        rows["attack"] = rows["label"]
    return rows.drop(columns=["label", "rank"])


def _wide(trials: pd.DataFrame, quality: pd.DataFrame, attacks: pd.DataFrame) -> pd.DataFrame:
    names = quality["measure"] + "_" + quality["extractor"] + "_" + quality["against"]
    pivoted = quality.assign(name=names).pivot_table(
        index="trial_id", columns="name", values="value", aggfunc="first", dropna=False, observed=True
    )
    attack_columns = attacks.rename(
        columns={"seconds": "seconds_attack", "steps": "attack_steps", "flags": "attack_flags"}
    )
    return trials.merge(pivoted.reset_index(), on="trial_id", how="left").merge(
        attack_columns, on="trial_id", how="left", validate="one_to_many"
    )
