"""Over which records rows of attacks were judged; rows and scores of earlier versions, judged anew from what is stored.

Earlier versions took all queries of a trial for judged ones: their scores say so in the column `judged`, and their
rows, which lack `judging`, were made over all. Where the split has `extra_non_members`, the truth is worked out here: a
query is judged where it has a coin, or where its unit was a member of some trial of the study.

What that misses: units without a coin (a person with several records, or all units where filler has whole groups and is
`fill`) that were non-members in every replicate, one in 2^R. They look like extras, and are left out. Which they are
follows from coins alone and from no score, so estimates stay unbiased; there are a few non-members less. Of a single
replicate without coins nothing is known: there all queries still count, and rows are marked as judged with extras.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mia_core.hashing import canonical_json
from mia_core.metrics.audit import CONFIDENCE, DELTA, Bound, heuristic
from mia_core.metrics.leakage import Leakage, judge
from mia_core.persons import RECORD
from study.store.files import Damaged
from study.store.roles import CANARY

JUDGED, WITH_EXTRAS = "judged records", "judged with extras"
"""Values of `judging`: over records whose membership every replicate draws anew, or over extra non-members too."""

KEY = ["trial_id", "attack_id"]


def with_units(trials: pd.DataFrame) -> pd.DataFrame:
    """With the unit of every epsilon: that of earlier versions, which do not say it, is of one record."""
    unit = trials.get("epsilon_unit", pd.Series(None, trials.index)).astype(object)
    known = unit.where(trials["epsilon"].isna() | unit.notna(), RECORD)
    return trials.assign(epsilon_unit=known.astype("str"))


def splits_with_extras(trials: pd.DataFrame) -> dict[str, str]:
    """A text per split, data and seed, by the trials whose queries have extra non-members; none of canaries."""
    texts = trials.loc[trials["role"] != CANARY].set_index("trial_id")["config"].dropna()
    of_config = {text: _split_with_extras(json.loads(text)) for text in texts.unique()}
    return {str(trial_id): split for trial_id, text in texts.items() if (split := of_config[text])}


def _split_with_extras(config: Mapping[str, Any]) -> str | None:
    split = config.get("split")
    if not isinstance(split, dict) or not split.get("extra_non_members"):
        return None
    return canonical_json([split, config.get("data_digest"), config.get("seed")])


def drawn_units(scores: pd.DataFrame, splits: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Numbers of the units whose membership was drawn, by split; without splits of which scores do not tell.

    scores: all that a study has.
    """
    split = scores["trial_id"].map(splits)
    unit, member = _units(scores), scores["member"].to_numpy(bool)
    drawn = member | scores["coin"].fillna(False).to_numpy(bool)
    found = {}
    for text in set(splits.values()):
        of_split = (split == text).to_numpy()
        units = np.unique(unit[of_split & drawn])
        if (np.isin(unit, units) & of_split & ~member).any():
            found[text] = units
    return found


def judged_records(scores: pd.DataFrame, splits: Mapping[str, str], units: Mapping[str, np.ndarray]) -> np.ndarray:
    """bool [N]: whether each row of a table of scores is of a judged record; units: as of `drawn_units`.

    Rows that mark which records were judged are believed: only later versions wrote them.
    """
    judged = scores["judged"].fillna(True).to_numpy(bool, copy=True)
    if not units:
        return judged
    all_alike, split, unit = counts_extras(scores, splits), scores["trial_id"].map(splits), _units(scores)
    for text, drawn in units.items():
        rows = all_alike & (split == text).to_numpy()
        judged[rows] = np.isin(unit[rows], drawn)
    return judged


def counts_extras(scores: pd.DataFrame, splits: Mapping[str, str]) -> np.ndarray:
    """bool [N]: rows of attacks whose scores count extra non-members as judged, as earlier versions wrote them."""
    of_extras = scores["trial_id"].isin(splits)
    judged = scores["judged"].fillna(True).astype(bool).groupby([scores[name] for name in KEY], sort=False)
    return (of_extras & judged.transform("all")).to_numpy(bool)


