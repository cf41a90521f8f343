"""The interval of one trial's AUC, conditional on its target, as in a row of a table.

It covers the AUC of more records under the same target. For other targets, see the two-way interval.
"""

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm

from mia_core.metrics.influence import effective, placements, sum_by_unit, units_of
from mia_core.metrics.score_interval import score_limits

FEWEST_ERRORS = 3
"""min(n1, n0) min(A, 1 - A) below which the score interval is used."""
ROUNDING = 1e-9
"""Tolerance, so that A and 1 - A are treated alike if that product equals FEWEST_ERRORS."""


def trial_intervals(
    scores: np.ndarray, member: np.ndarray, persons: np.ndarray | None = None, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """AUC, low and high, [...] each, of scores [..., Q] and members, bool [..., Q]; persons [Q]: of each record.

    DeLong et al.'s (1988) variance on the logit scale, expit(logit(A) +- z sd / (A (1 - A))); with persons Obuchowski's
    (1997) for clustered data, of deviations as `left_out` makes them. Newcombe's score interval, with the numbers of
    records, or of as many persons of equal size (`effective`), if too few pairs are in the wrong order, or if a side
    has a single unit, whose variance is unknown. ValueError unless every target has members and non-members, and no
    score is NaN.
    """
    placement, inside = placements(scores, member), member.sum(-1)
    outside = member.shape[-1] - inside
    auc = np.where(member, placement, 0).sum(-1) / inside
    deviation = placement - auc[..., None]
    unit = units_of(persons, member.shape[-1])
    sizes = [sum_by_unit(side, unit) for side in (member, ~member)]
    by_side = [
        sum_by_unit(np.where(side, deviation, 0), unit) * left_out(size)
        for side, size in zip((member, ~member), sizes, strict=True)
    ]
    held = [(size > 0).sum(-1) for size in sizes]
    variance = _cluster_variance(by_side, held, inside, outside, int(unit.max()) + 1)
    counts = [effective(size) for size in sizes]
    fewest = np.minimum(*counts)
    sparse = (fewest * np.minimum(auc, 1 - auc) < FEWEST_ERRORS - ROUNDING) | (fewest < 2) | (variance <= 0)
    z = norm.ppf((1 + level) / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        half = z * np.sqrt(variance) / (auc * (1 - auc))
        low, high = expit(logit(auc) - half), expit(logit(auc) + half)
    if np.any(sparse):
        limits = score_limits(auc, counts[0], counts[1], z)
        low, high = np.where(sparse, limits[0], low), np.where(sparse, limits[1], high)
    return auc, low[()], high[()]


def left_out(records: np.ndarray) -> np.ndarray:
    """How much further a unit is from the mean of the others on its side than from the mean with itself, [..., m].

    records [..., m]: of each unit, on one side. It is 1 / (1 - n_i / n) for n_i of n records, over what it would be if
    all k units had as many, 1 / (1 - 1 / k): 1 for equal sizes. A person with many of the records draws the mean, so
    that the squares of deviations from it say too little of their variance (HC3 of MacKinnon & White 1985).
    """
    there = records > 0
    rest = 1 - records / records.sum(-1, keepdims=True)
    equal = 1 - 1 / there.sum(-1, keepdims=True)
    return np.divide(equal, rest, out=np.ones(records.shape), where=there & (rest > 0))


def _cluster_variance(
    by_side: list[np.ndarray], held: list[np.ndarray], inside: np.ndarray, outside: np.ndarray, units: int
) -> np.ndarray:
    """S10 / n1 + S01 / n0 + 2 S11 / (n1 n0), from each unit's sums of deviations over its IN and its OUT records.

    S10 = k1 / ((k1 - 1) n1) sum over units of the squared sums, k1 the number of units with IN records; S01 likewise;
    S11 = k / (k - 1) sum of the products, k the number of all units. With single records it is DeLong's, since S11 is
    0.
    """
    members, others = by_side
    k1, k0 = (np.maximum(count, 2) / np.maximum(count - 1, 1) for count in held)
    own = k1 * (members**2).sum(-1) / inside**2 + k0 * (others**2).sum(-1) / outside**2
    return own + 2 * units / max(1, units - 1) * (members * others).sum(-1) / (inside * outside)
