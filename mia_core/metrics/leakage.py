"""What an attack's scores reveal: AUC with its interval, top-n accuracy, TPR at low FPR. Ties count half, everywhere.

All from the stored float32 scores: `score` [Q], higher = more likely a member, and `member` bool [Q]. Inference rests
on judged records alone: those whose membership every replicate draws anew.
"""

from dataclasses import dataclass

import numpy as np

from mia_core.metrics.influence import placements
from mia_core.metrics.trial_interval import trial_intervals

PAPER_SHARE = 0.1
"""Members in LOGAN's pools: a random tenth is trained on."""

MIN_FALSE_POSITIVES = 10
"""TPR at an FPR is reported only where at least so many false positives are expected."""


@dataclass(frozen=True)
class Leakage:
    """One attack on one target, over its judged records.

    queries: Q of them in all, `judged` of which are judged. auc_all: over all queries. auc_low, auc_high: 95 %,
    conditional on this target, as of `trial_intervals`. accuracy_top_n: share of members among the n highest scores, n
    the number of members; baseline_top_n: the same by chance. advantage (TPR - FPR) and balanced_accuracy at that
    threshold. accuracy_top_10pct: top-n accuracy in a pool of which a tenth are members, as LOGAN's are (chance 0.1),
    by this ROC. tpr_at_*: None where fewer than 10 false positives are expected.
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
    """All metrics of one attack. judged: bool [Q], by default all; persons [Q]: whose record each is, where several are
    one person's.

    ValueError unless there are members and non-members among the judged, and finite scores.
    """
    if score.shape != member.shape or score.ndim != 1 or member.dtype != np.bool_:
        raise ValueError(f"judge: scores {score.shape} and members {member.shape} {member.dtype} do not match")
    with np.errstate(over="ignore"):
        score = score.astype(np.float32)
    if not np.isfinite(score).all():
        raise ValueError("judge: scores must be finite in float32")
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
    """Share of members among the n highest scores of a pool of which a `share` are members, n of them in all.

    That is precision and TPR at once. Ties are broken at random, which draws the ROC straight between its points.
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
    """TPR of `score >= threshold` at the lowest threshold whose FPR is at most `target`; no interpolation."""
    if len(outside) * target < MIN_FALSE_POSITIVES:
        return None
    fpr, tpr = roc(*_labelled(inside, outside))
    return float(tpr[fpr <= target].max())
