"""Reading a store into pandas: sealed rows only, every byte checked."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mia_core.errors import Refused
from study.store import old_rows
from study.store.files import Damaged
from study.store.manifests import pass_table, sealed_table, valid
from study.store.marked import Marked, trial_of
from study.store.networks import MEASURE_AGAIN, two_networks
from study.store.passes import Store
from study.store.schema import KEYS, PASS_TABLES, complete, joined, to_table

TABLES = (*PASS_TABLES, "design", "wide")
ENCODED = {"scores": ("trial_id", "attack_id")}
"""Columns of few texts for their rows: they are read, compared and sorted by as dictionaries, in half of the time."""


def read(root: str | Path, study: str, table: str, all: bool = False, as_written: bool = False) -> pd.DataFrame:
    """Sealed rows of the current design, in its order (`all=True`: of every design, ordered by ids).

    `wide` is one row a trial x attack: trials, quality as `<measure>_<extractor>_<against>`, and the attack's columns.
    Scores and rows of attacks of earlier versions are judged anew, see `old_rows`, unless they are wanted `as_written`;
    in a public copy rows stay as they are, and say so. An epsilon of theirs is of one record. Rows of every design tell
    their feature networks apart by `extractor_sha256` alone; those of the current one are of one network.
    Raises ValueError for an unknown table or study and for scores of a public copy, Damaged for a sealed file whose
    bytes changed, and for quality that two networks measured.
    """
    if table not in TABLES:
        raise Refused(f"table {table!r} is not one of {', '.join(TABLES)}")
    store = Store(root, study)
    design = store.design().to_pandas()
    if table == "design":
        return design
    _refuse_scores_of_a_public_copy(store, table)
    further = {"wide": ("trials", "quality", "attacks"), "attacks": ("trials", table), "scores": ("trials", table)}
    names = further.get(table, (table,))
    passes = store.passes(None if all else design["trial_id"].dropna())
    tables = dict(_sealed(store, names, passes, store.marked(), every_design=all))
    if "quality" in tables and not all:
        _require_one_network(store, tables["quality"], design)
    frames = {
        name: _decoded(found).to_pandas().sort_values(KEYS[name], ignore_index=True)
        if all
        else _current(found, name, design)
        for name, found in tables.items()
    }
    if not as_written and ("attacks" in frames or "scores" in frames):
        scores = partial(_scores_of, store, passes, all)
        frames |= _judged(frames, store, scores)
    if not as_written and "trials" in frames:
        frames["trials"] = old_rows.with_units(frames["trials"])
    return _wide(frames["trials"], frames["quality"], frames["attacks"]) if table == "wide" else frames[table]


def _require_one_network(store: Store, quality: pa.Table, design: pd.DataFrame) -> None:
    """Damaged where two networks measured what the current design wants."""
    wanted = pa.array(design.loc[design["kind"] == "measure", "id"].unique(), pa.string())
    if what := two_networks(quality.filter(pc.is_in(quality["measure_id"], wanted))):
        raise Damaged(f"{store.uri}/quality: {what}; {MEASURE_AGAIN}")


def _judged(
    frames: Mapping[str, pd.DataFrame], store: Store, scores: Callable[[], pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """Tables of attacks and scores, those of them that there are, of trials that are there, with what earlier versions
    wrote judged anew. scores: reads those of old rows.
    """
    trials, found = frames["trials"], {}
    splits = old_rows.splits_with_extras(trials)
    public = store.public
    own = frames.get("scores")
    if own is None and "attacks" in frames and not public and old_rows.is_old(frames["attacks"]).any():
        found_scores = scores()
        own = None if found_scores.empty else found_scores
    units: Mapping[str, np.ndarray] = {}
    if own is not None:
        if splits and old_rows.counts_extras(own, splits).any():
            units = _drawn_units(str(store.root), store.study, tuple(store.markers()))
        own = own.assign(judged=old_rows.judged_records(own, splits, units))
        if "scores" in frames:
            found["scores"] = own
    if "attacks" in frames:
        attacks = frames["attacks"]
        found["attacks"] = (
            old_rows.marked(attacks, splits)
            if own is None or not old_rows.is_old(attacks).any()
            else old_rows.judged_anew(attacks, own, trials, splits, units)
        )
    return found


@lru_cache(maxsize=2)
def _drawn_units(root: str, study: str, passes: tuple[str, ...]) -> dict[str, np.ndarray]:
    """As of `old_rows.drawn_units`, of all that a study has sealed; kept while no pass is added."""
    store = Store(root, study)
    splits = old_rows.splits_with_extras(sealed(store, "trials", passes).to_pandas())
    return old_rows.drawn_units(sealed(store, "scores", passes).to_pandas(), splits)


def _scores_of(store: Store, passes: Sequence[str], every_design: bool) -> pd.DataFrame:
    return sealed(store, "scores", passes, every_design).to_pandas()


def sealed(store: Store, table: str, passes: Iterable[str], every_design: bool = True) -> pa.Table:
    """Rows of a table, of those passes at least: compacted passes first, each row once."""
    ((_, found),) = _sealed(store, (table,), passes, store.marked(), every_design)
    return _decoded(found)


def encoded_scores(store: Store, passes: Iterable[str]) -> pa.Table:
    """Scores as of `sealed`, with ids as dictionaries; ValueError for a public copy."""
    _refuse_scores_of_a_public_copy(store, "scores")
    ((_, found),) = _sealed(store, ("scores",), passes, store.marked(), every_design=True)
    return found


def _sealed(
    store: Store, tables: Iterable[str], passes: Iterable[str], marked: Marked, every_design: bool = False
) -> Iterator[tuple[str, pa.Table]]:
    """Tables one after the other; ids of scores, which are many, as dictionaries.

    marked: all. Damaged when one of the passes has a damaged marker, and neither a compaction nor other passes have
    its work; every_design: as of `Store.not_redone`.
    """
    wanted = set(passes)
    markers = {name: marker for name, marker in marked.counted.items() if name in wanted}
    lost = wanted - marked.sound.keys()
    lost &= {*store.not_redone(marked, every_design), *(lost - {*marked.damaged})} if lost else set()
    for table in tables:
        covered, parts = _compacted(store, table, marked)
        own = markers | {name: store.marker(name) for name in sorted(lost - covered)}
        for name, marker in own.items():
            if name not in covered:
                parts += rows_of_pass(store, marker, table)
        yield table, _encoded(complete(_each_once(parts, table), table), table)


def _each_once(parts: Sequence[pa.Table], table: str) -> pa.Table:
    if not parts:
        return to_table(table, [])
    if len(parts) == 1:  # of one pass, or compacted: each row is there once
        return parts[0]
    if table == "scores":
        first, *later = parts
        again = pc.is_in(first["trial_id"], pa.concat_arrays([_trials(part) for part in later]))
        seen = pairs(first.filter(again))
        rows = [_encoded(part, table) for part in (first, *(unseen(part, seen) for part in later))]
        return pa.concat_tables(rows, promote_options="permissive")
    whole = joined(parts)
    duplicated = whole.select(KEYS[table]).to_pandas().duplicated().to_numpy()
    return whole.filter(pa.array(~duplicated))


def unseen(part: pa.Table, seen: set[tuple[str, str]]) -> pa.Table:
    """Rows of a table of scores whose trial and attack were not seen before, as they are then."""
    own = pairs(part)
    if own & seen:
        keys = zip(part["trial_id"].to_pylist(), part["attack_id"].to_pylist(), strict=True)
        part = part.filter(pa.array([key not in seen for key in keys]))
    seen |= own
    return part


def pairs(part: pa.Table) -> set[tuple[str, str]]:
    """Trials and attacks that a table of scores has; a pass has all scores of an attack, or none."""
    found = part.group_by(["trial_id", "attack_id"]).aggregate([])
    return set(zip(found["trial_id"].to_pylist(), found["attack_id"].to_pylist(), strict=True))


def _trials(part: pa.Table) -> pa.Array:
    return part["trial_id"].unique()


def _encoded(rows: pa.Table, table: str) -> pa.Table:
    """With dictionaries in place of the texts in `ENCODED`, one for all chunks of a column."""
    for column in ENCODED.get(table, ()):
        at = rows.column_names.index(column)
        rows = rows.set_column(at, column, rows[column].dictionary_encode())
    return rows.unify_dictionaries()


def _decoded(rows: pa.Table) -> pa.Table:
    """With texts in place of dictionaries; as large strings, which pandas takes as they are."""
    kinds = [pa.large_string() if pa.types.is_dictionary(field.type) else field.type for field in rows.schema]
    return rows.cast(pa.schema(list(zip(rows.column_names, kinds, strict=True))))


def trial_tables(
    store: Store, trial_id: str, names: Sequence[str] = ("trials", "quality", "attacks")
) -> tuple[list[str], dict[str, pd.DataFrame]]:
    """Names of the passes of one trial, and its sealed rows of some tables; ValueError for scores of a public copy."""
    ((_, passes, tables),) = tables_by_trial(store, [trial_id], names)
    return passes, tables


def tables_by_trial(
    store: Store, trial_ids: Iterable[str], names: Sequence[str]
) -> Iterator[tuple[str, list[str], dict[str, pd.DataFrame]]]:
    """The same of many trials, one after the other; their markers are read once."""
    for table in names:
        _refuse_scores_of_a_public_copy(store, table)
    further = ("trials", "scores") if {"attacks", "scores"} & set(names) and not store.public else ()
    read_too = [*names, *(name for name in further if name not in names)]
    wanted = list(trial_ids)
    markers: dict[str, dict[str, Mapping[str, Any]]] = {trial_id: {} for trial_id in wanted}
    for name, marker in store.whole_markers(wanted).items():
        markers[trial_of(name)][name] = marker
    for trial_id, own in markers.items():
        tables = {}
        for table in read_too:
            parts = [part for marker in own.values() for part in rows_of_pass(store, marker, table)]
            rows = complete(_decoded(_each_once(parts, table)), table).to_pandas() if parts else pd.DataFrame()
            tables[table] = rows
        held = {name: frame for name, frame in tables.items() if not frame.empty}
        if "trials" in held:
            tables |= _judged(held, store, pd.DataFrame)
            tables["trials"] = old_rows.with_units(tables["trials"])
        yield trial_id, list(own), {table: tables[table] for table in names}


def rows_of_pass(store: Store, marker: Mapping[str, Any], table: str) -> list[pa.Table]:
    """What one pass has of a table; Damaged when that is not of its trial and its work."""
    return [
        pass_table(store.place, marker, relative) for relative in marker["files"] if relative.startswith(f"{table}/")
    ]


def _refuse_scores_of_a_public_copy(store: Store, table: str) -> None:
    if table == "scores" and store.public:
        raise Refused(f"{store.uri}: a public copy has no scores, which this needs; use the study it was made of")


def last_levels(rows: pd.DataFrame, steps: str = "attack_steps") -> list[str]:
    """Labels of attacks, in their order, each after its last level of attack steps only."""
    last: dict[str, tuple[float, str]] = {}
    for label, level in rows[["attack", steps]].drop_duplicates().itertuples(index=False):
        family = label if pd.isna(level) else label.removesuffix(f"_steps{level:.0f}")
        last[family] = max(last.get(family, (0.0, label)), (0.0 if pd.isna(level) else level, label))
    return [label for _, label in last.values()]


def _compacted(store: Store, table: str, marked: Marked) -> tuple[set[str], list[pa.Table]]:
    """Names of the passes that the largest sound compaction covers, and its file of one table."""
    for manifest in valid(store.place, marked):
        relative = f"compacted/{table}-{manifest['name']}.parquet"
        with contextlib.suppress(Damaged):
            seal = manifest["files"][relative]
            return set(manifest["passes"]), [sealed_table(store.place, relative, seal, ENCODED.get(table, ()))]
    return set(), []


def _current(found: pa.Table, table: str, design: pd.DataFrame) -> pd.DataFrame:
    """Rows that the current design wants, in its order; attacks under its labels."""
    kind = {"quality": "measure", "attacks": "attack", "scores": "attack"}.get(table, "trial")
    wanted = design.loc[design["kind"] == kind, ["trial_id", "trajectory_id", "id", "label"]].reset_index(drop=True)
    wanted["rank"] = wanted.index
    keys = [key for key in KEYS[table] if key not in ("query", "epoch")]
    wanted = wanted.rename(columns={"id": keys[-1]} if kind != "trial" else {}).drop_duplicates(keys)
    if table == "scores":
        return _decoded(_ranked(found, wanted)).to_pandas()
    rows = found.to_pandas().merge(wanted[[*keys, "label", "rank"]], on=keys, how="inner")
    rows = rows.sort_values(["rank", *KEYS[table][len(keys) :]], ignore_index=True)
    if table == "attacks":
        rows["attack"] = rows["label"]
    if table == "trials":
        rows["target"] = targets_now(rows, design)
    return rows.drop(columns=["label", "rank"])


def targets_now(trials: pd.DataFrame, design: pd.DataFrame) -> pd.Series:
    """The label of each trial's target, as the design has it now; trials may have been sealed under another one."""
    if "levels" not in design:  # as earlier versions wrote it
        return trials["target"]
    own = design[(design["kind"] == "trial") & design["levels"].notna()]
    now = {name: json.loads(levels).get("target") for name, levels in zip(own["trial_id"], own["levels"], strict=True)}
    return trials["trial_id"].map(now).fillna(trials["target"])


