"""Leakage metrics of an attack's scores: AUC with its interval, top-n accuracy, TPR at low FPR. Ties count half.

All are computed from the stored float32 scores: `score` [Q], higher = more likely a member, and `member` bool [Q].
Inference uses judged records only: those whose membership every replicate draws anew.
"""

from dataclasses import dataclass

import numpy as np

from mia_core.metrics.float32_scores import float32_scores
from mia_core.metrics.influence import placements
from mia_core.metrics.trial_interval import trial_intervals

PAPER_SHARE = 0.1
"""Share of members in LOGAN's pools: a random tenth is trained on."""

MIN_FALSE_POSITIVES = 10
"""TPR at an FPR is reported only if at least this many false positives are expected."""


@dataclass(frozen=True)
class Leakage:
    """One attack on one target, over its judged records.

    queries: Q, of which `judged` are judged. auc_all: over all queries. auc_low, auc_high: 95 % limits, conditional on
    this target, see `trial_intervals`. accuracy_top_n: share of members among the n highest scores, n the number of
    members; baseline_top_n: the same by chance. advantage (TPR - FPR) and balanced_accuracy: at that threshold.
    accuracy_top_10pct: top-n accuracy in a pool of which a tenth are members, as in LOGAN (chance 0.1), from this ROC.
    tpr_at_*: None if fewer than 10 false positives are expected.
    """

    queries: int
    judged: int
    auc: float
    auc_low: float
    auc_high: float
    auc_all: float
    accuracy_top_n: float
    baseline_top_n: float
    accuracy_top_10pct: float
    advantage: float
    balanced_accuracy: float
    tpr_at_1pct_fpr: float | None
    tpr_at_01pct_fpr: float | None


def judge(
    score: np.ndarray, member: np.ndarray, judged: np.ndarray | None = None, persons: np.ndarray | None = None
) -> Leakage:
    """All metrics of one attack. score [Q], member bool [Q].

    judged: bool [Q], by default all; persons [Q]: the person of each record, if persons have several records.
    ValueError unless scores are finite and the judged records include members and non-members.
    """
    score = float32_scores("judge", score, member, "members")
    queries, every_score, every_member = len(score), score, member
    if judged is not None:
        score, member = score[judged], member[judged]
        persons = None if persons is None else persons[judged]
    inside, outside = score[member], score[~member]
    if not len(inside) or not len(outside):
        raise ValueError(f"judge: needs members and non-members, got {len(inside)} and {len(outside)}")
    auc, low, high = map(float, trial_intervals(score, member, persons))
    tpr = top_n_accuracy(inside, outside, len(inside) / len(score))
    fpr = (1 - tpr) * len(inside) / len(outside)
    return Leakage(
        queries=queries,
        judged=len(score),
        auc=auc,
        auc_low=low,
        auc_high=high,
        auc_all=auc if len(score) == queries else float(placements(every_score, every_member)[every_member].mean()),
        accuracy_top_n=tpr,
        baseline_top_n=len(inside) / len(score),
        accuracy_top_10pct=top_n_accuracy(inside, outside, PAPER_SHARE),
        advantage=tpr - fpr,
        balanced_accuracy=(tpr + 1 - fpr) / 2,
        tpr_at_1pct_fpr=tpr_at_fpr(inside, outside, 0.01),
        tpr_at_01pct_fpr=tpr_at_fpr(inside, outside, 0.001),
    )


def top_n_accuracy(inside: np.ndarray, outside: np.ndarray, share: float) -> float:
    """Share of members among the n highest scores, in a pool of which a `share` are members, n of them in total.

    Precision and TPR are equal there. Ties are broken at random, i.e. the ROC is interpolated linearly.
    """
    fpr, tpr = roc(*_labelled(inside, outside))
    called = share * tpr + (1 - share) * fpr
    return float(np.interp(share, called, tpr))


def _labelled(inside: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([inside, outside]), np.repeat([True, False], [len(inside), len(outside)])


def roc(score: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """FPR and TPR at every distinct threshold, from (0, 0) to (1, 1); ties are one step."""
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.diff(score[order]) != 0, True)
    hits = np.cumsum(member[order])[last_of_tie]
    false_alarms = np.cumsum(~member[order])[last_of_tie]
    fpr = np.concatenate([[0.0], false_alarms / max(1, (~member).sum())])
    return fpr, np.concatenate([[0.0], hits / max(1, member.sum())])


def tpr_at_fpr(inside: np.ndarray, outside: np.ndarray, target: float) -> float | None:
    """TPR of `score >= threshold` at the lowest threshold with an FPR of at most `target`, without interpolation.

    None if fewer than MIN_FALSE_POSITIVES false positives are expected.
    """
    if len(outside) * target < MIN_FALSE_POSITIVES:
        return None
    fpr, tpr = roc(*_labelled(inside, outside))
    return float(tpr[fpr <= target].max())
