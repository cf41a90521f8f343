"""What an attack's scores reveal: AUC with its interval, top-n accuracy, TPR at low FPR. Ties count half, everywhere.

All from the stored float32 scores: `score` [Q], higher = more likely a member, and `member` bool [Q].
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

PAPER_SHARE = 0.1
"""Members in LOGAN's pools: a random tenth is trained on."""

MIN_FALSE_POSITIVES = 10
"""TPR at an FPR is reported only where at least so many false positives are expected."""


@dataclass(frozen=True)
class Leakage:
    """One attack on one target.

    auc_low, auc_high: 95 % DeLong interval, conditional on this target. accuracy_top_n: share of members among the n
    highest scores, n the number of members; baseline_top_n: the same by chance, n / Q. advantage (TPR - FPR) and
    balanced_accuracy at that threshold. accuracy_top_10pct: top-n accuracy in a pool of which a tenth are members, as
    LOGAN's are (chance 0.1), by this ROC. tpr_at_*: None where fewer than 10 false positives are expected.
    """

    queries: int
    auc: float
    auc_low: float
    auc_high: float
    accuracy_top_n: float
    baseline_top_n: float
    accuracy_top_10pct: float
    advantage: float
    balanced_accuracy: float
    tpr_at_1pct_fpr: float | None
    tpr_at_01pct_fpr: float | None


def judge(score: np.ndarray, member: np.ndarray) -> Leakage:
    """All metrics of one attack; ValueError unless there are members and non-members, and finite scores."""
    if score.shape != member.shape or score.ndim != 1 or member.dtype != np.bool_:
        raise ValueError(f"judge: scores {score.shape} and members {member.shape} {member.dtype} do not match")
    with np.errstate(over="ignore"):
        score = score.astype(np.float32)
    if not np.isfinite(score).all():
        raise ValueError("judge: scores must be finite in float32")
    inside, outside = score[member], score[~member]
    if not len(inside) or not len(outside):
        raise ValueError(f"judge: needs members and non-members, got {len(inside)} and {len(outside)}")
    auc, low, high = delong_interval(inside, outside)
    tpr = top_n_accuracy(inside, outside, len(inside) / len(score))
    fpr = (1 - tpr) * len(inside) / len(outside)
    return Leakage(
        queries=len(score),
        auc=auc,
        auc_low=low,
        auc_high=high,
        accuracy_top_n=tpr,
        baseline_top_n=len(inside) / len(score),
        accuracy_top_10pct=top_n_accuracy(inside, outside, PAPER_SHARE),
        advantage=tpr - fpr,
        balanced_accuracy=(tpr + 1 - fpr) / 2,
        tpr_at_1pct_fpr=tpr_at_fpr(inside, outside, 0.01),
        tpr_at_01pct_fpr=tpr_at_fpr(inside, outside, 0.001),
    )


def delong_interval(inside: np.ndarray, outside: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """AUC and its interval by DeLong et al. (1988), from midranks as in Sun & Xu (2014).

    inside [n], outside [m]: scores of members and of non-members. Perfect separation has no DeLong variance; there the
    far end is where min(n, m) successes out of as many would still be likely (Clopper & Pearson 1934).
    """
    n, m = len(inside), len(outside)
    ranks = rankdata(np.concatenate([inside, outside]))
    place_inside = (ranks[:n] - rankdata(inside)) / m
    place_outside = 1 - (ranks[n:] - rankdata(outside)) / n
    auc = float(place_inside.mean())
    alpha = 1 - level
    if auc in (0.0, 1.0):
        far = (alpha / 2) ** (1 / min(n, m))
        return auc, auc * far, 1 - (1 - auc) * far
    variance = _variance(place_inside) / n + _variance(place_outside) / m
    half = float(norm.ppf(1 - alpha / 2)) * variance**0.5
    return auc, max(0.0, auc - half), min(1.0, auc + half)


def _variance(values: np.ndarray) -> float:
    """Sample variance; a single value has the largest one a share can have."""
    return float(values.var(ddof=1)) if len(values) > 1 else 0.25


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