def _ranked(scores: pa.Table, wanted: pd.DataFrame) -> pa.Table:
    """Scores of the wanted trials and attacks, by rank and query: what a merge gives, without comparing texts."""
    trial, trials = codes_of(scores["trial_id"])
    attack, attacks = codes_of(scores["attack_id"])
    of_trial, of_attack = (
        trials.get_indexer(pd.Index(wanted["trial_id"])),
        attacks.get_indexer(pd.Index(wanted["attack_id"])),
    )
    here = (of_trial >= 0) & (of_attack >= 0)
    ranks = np.full((len(trials), len(attacks)), -1)
    ranks[of_trial[here], of_attack[here]] = wanted["rank"].to_numpy()[here]
    rank = ranks.ravel()[trial * np.int64(len(attacks)) + attack]
    query = scores["query"].to_numpy()
    order = np.argsort(rank * (query.max(initial=0) + 1) + query, kind="stable")  # quick, as a table has long runs
    order = order[np.count_nonzero(rank < 0) :]
    return scores if np.array_equal(order, np.arange(len(scores))) else scores.take(pa.array(order))


def codes_of(texts: pa.ChunkedArray) -> tuple[np.ndarray, pd.Index]:
    """The codes [N] of a column of texts that is read as a dictionary, and the text of each code."""
    encoded = texts.combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    return encoded.indices.to_numpy(), pd.Index(encoded.dictionary.to_pylist(), dtype=object)


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
