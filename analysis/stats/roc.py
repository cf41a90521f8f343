"""ROC of a cell, pooled over its replicates: TPR at each FPR, with the interval that tables have at 1 %."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.stats.inference import judged_scores
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


def roc_of_cell(data: StudyData, rows: pd.DataFrame) -> PooledRoc | None:
    """Of one attack in one cell: rows of the wide table, one a replicate; None with too few non-members for any FPR.

    ValueError for a public copy.
    """
    judged = judged_scores(data, str(rows["attack"].iloc[0]))
    score, member = judged.of(list(rows["trial_id"]))
    least = MIN_FALSE_POSITIVES / max(1, int((~member).sum()))
    if least >= 1:
        return None
    fprs = np.geomspace(least * (1 + 1e-9), 1, POINTS, endpoint=False)
    random = Streams("low_fpr").numpy("groups")
    found = [one for one in pooled_roc(score, member, random, fprs, judged.persons) if one is not None]
    points = np.array([(one.fpr, one.estimate, *one.interval()) for one in found] + [(1.0, 1.0, 1.0, 1.0)])
    fpr, tpr, low, high = points.T
    return PooledRoc(fpr, tpr, low, high, len(member))
