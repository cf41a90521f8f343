"""One-sided bounds of one target's TPR at a low FPR, valid for any number of records and any ROC.

The threshold t* at which a share `fpr` of all non-members is called is not known. At t*, the number of non-members
called is Binomial(n0, fpr) and that of members Binomial(n1, TPR), independently. A TPR is rejected if at every
threshold t either the tail probability p0 of the number of non-members is at most tail / 4, or its product p0 p1 with
that of the number of members is as small as at most 3/4 of `tail` of all samples have it at t* (Fisher 1932: P(U V <=
c) = c (1 - log c) for uniform U, V; tail probabilities of counts are larger than uniform). t* is one of the thresholds,
so a true TPR is rejected with probability at most `tail`.
"""

import numpy as np
from scipy.special import betainc, betaincc, betainccinv, betaincinv
from scipy.stats import chi2

from mia_core.metrics.influence import effective, units_of

OF_NON_MEMBERS = 0.25
"""Share of the error probability for thresholds that call far too few, or too many, non-members to be t*."""


def tpr_bounds(
    score: np.ndarray, member: np.ndarray, tail: float, persons: np.ndarray | None = None, fpr: float = 0.01
) -> tuple[float, float]:
    """Lower and upper bound of the TPR at `fpr`, each one-sided with error probability at most `tail`.

    score [Q], higher = more likely a member; member bool [Q]; persons [Q]: of each record. A tie counts as the bound at
    hand needs it, so that both hold for the ROC with ties broken at random, and the upper one for thresholds as well.
    With persons, counts are scaled to (sum n_i)^2 / sum n_i^2 records, n_i the records of person i (Kish 1965): as if
    all records of a person had one score, which is the least favorable case for persons of equally many records. For
    others the bounds are approximate: simulated, they missed less often than `tail`, also where the persons with most
    records are called most. ValueError without members or others.
    """
    if score.shape != member.shape or not member.any() or member.all() or np.isnan(score).any():
        raise ValueError(
            f"tpr_bounds: needs members, non-members and scores {score.shape} that match {member.shape}, none NaN"
        )
    inside, outside = np.sort(score[member]), np.sort(score[~member])
    unit = units_of(persons, len(score))
    size_1, size_0 = (float(effective(np.bincount(unit[side]))) for side in (member, ~member))
    scale_1, scale_0 = size_1 / len(inside), size_0 / len(outside)
    # More non-members than this are called at t* with probability below 1e-12; no bound is attained beyond.
    most_called = (size_0 * fpr + 10 * np.sqrt(size_0 * fpr) + 30) / scale_0
    called = np.arange(min(len(outside), int(most_called)) + 1)
    k0 = called * scale_0
    product = np.exp(-chi2.isf((1 - OF_NON_MEMBERS) * tail, 4) / 2)
    least_likely = max(product, OF_NON_MEMBERS * tail)

    # So many members at most are called together with `called` non-members: those not below the next non-member.
    descending = np.append(outside[::-1], -np.inf)
    most = (len(inside) - np.searchsorted(inside, descending[called], side="left")) * scale_1
    above = np.where(called > 0, betainc(np.maximum(k0, 1e-12), size_0 - k0 + 1, fpr), 1.0)
    at_hand = above > least_likely
    high = _upper(most[at_hand], size_1, product / above[at_hand]).max()

    # So many members at least: those above the last non-member that is called.
    above_last = len(inside) - np.searchsorted(inside, descending[called - 1], side="right")
    least = np.where(called > 0, above_last, 0) * scale_1
    below = np.where(k0 < size_0, betaincc(k0 + 1, np.maximum(size_0 - k0, 1e-12), fpr), 1.0)
    at_hand = below > least_likely
    low = _lower(least[at_hand], size_1, product / below[at_hand]).min()
    return float(low), float(high)


def share_bounds(hits: float, size: float, tail: float) -> tuple[float, float]:
    """Clopper & Pearson's (1934) lower and upper bound of a share, one-sided each, from `hits` of `size`."""
    one, level = np.array([float(hits)]), np.array([tail])
    return float(_lower(one, size, level)[0]), float(_upper(one, size, level)[0])


def _upper(hits: np.ndarray, size: float, tail: np.ndarray) -> np.ndarray:
    """Upper bounds of shares from hits [K], at tails [K]."""
    misses = size - hits
    return np.where(misses > 1e-9, betainccinv(hits + 1, np.maximum(misses, 1e-9), tail), 1.0)


def _lower(hits: np.ndarray, size: float, tail: np.ndarray) -> np.ndarray:
    """Lower bounds of shares from hits [K], at tails [K]."""
    return np.where(hits > 0, betaincinv(np.maximum(hits, 1e-9), size - hits + 1, tail), 0.0)
