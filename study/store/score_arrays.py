"""Scores of many attacks as arrays: read once, for what takes those of whole cells."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from study.store.files import Damaged
from study.store.passes import Store
from study.store.reading import codes_of, encoded_scores

Pair = tuple[str, str]
"""Ids of a trial and an attack."""
COLUMNS = ("query", "unit", "member", "judged", "coin", "score")


@dataclass(frozen=True)
class Scored:
    """An attack's scores on one target, by query, [Q] each. unit: whose each is, the query itself in old stores.

    judged, coin: True and False where an old store does not have them.
    """

    query: np.ndarray
    unit: np.ndarray
    member: np.ndarray
    judged: np.ndarray
    coin: np.ndarray
    score: np.ndarray


def score_arrays(store: Store, wanted: Iterable[Pair]) -> Mapping[Pair, Scored]:
    """The sealed scores of some attacks on some trials; Damaged where one of them has none."""
    pairs = set(wanted)
    if not pairs:
        return {}
    trials, attacks = ({pair[place] for pair in pairs} for place in (0, 1))
    passes = [
        name
        for name, marker in store.markers().items()
        if marker["trial_id"] in trials and not attacks.isdisjoint(marker["work"]["attacks"])
    ]
    table = encoded_scores(store, passes)
    trial, trial_names = codes_of(table["trial_id"])
    attack, attack_names = codes_of(table["attack_id"])
    of_trial = np.array([name in trials for name in trial_names], dtype=bool)
    of_attack = np.array([name in attacks for name in attack_names], dtype=bool)
    rows = np.flatnonzero(of_trial[trial] & of_attack[attack]) if len(table) else np.empty(0, dtype=int)
    key = trial[rows] * np.int64(len(attack_names)) + attack[rows]
    query = table["query"].to_numpy()[rows]
    order = np.argsort(key, kind="stable")  # quick, as passes are runs of one key
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    columns = {name: _values(table, name)[rows] for name in COLUMNS if name != "query"} | {"query": query}
    found: dict[Pair, Scored] = {}
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        own = order[start:end]
        pair = trial_names[trial[rows[own[0]]]], attack_names[attack[rows[own[0]]]]
        if pair in pairs:
            own = own if (np.diff(query[own]) > 0).all() else own[np.argsort(query[own], kind="stable")]
            found[pair] = Scored(**{name: values[own] for name, values in columns.items()})
    if lacking := len(pairs - found.keys()):
        raise Damaged(f"{store.uri}/scores: {lacking} attacks have none; `mia-study store check` says more")
    return found


def _values(table: pa.Table, name: str) -> np.ndarray:
    column = table[name]
    if column.null_count:
        if name == "unit":
            unit, query = column.to_pandas(), table["query"].to_pandas()
            found: np.ndarray = unit.fillna(query).to_numpy(np.int64)
            return found
        column = column.fill_null(name == "judged")
    return np.asarray(column.to_numpy())
