"""The judged scores of a study, read once, and what every statement about AUC is computed from: AUCs and influences.

A cell's mean, and every weighted sum of cells, has the two-way interval of `mia_core.metrics.two_way`: it speaks of
records like these. A public copy has no scores. There an AUC counts as if no record differed from another: influences
are 0, and what is left of the interval is a t interval over replicates, which speaks of these records only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.stats.derived_scores import takes_replicates
from analysis.study_data import StudyData
from mia_core.errors import Refused
from mia_core.metrics.control_variate import applies, with_control_variate
from mia_core.metrics.influence import Aucs, aucs
from mia_core.metrics.low_fpr import LowFprTpr, tpr_at_low_fpr
from mia_core.metrics.power import ALPHA
from mia_core.metrics.two_way import (
    NO_VARIANCE,
    CellSum,
    Estimate,
    MeanAuc,
    alpha_of_look,
    mean_auc,
    two_way_variance,
    weighted_sum,
)
from mia_core.streams import Streams
from study.store import read

AUC = "auc"
TPR = "tpr_at_1pct_fpr"
USED = ("attack", "trial_id", "replicate", "queries", "judged", "baseline_top_n", AUC)
"""Columns of the wide table that means of cells are computed from, beside the value."""
SCOPE = {
    False: "records like these: intervals allow for other replicates and for other records",
    True: "these records only: a public copy has no scores, so that intervals allow for other replicates alone",
}
"""What intervals of AUC speak of, by whether a study is a public copy."""


@dataclass(frozen=True)
class JudgedScores:
    """Of one attack: score, member [N, J] of N trials, which judge the same J records; place: the row of each trial.

    query, unit [J]: the records and whose they are. aucs: [N], with influences.
    """

    place: dict[str, int]
    score: np.ndarray
    member: np.ndarray
    query: np.ndarray
    unit: np.ndarray
    aucs: Aucs

    @property
    def persons(self) -> np.ndarray | None:
        """`unit`; None where every record is a unit of its own."""
        return persons_of(self.unit)

    def of(self, trials: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """score and member [R, J] of trials, in their order."""
        rows = [self.place[trial] for trial in trials]
        return self.score[rows], self.member[rows]


def judged_scores(data: StudyData, attack: str) -> JudgedScores:
    """Of one attack, by its label; ValueError for a public copy, and where its trials judge different records."""
    return data.once(("judged", attack), lambda: _judged_scores(data, attack))


def _judged_scores(data: StudyData, attack: str) -> JudgedScores:
    rows = data.wide[data.wide["attack"] == attack].reindex(columns=["trial_id", "attack_id", "judged"])
    parts = _parts(data)
    keys = list(rows[["trial_id", "attack_id"]].itertuples(index=False, name=None))
    if lacking := sum(key not in parts for key in keys):
        raise Refused(
            f"study {data.name}: {lacking} trials of {attack} have no scores; `mia-study store check` says more"
        )
    found = [parts[key] for key in keys]
    first = found[0]
    for part, judged in zip(found, rows["judged"], strict=True):
        if pd.notna(judged) and len(part["query"]) != judged:
            raise Refused(
                f"study {data.name}: a trial of {attack} has {len(part['query'])} scores of judged records, and its "
                f"row {judged:.0f}; `mia-study store check` says more"
            )
    if any(not np.array_equal(part["query"], first["query"]) for part in found):
        raise Refused(f"study {data.name}: trials of {attack} judge different records, and cannot be compared")
    score, member = (np.stack([part[name] for part in found]) for name in ("score", "member"))
    place = {trial: row for row, trial in enumerate(rows["trial_id"])}
    try:
        found_aucs = aucs(score, member, persons_of(first["unit"]))
    except ValueError as error:  # no study makes such scores
        raise Refused(f"study {data.name}: scores of {attack} cannot be judged: {error}") from None
    return JudgedScores(place, score, member, first["query"], first["unit"], found_aucs)


def persons_of(unit: np.ndarray) -> np.ndarray | None:
    """Units [J] that have several records; None where none has."""
    return unit if len(set(unit.tolist())) < len(unit) else None


def _parts(data: StudyData) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """query, unit, member, score of the judged rows of each trial and attack, by query."""
    return data.once("parts", lambda: _read_parts(data))


def _read_parts(data: StudyData) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    scores = read(data.store.root, data.name, "scores") if data.scores is None else data.scores
    scores = scores[scores["judged"].fillna(True).astype(bool)]
    scores = scores.assign(unit=scores["unit"].fillna(scores["query"]))  # of stores that knew no units
    columns = {"query": int, "unit": int, "member": bool, "score": float}
    values = {name: scores[name].to_numpy(kind) for name, kind in columns.items()}
    (trial, trials), (attack, attacks) = (pd.factorize(scores[name]) for name in ("trial_id", "attack_id"))
    pair = trial * len(attacks) + attack
    order = np.lexsort((values["query"], pair))
    starts = np.flatnonzero(np.diff(pair[order], prepend=-1))
    ends = [*starts[1:], len(order)][: len(starts)]  # none, where there is no score at all
    return {
        (trials[pair[order[start]] // len(attacks)], attacks[pair[order[start]] % len(attacks)]): {
            name: column[order[start:end]] for name, column in values.items()
        }
        for start, end in zip(starts, ends, strict=True)
    }


def aucs_of(data: StudyData, rows: pd.DataFrame) -> Aucs:
    """AUCs and influences [R] of rows of one attack, in their order; see the head of this file for a public copy."""
    if not data.public:
        found = judged_scores(data, _attack(rows))
        return found.aucs[[found.place[trial] for trial in rows["trial_id"]]]
    judged = rows["judged"].fillna(rows["queries"]) if "judged" in rows else rows["queries"]  # unknown with extras
    queries = judged.to_numpy(int)
    members = (queries * rows["baseline_top_n"]).round().to_numpy(int)
    return Aucs(rows[AUC].to_numpy(float), np.zeros((len(rows), int(queries.min()))), members, queries - members)


def mean_of(data: StudyData, rows: pd.DataFrame) -> MeanAuc:
    """Of a cell, rows of one attack, a replicate each; with the control variate where its rule says so.

    The rule knows the number of replicates, and whether the attack takes other replicates' coins, as the variate does.
    """
    if data.public or not applies(len(rows)) or takes_replicates(rows):
        return mean_auc(aucs_of(data, rows))
    attack, trials = _attack(rows), tuple(rows["trial_id"])

    def mean() -> MeanAuc:
        found = judged_scores(data, attack)
        return mean_auc(with_control_variate(*found.of(trials), found.persons))

    return data.once(("mean", attack, trials), mean)


def tpr_of(data: StudyData, rows: pd.DataFrame) -> LowFprTpr | None:
    """TPR at 1 % FPR of a cell, pooled over its replicates; None below 10 expected false positives, or without scores.

    rows: as of `mean_of`.
    """
    if data.public:
        return None
    attack, trials = _attack(rows), tuple(rows["trial_id"])

    def tpr() -> LowFprTpr | None:
        found = judged_scores(data, attack)
        return tpr_at_low_fpr(*found.of(trials), Streams("low_fpr").numpy("groups"), found.persons)

    return data.once(("tpr", attack, trials), tpr)


def columns_of_estimate(found: Estimate, level: float = 0.95) -> dict[str, Any]:
    """mean, low, high, replicates, descriptive of an AUC or a TPR."""
    low, high = found.interval(level)
    return {
        "mean": float(np.clip(found.estimate, 0, 1)),
        "low": float(low),
        "high": float(high),
        "replicates": found.replicates,
        "descriptive": found.descriptive,
    }


def columns_of_sum(found: CellSum, values: np.ndarray, level: float = 0.95) -> dict[str, Any]:
    """effect, low, high, p, sd, sd_records, replicates, descriptive of a weighted sum, values [R] of whose replicates.

    sd: of one replicate. sd_records: what no further replicate takes away, for it is of the records; 0 where no
    replicate can tell.
    """
    (columns,) = _columns_of_sums(found, values[None], level)
    return columns


def _columns_of_sums(found: CellSum, values: np.ndarray, level: float) -> list[dict[str, Any]]:
    """The same of G sums, values [G, R]; or of one, [1, R]."""
    records = np.sqrt(np.nan_to_num(found.variance.between_records))
    spread = values.std(1, ddof=1) if values.shape[1] > 1 else np.full(len(values), np.nan)
    columns = (found.estimate, *found.interval(level), found.p_value(), spread, records)
    names = ("effect", "low", "high", "p", "sd", "sd_records")
    about = {"replicates": found.replicates, "descriptive": found.descriptive}
    lines = zip(*(np.atleast_1d(column).tolist() for column in columns), strict=True)
    return [{**dict(zip(names, line, strict=True)), **about} for line in lines]


def sums_of(parts: Sequence[Aucs], weights: np.ndarray, level: float = 0.95) -> list[dict[str, Any]]:
    """The same columns of sums of K cells [R] each, weights [G, K]; values are taken inside replicates and records."""
    values = weights @ np.stack([part.auc for part in parts])
    influence = np.tensordot(weights, np.stack([part.influence for part in parts]), 1)
    variance = two_way_variance(values, influence)
    if not np.any(variance.total < NO_VARIANCE):
        return _columns_of_sums(CellSum(values.mean(-1), variance, values.shape[1], (), ()), values, level)
    return [
        columns_of_sum(weighted_sum(parts, own.tolist()), value, level)
        for own, value in zip(weights, values, strict=True)
    ]


def probability_of(data: StudyData, member: np.ndarray) -> float:
    """Of a record to be a member: the panel's coin, or where the number of members is fixed their share."""
    split = data.resolved.get("split", {})
    return float(split.get("probability", 0.5)) if split.get("name") == "panel" else float(member.mean())


def over_looks(data: StudyData, p: Any) -> Any:
    """p-values times what the study's number of looks costs: 0.05 is what all looks, ever, may spend together."""
    return np.minimum(1.0, p * (ALPHA / alpha_of_look(data.looks, ALPHA)))


def _attack(rows: pd.DataFrame) -> str:
    attacks = set(rows["attack"])
    if len(attacks) != 1:
        raise Refused(f"AUCs of a cell are those of one attack, got {', '.join(sorted(attacks)) or 'none'}")
    return attacks.pop()
