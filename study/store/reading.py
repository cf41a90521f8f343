"""Reading a store into pandas: sealed rows only, every byte checked; and compacting many passes into few files."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from mia_core.hashing import content_id
from study.store import files, seals
from study.store.files import Damaged
from study.store.passes import UNREADABLE, Store
from study.store.schema import KEYS, PASS_TABLES, from_parquet, to_parquet, to_table

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
    spec = store.pointer()["spec"]
    if table == "wide":
        return _wide(*(read(root, study, name, all) for name in ("trials", "quality", "attacks")))
    if table == "design":
        relative = f"design/{spec}.parquet"
        try:
            return from_parquet(store.published(relative), "design").to_pandas()
        except (OSError, pa.ArrowException):
            raise Damaged(f"{store.uri}/{relative} {UNREADABLE}") from None
    _refuse_scores_of_a_public_copy(store, table)
    if all:
        return sealed(store, table, store.passes()).to_pandas().sort_values(KEYS[table], ignore_index=True)
    design = read(root, study, "design")
    passes = store.passes(design["trial_id"].dropna())
    return _current(sealed(store, table, passes).to_pandas(), table, design)


def sealed(store: Store, table: str, passes: Iterable[str]) -> pa.Table:
    """Rows of a table, of those passes at least: compacted passes first, each row once."""
    covered, parts = _compacted(store, table)
    parts += [part for name in passes if name not in covered for part in _rows(store, name, table)]
    if not parts:
        return to_table(table, [])
    frame = pa.concat_tables(parts, promote_options="permissive")
    duplicated = frame.select(KEYS[table]).to_pandas().duplicated().to_numpy()
    return frame.filter(pa.array(~duplicated))


def trial_tables(
    store: Store, trial_id: str, names: Sequence[str] = ("trials", "quality", "attacks")
) -> tuple[list[str], dict[str, pd.DataFrame]]:
    """Names of the passes of one trial, and its sealed rows of some tables; ValueError for scores of a public copy."""
    passes = store.passes([trial_id])
    tables = {}
    for table in names:
        _refuse_scores_of_a_public_copy(store, table)
        parts = [part for name in passes for part in _rows(store, name, table)]
        tables[table] = pa.concat_tables(parts, promote_options="permissive").to_pandas() if parts else pd.DataFrame()
    return passes, tables


def sealed_table(store: Store, relative: str, seal: Mapping[str, Any]) -> pa.Table:
    """A listed Parquet file; Damaged unless it has the sealed sha256 and is of the table that its name says."""
    data = store.sealed_bytes(relative, seal)
    folder, _, name = relative.partition("/")
    try:
        return from_parquet(data, name.partition("-")[0] if folder == "compacted" else folder)
    except (OSError, pa.ArrowException) as error:
        raise Damaged(f"{store.uri}/{relative}: {str(error).splitlines()[0]}") from None


def _rows(store: Store, name: str, table: str) -> list[pa.Table]:
    """What one pass has of a table."""
    listed = store.marker(name)["files"]
    return [sealed_table(store, item, seal) for item, seal in listed.items() if item.startswith(f"{table}/")]


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


def _compacted(store: Store, table: str) -> tuple[set[str], list[pa.Table]]:
    """The largest sound compaction: names of the passes it covers, and its file of one table.

    A damaged one is passed over, and one of passes that were done again since: the passes themselves are the truth.
    """
    nonces = {name: marker["nonce"] for name, marker in store.markers().items()}
    for manifest in manifests(store):
        if any(nonce not in (None, nonces.get(name, nonce)) for name, nonce in manifest["passes"].items()):
            continue
        relative = f"compacted/{table}-{manifest['name']}.parquet"
        try:
            return set(manifest["passes"]), [sealed_table(store, relative, manifest["files"][relative])]
        except Damaged:
            continue
    return set(), []


def manifests(store: Store) -> list[dict[str, Any]]:
    """Sound manifests of compactions, the largest first."""
    found = []
    for file in store.place.names("compacted"):
        if file.endswith(".json"):
            with contextlib.suppress(Damaged, ValueError):
                data = store.place.read(f"compacted/{file}")
                found.append(seals.parse_manifest(file.removesuffix(".json"), data))
    return sorted(found, key=lambda manifest: -len(manifest["passes"]))


def compact(store: Store) -> int:
    """Put all sealed passes into one file a table, for fast reading; returns how many passes it covers.

    Nothing is done where a sound compaction covers them already. Damaged when a sealed file is.
    """
    passes = {name: marker["nonce"] for name, marker in sorted(store.markers().items())}
    name = content_id(passes)
    if not passes or _is_compacted(store, name):
        return len(passes)
    found = {}
    for table in PASS_TABLES:
        relative = f"compacted/{table}-{name}.parquet"
        data = to_parquet(sealed(store, table, passes))
        store.place.write(relative, data)
        found[relative] = files.seal(data)
    store.place.write(f"compacted/{name}.json", seals.to_json({"name": name, "passes": passes, "files": found}))
    for entry in store.place.files("compacted"):
        if name not in entry.name:
            store.place.remove(f"compacted/{entry.name}")
    return len(passes)


def _is_compacted(store: Store, name: str) -> bool:
    for manifest in manifests(store):
        if manifest["name"] == name:
            try:
                for relative, seal in manifest["files"].items():
                    store.sealed_bytes(relative, seal)
            except Damaged:
                return False
            return True
    return False


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