def _units(scores: pd.DataFrame) -> np.ndarray:
    """int64 [N]; the oldest stores have none, and there each query was its own."""
    return scores["unit"].fillna(scores["query"]).to_numpy(np.int64)


def is_old(attacks: pd.DataFrame) -> pd.Series:
    """Which rows of a table of attacks were judged by an earlier version."""
    return attacks["auc"].notna() & attacks["judging"].isna()


def marked(attacks: pd.DataFrame, splits: Mapping[str, str]) -> pd.DataFrame:
    """Old rows as they are, which say over what they were judged; all that can be done without scores."""
    old, extras = is_old(attacks), attacks["trial_id"].isin(splits)
    words = pd.Series(np.where(extras, WITH_EXTRAS, JUDGED), attacks.index)
    judged = attacks["judged"].where(~old | extras, attacks["queries"])
    return attacks.assign(
        judging=attacks["judging"].astype(object).where(~old, words),
        judged=judged if judged.isna().any() else judged.astype(np.int64),
    )


def judged_anew(
    attacks: pd.DataFrame,
    scores: pd.DataFrame,
    trials: pd.DataFrame,
    splits: Mapping[str, str],
    units: Mapping[str, np.ndarray],
) -> pd.DataFrame:
    """With the metrics of old rows computed again from their scores, over judged records.

    scores: of these rows at least, with `judged` set right. units: as of `drawn_units`. Rows without scores, and those
    of which nothing is known, are as of `marked`.
    """
    found = marked(attacks, splits)
    places = {key: place for place, key in enumerate(zip(found["trial_id"], found["attack_id"], strict=True))}
    old, method = is_old(attacks).to_numpy(), attacks["epsilon_method"].tolist()
    deltas = dict(zip(trials["trial_id"], trials["delta"].fillna(DELTA), strict=True))
    score, member, judged = scores["score"].to_numpy(), scores["member"].to_numpy(bool), scores["judged"].to_numpy(bool)
    unit = None if scores["unit"].isna().any() else scores["unit"].to_numpy()
    values: dict[str, dict[int, Any]] = {}
    for key, rows in scores.groupby(KEY, sort=False).indices.items():
        assert isinstance(key, tuple)
        trial, place = str(key[0]), places.get(key, -1)
        if place < 0 or not old[place] or (trial in splits and splits[trial] not in units):
            continue
        if pd.notna(asked := found["queries"].iloc[place]) and len(rows) != asked:
            raise Damaged(
                f"trial {trial} has {len(rows)} scores of an attack whose row has {asked} queries; `mia-study store "
                "check` says more"
            )
        leakage = judge(score[rows], member[rows], judged[rows], None if unit is None else unit[rows])
        row = {**vars(leakage), "judging": JUDGED}
        if method[place] == "heuristic":
            row |= without_coins(leakage, float(deltas[trial]))
        for name, value in row.items():
            values.setdefault(name, {})[place] = value
    for name, column in values.items():
        whole = found[name].astype(object).to_numpy(copy=True)
        whole[list(column)] = list(column.values())
        found[name] = pd.Series(whole, found.index).infer_objects()
        if name not in ("judging", "epsilon_method", "queries", "judged"):
            found[name] = found[name].astype(float)
    return found


def without_coins(leakage: Leakage, delta: float) -> dict[str, Any]:
    """Columns on epsilon where queries have no coins: Clopper-Pearson bounds at the top-n threshold; no proof."""
    members = round(leakage.judged * leakage.baseline_top_n)
    right = math.floor(members * leakage.accuracy_top_n)
    others = leakage.judged - members
    return bound_columns(heuristic(right, members, members - right, others, delta, CONFIDENCE))


def bound_columns(bound: Bound) -> dict[str, Any]:
    """Columns of a row on epsilon."""
    return {
        "epsilon_low": bound.epsilon_low,
        "epsilon_ceiling": bound.epsilon_ceiling,
        "epsilon_confidence": bound.confidence,
        "epsilon_method": bound.method,
    }
