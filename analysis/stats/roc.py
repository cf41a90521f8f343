"""ROC of a cell, pooled over its replicates: TPR at each FPR, with the interval that tables have at 1 %."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.study_data import StudyData
from mia_core.metrics.leakage import MIN_FALSE_POSITIVES
from mia_core.metrics.low_fpr import pooled_roc
from mia_core.streams import Streams

POINTS = 60


@dataclass(frozen=True)
class PooledRoc:
    """fpr [G], ascending from where 10 false positives are expected in the cell to 1. tpr [G]: of calling the same
    share of every target's candidates. low, high [G]: 95 % for records like these, on the logit scale; NaN for one
    replicate.
    """

    fpr: np.ndarray
    tpr: np.ndarray
    low: np.ndarray
    high: np.ndarray
    replicates: int


def roc_of_cell(data: StudyData, rows: pd.DataFrame, scores: pd.DataFrame) -> PooledRoc | None:
    """Of one attack in one cell: rows of the wide table, one a replicate; None with too few non-members for any FPR.

    scores: the study's, of which the judged records count.
    """
    own = scores[scores["judged"].fillna(True).astype(bool)].merge(rows[["trial_id", "attack_id", "replicate"]])
    score, member = (
        own.pivot(index="query", columns="replicate", values=name).dropna() for name in ("score", "member")
    )
    unit = own.drop_duplicates("query").set_index("query")["unit"].loc[score.index].to_numpy()
    inside = member.to_numpy(bool).T
    least = MIN_FALSE_POSITIVES / max(1, int((~inside).sum()))
    if least >= 1:
        return None
    fprs = np.geomspace(least * (1 + 1e-9), 1, POINTS, endpoint=False)
    random = Streams("low_fpr").numpy("groups")
    found = [one for one in pooled_roc(score.to_numpy().T, inside, random, fprs, unit) if one is not None]
    limits = np.array([one.interval() for one in found])
    end = np.ones(1)
    tpr = np.array([float(one.estimate) for one in found])
    return PooledRoc(
        np.append([one.fpr for one in found], end),
        np.append(tpr, end),
        np.append(limits[:, 0], end),
        np.append(limits[:, 1], end),
        len(inside),
    )
