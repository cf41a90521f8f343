"""The judged records of one cell, as records and classes are compared: normal scores, by record and replicate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.stats.baselines import UNAVAILABLE
from analysis.stats.derived_scores import base_labels, fitted_on_each_other, takes_replicates
from analysis.stats.inference import judged_scores, probability_of
from analysis.study_data import ARM, VARIANT, StudyData
from mia_core.derived.evidence import normal_scores
from mia_core.errors import Refused
from mia_core.metrics.influence import sum_by_unit

FEWEST_REPLICATES = 3
"""Noise is what differs between trials on one side; two replicates have one trial a side."""
Cell = Mapping[str, Any]


@dataclass(frozen=True)
class Panel:
    """Judged records of one cell: normal scores and members, [J, R] each, of records that every replicate judges.

    query, unit [J]: of the pool. probability: of each coin.
    """

    query: np.ndarray
    unit: np.ndarray
    score: np.ndarray
    member: np.ndarray
    probability: float

    @property
    def replicates(self) -> int:
        """R."""
        return self.score.shape[1]

    @property
    def units(self) -> int:
        """How many of them are independent."""
        return len(np.unique(self.unit))

    def by_unit(self) -> "Panel":
        """Units with several records, each as one record with their mean score."""
        names, number = np.unique(self.unit, return_inverse=True)
        size = np.bincount(number)
        score = sum_by_unit(self.score.T, number).T / size[:, None]
        member = self.member[np.unique(number, return_index=True)[1]]
        several = size > 1
        return Panel(names[several], names[several], score[several], member[several], self.probability)


def scored_by(data: StudyData, attack: str) -> str:
    """The attack whose scores tell a record's difference: itself, or its base.

    One that takes the record's own score in other replicates (calibration, LiRA, RMIA) compares what the difference of
    its IN and OUT scores compares already, and its scores change with the record's coins. An ensemble knows other
    replicates by its weights alone, which are of all records: one record's coins move them by the order of 1 / J.
    """
    bases = base_labels(data, attack)
    return bases[0] if len(bases) == 1 and takes_replicates(data.attack(attack)) else attack


def panel_of(data: StudyData, attack: str, cell: Cell | None = None) -> Panel | str:
    """The judged records of one cell, or why there are none.

    cell: levels of `data.cell`; by default without defense, at the smallest n after the last level. The scores are
    those of `scored_by`.
    """
    attack = scored_by(data, attack)
    rows = data.attack(attack)
    if fitted_on_each_other(rows):
        return f"an earlier version fitted {attack} on all replicates; the same sweep again derives it anew"
    at = {VARIANT: data.variants[0], ARM: data.arms[0], "train_size": rows["train_size"].min(), data.budget: None}
    at |= cell or {}
    if unknown := set(at) - set(data.cell):
        raise Refused(f"records: a cell has {', '.join(data.cell)}, not {', '.join(sorted(unknown))}")
    for name in (VARIANT, ARM, "train_size"):
        rows = rows[rows[name] == at[name]]
    last = at[data.budget]
    rows = rows[rows[data.budget] == (rows[data.budget].max() if last is None else last)]
    if rows.empty:
        raise Refused(f"records: no trial of {attack} at {at}")
    if data.public:
        return UNAVAILABLE
    if rows["replicate"].nunique() < FEWEST_REPLICATES:
        return f"{rows['replicate'].nunique()} replicates; a record's noise is seen from {FEWEST_REPLICATES} on"
    judged = judged_scores(data, attack)
    score, member = judged.of(list(rows.sort_values("replicate")["trial_id"]))
    return Panel(judged.query, judged.unit, normal_scores(score).T, member.T, probability_of(data, member))
