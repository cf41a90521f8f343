"""ROC over replicates, from the judged scores: the mean TPR at each FPR, and below which FPR it is chance."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import t

from analysis.stats.inference import judged_scores
from analysis.study_data import StudyData
from mia_core.metrics.leakage import MIN_FALSE_POSITIVES, roc

POINTS = 200


@dataclass(frozen=True)
class MeanRoc:
    """fpr [G], ascending to 1; tpr [G], the mean over replicates of the TPR at the lowest threshold whose FPR is at
    most that; low, high [G], its 95 % t interval over replicates on the logit scale, for these records, so that it
    stays between 0 and 1 (the value itself where no replicate differs). floor: the least FPR with 10 expected false
    positives.
    """

    fpr: np.ndarray
    tpr: np.ndarray
    low: np.ndarray
    high: np.ndarray
    floor: float
    replicates: int


def mean_roc(data: StudyData, rows: pd.DataFrame) -> MeanRoc:
    """Of one attack in one cell: rows of the wide table, one a replicate. ValueError for a public copy."""
    scores, member = judged_scores(data, str(rows["attack"].iloc[0])).of(list(rows["trial_id"]))
    curves = [roc(own, inside) for own, inside in zip(scores, member, strict=True)]
    fewest = int((~member).sum(1).min())
    fpr = np.geomspace(0.5 / fewest, 1, POINTS)
    tpr = np.array([own[np.searchsorted(at, fpr * (1 + 1e-9), "right") - 1] for at, own in curves])
    low, high = logit_band(tpr)
    return MeanRoc(fpr, tpr.mean(0), low, high, min(1.0, MIN_FALSE_POSITIVES / fewest), len(tpr))


def logit_band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % t interval of the mean of shares [R, G], on the logit scale about the logit of the mean; NaN for R = 1."""
    count, mean = len(values), values.mean(0)
    if count < 2:
        return np.full(mean.shape, np.nan), np.full(mean.shape, np.nan)
    error = values.std(0, ddof=1) / count**0.5
    spread = mean * (1 - mean)
    half = t.ppf(0.975, count - 1) * np.divide(error, spread, out=np.zeros_like(error), where=spread > 0)
    return expit(logit(mean) - half), expit(logit(mean) + half)
