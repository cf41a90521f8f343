"""ROC over replicates, from the stored scores: the mean TPR at each FPR, and below which FPR it is chance."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t

from analysis.study_data import StudyData
from mia_core.metrics.leakage import MIN_FALSE_POSITIVES, roc
from study.store.reading import trial_tables

POINTS = 200


@dataclass(frozen=True)
class MeanRoc:
    """fpr [G], ascending to 1; tpr [G], the mean over replicates of the TPR at the lowest threshold whose FPR is at
    most that; low, high [G], its 95 % t interval. floor: the least FPR with 10 expected false positives.
    """

    fpr: np.ndarray
    tpr: np.ndarray
    low: np.ndarray
    high: np.ndarray
    floor: float
    replicates: int


def mean_roc(data: StudyData, rows: pd.DataFrame) -> MeanRoc:
    """Of one attack in one cell: rows of the wide table, one a replicate. ValueError for a public copy."""
    curves, fewest = [], np.inf
    for trial_id, attack_id in zip(rows["trial_id"], rows["attack_id"], strict=True):
        scores = trial_tables(data.store, trial_id, ("scores",))[1]["scores"]
        own = scores[scores["attack_id"] == attack_id]
        member = own["member"].to_numpy(bool)
        curves.append(roc(own["score"].to_numpy(), member))
        fewest = min(fewest, int((~member).sum()))
    fpr = np.geomspace(0.5 / fewest, 1, POINTS)
    tpr = np.array([own[np.searchsorted(at, fpr * (1 + 1e-9), "right") - 1] for at, own in curves])
    count = len(tpr)
    half = np.full(POINTS, np.nan)
    if count > 1:
        half = t.ppf(0.975, count - 1) * tpr.std(0, ddof=1) / count**0.5
    mean = tpr.mean(0)
    return MeanRoc(fpr, mean, mean - half, mean + half, min(1.0, MIN_FALSE_POSITIVES / fewest), count)
