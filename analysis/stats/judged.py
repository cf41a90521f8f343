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

from analysis.study_data import StudyData
from mia_core.errors import Refused
from mia_core.metrics.control_variate import applies, with_control_variate
from mia_core.metrics.influence import Aucs, aucs
from mia_core.metrics.low_fpr import LowFprTpr, tpr_at_low_fpr
from mia_core.metrics.two_way import CellSum, Estimate, MeanAuc, mean_auc, weighted_sum
from mia_core.streams import Streams
from study.store import read

AUC = "auc"
TPR = "tpr_at_1pct_fpr"
SCOPE = {
    False: "records like these: intervals allow for other replicates and for other records",
    True: "these records only: a public copy has no scores, so that intervals allow for other replicates alone",
}
"""What intervals of AUC speak of, by whether a study is a public copy."""


@dataclass(frozen=True)
class JudgedScores:
    """Of one attack: score, member [N, J] of N trials, which judge the same J records; place: the row of each trial.

    persons [J]: whose record each is; None where every record is a unit of its own. aucs: [N], with influences.
    """

    place: dict[str, int]
    score: np.ndarray
    member: np.ndarray
    persons: np.ndarray | None
    aucs: Aucs

    def of(self, trials: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """score and member [R, J] of trials, in their order."""
        rows = [self.place[trial] for trial in trials]
        return self.score[rows], self.member[rows]


def judged_scores(data: StudyData, attack: str) -> JudgedScores:
    """Of one attack, by its label; ValueError for a public copy, and where its trials judge different records."""
    if ("judged", attack) not in data.kept:
        data.kept["judged", attack] = _judged_scores(data, attack)
    return data.kept["judged", attack]


def _judged_scores(data: StudyData, attack: str) -> JudgedScores:
    rows = data.wide.loc[data.wide["attack"] == attack, ["trial_id", "attack_id"]]
    parts = _parts(data)
    found = [parts[key] for key in rows.itertuples(index=False, name=None)]
    first = found[0]
    if any(not np.array_equal(part["query"], first["query"]) for part in found):
        raise Refused(f"study {data.name}: trials of {attack} judge different records, and cannot be compared")
    score, member = (np.stack([part[name] for part in found]) for name in ("score", "member"))
    persons = first["unit"] if len(set(first["unit"])) < len(first["unit"]) else None
    place = {trial: row for row, trial in enumerate(rows["trial_id"])}
    return JudgedScores(place, score, member, persons, aucs(score, member, persons))


def _parts(data: StudyData) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """query, unit, member, score of the judged rows of each trial and attack, by query."""
    if "parts" not in data.kept:
        scores = read(data.store.root, data.name, "scores") if data.scores is None else data.scores
        scores = scores[scores["judged"].fillna(True).astype(bool)]
        scores = scores.sort_values(["trial_id", "attack_id", "query"], kind="stable")
        columns = {"query": int, "unit": int, "member": bool, "score": float}
        values = {name: scores[name].to_numpy(kind) for name, kind in columns.items()}
        keys = scores[["trial_id", "attack_id"]]
        starts = np.flatnonzero((keys != keys.shift()).any(axis=1).to_numpy())
        ends = [*starts[1:], len(keys)]
        data.kept["parts"] = {
            (trial, attack): {name: column[start:end] for name, column in values.items()}
            for (trial, attack), start, end in zip(
                keys.iloc[starts].itertuples(index=False, name=None), starts, ends, strict=True
            )
        }
    return data.kept["parts"]


def aucs_of(data: StudyData, rows: pd.DataFrame) -> Aucs:
    """AUCs and influences [R] of rows of one attack, in their order; see the head of this file for a public copy."""
    if not data.public:
        found = judged_scores(data, _attack(rows))
        return found.aucs[[found.place[trial] for trial in rows["trial_id"]]]
    members = (rows["queries"] * rows["baseline_top_n"]).round().to_numpy(int)
    queries = rows["queries"].to_numpy(int)
    return Aucs(rows[AUC].to_numpy(float), np.zeros((len(rows), int(queries.min()))), members, queries - members)


def mean_of(data: StudyData, rows: pd.DataFrame) -> MeanAuc:
    """Of a cell, rows of one attack, a replicate each; with the control variate where its rule says so."""
    if data.public or not applies(len(rows)):
        return mean_auc(aucs_of(data, rows))
    key = ("mean", _attack(rows), tuple(rows["trial_id"]))
    if key not in data.kept:
        found = judged_scores(data, _attack(rows))
        data.kept[key] = mean_auc(with_control_variate(*found.of(list(rows["trial_id"])), found.persons))
    return data.kept[key]


def tpr_of(data: StudyData, rows: pd.DataFrame) -> LowFprTpr | None:
    """TPR at 1 % FPR of a cell, pooled over its replicates; None below 10 expected false positives, or without scores.

    rows: as of `mean_of`.
    """
    if data.public:
        return None
    key = ("tpr", _attack(rows), tuple(rows["trial_id"]))
    if key not in data.kept:
        found = judged_scores(data, _attack(rows))
        random = Streams("low_fpr").numpy("groups")
        data.kept[key] = tpr_at_low_fpr(*found.of(list(rows["trial_id"])), random, found.persons)
    return data.kept[key]


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


def columns_of_sum(found: CellSum, values: np.ndarray) -> dict[str, Any]:
    """effect, low, high, p, sd, sd_records, replicates, descriptive of a weighted sum, values [R] of whose replicates.

    sd: of one replicate. sd_records: what no further replicate takes away, for it is of the records; 0 where no
    replicate can tell.
    """
    low, high = found.interval()
    return {
        "effect": float(found.estimate),
        "low": float(low),
        "high": float(high),
        "p": float(found.p_value()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else float("nan"),
        "sd_records": float(np.nan_to_num(found.variance.between_records) ** 0.5),
        "replicates": found.replicates,
        "descriptive": found.descriptive,
    }


def sum_of(parts: Sequence[Aucs], weights: Sequence[float]) -> dict[str, Any]:
    """The same columns of cells [R] each, weighted; values are taken inside replicates and records."""
    values = np.sum([weight * part.auc for weight, part in zip(weights, parts, strict=True)], axis=0)
    return columns_of_sum(weighted_sum(parts, weights), values)


def _attack(rows: pd.DataFrame) -> str:
    attacks = set(rows["attack"])
    if len(attacks) != 1:
        raise Refused(f"AUCs of a cell are those of one attack, got {', '.join(sorted(attacks)) or 'none'}")
    return attacks.pop()
