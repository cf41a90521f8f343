"""Reading a store into pandas: sealed rows only, every byte checked; and compacting many passes into few files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from mia_core.hashing import canonical_json, content_id
from study.store import files
from study.store.passes import PASS_TABLES, UNREADABLE, Damaged, Store
from study.store.schema import from_parquet, to_parquet, to_table

TABLES = ("trials", "quality", "attacks", "scores", "history", "design", "wide")
KEYS = {
    "trials": ["trial_id"],
    "quality": ["trial_id", "measure_id"],
    "attacks": ["trial_id", "attack_id"],
    "scores": ["trial_id", "attack_id", "query"],
    "history": ["trajectory_id", "epoch"],
}
"""What names a row; work repeated by a racing attempt gave the same row twice, and counts once."""


def read(root: str | Path, study: str, table: str, all: bool = False) -> pd.DataFrame:
    """Sealed rows of the current design, in its order (`all=True`: of every design, ordered by ids).

    `wide` is one row a trial x attack: trials, quality as `<measure>_<extractor>_<against>`, and the attack's columns.
    Raises ValueError for an unknown table or study, Damaged for a sealed file whose bytes changed.
    """
    if table not in TABLES:
        raise ValueError(f"table {table!r} is not one of {', '.join(TABLES)}")
    store = Store(root, study)
    spec = store.pointer()["spec"]
    if table == "wide":
        return _wide(*(read(root, study, name, all) for name in ("trials", "quality", "attacks")))
    if table == "design":
        path = store.folder / "design" / f"{spec}.parquet"
        try:
            return from_parquet(path.read_bytes()).to_pandas()
        except (OSError, pa.ArrowException):
            raise Damaged(f"{path} {UNREADABLE}") from None
    frame = sealed(store, table).to_pandas()
    if all:
        return frame.sort_values(KEYS[table], ignore_index=True)
    return _current(frame, table, read(root, study, "design"))


def sealed(store: Store, table: str) -> pa.Table:
    """All sealed rows of a table: compacted passes first, then the others, each row once."""
    covered, parts = _compacted(store, table)
    for name, marker in store.markers().items():
        if name not in covered:
            for relative, seal in marker["files"].items():
                if relative.startswith(f"{table}/"):
                    parts.append(from_parquet(store.sealed_bytes(relative, seal)))
    if not parts:
        return to_table(table, [])
    frame = pa.concat_tables(parts, promote_options="permissive")
    duplicated = frame.select(KEYS[table]).to_pandas().duplicated().to_numpy()
    return frame.filter(pa.array(~duplicated))


def trial_tables(
    store: Store, trial_id: str, names: Sequence[str] = ("trials", "quality", "attacks")
) -> tuple[list[str], dict[str, pd.DataFrame]]:
    """Names of the passes of one trial, and its sealed rows of some tables."""
    markers = store.markers([trial_id])
    tables = {}
    for table in names:
        parts = [
            from_parquet(store.sealed_bytes(relative, seal))
            for marker in markers.values()
            for relative, seal in marker["files"].items()
            if relative.startswith(f"{table}/")
        ]
        tables[table] = pa.concat_tables(parts, promote_options="permissive").to_pandas() if parts else pd.DataFrame()
    return list(markers), tables


def last_levels(rows: pd.DataFrame, steps: str = "attack_steps") -> list[str]:
    """Labels of attacks, in their order, each after its last level of attack steps only."""
    last: dict[str, tuple[float, str]] = {}
    for label, level in rows[["attack", steps]].drop_duplicates().itertuples(index=False):
        family = label if pd.isna(level) else label.removesuffix(f"_steps{level:.0f}")
        last[family] = max(last.get(family, (0.0, label)), (0.0 if pd.isna(level) else level, label))
    return [label for _, label in last.values()]


def _compacted(store: Store, table: str) -> tuple[set[str], list[pa.Table]]:
    """The largest compaction: names of the passes it covers, and its file of one table."""
    manifests = [json.loads(path.read_bytes()) for path in (store.folder / "compacted").glob("[!.]*.json")]
    if not manifests:
        return set(), []
    manifest = max(manifests, key=lambda item: len(item["passes"]))
    relative = f"compacted/{table}-{manifest['name']}.parquet"
    seal: Mapping[str, Any] | None = manifest["files"].get(relative)
    return set(manifest["passes"]), [from_parquet(store.sealed_bytes(relative, seal))] if seal else []


def compact(store: Store) -> int:
    """Put all sealed passes into one file a table, for fast reading; returns how many passes it covers."""
    passes = sorted(store.markers())
    name = content_id(passes)
    manifest_path = store.folder / "compacted" / f"{name}.json"
    if not passes or manifest_path.exists():
        return len(passes)
    seals = {}
    for table in PASS_TABLES:
        relative = f"compacted/{table}-{name}.parquet"
        data = to_parquet(sealed(store, table))
        files.write(store.folder / relative, data)
        seals[relative] = {"bytes": len(data), "sha256": files.sha256(data)}
    manifest = {"name": name, "passes": passes, "files": seals}
    files.create(manifest_path, canonical_json(manifest).encode())
    for path in (store.folder / "compacted").iterdir():
        if name not in path.name:
            path.unlink(missing_ok=True)
    return len(passes)


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
