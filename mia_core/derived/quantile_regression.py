"""Quantile regression: a score by how far it lies above what non-members like this record have under the same target.

Bertran et al. (2023) and Tang et al. (2023) fit the quantile of a non-member's score given the record, which needs no
other training. Here the quantile is linear in features of the record, and fitted on records that are never members.
"""

import numpy as np
from scipy.optimize import linprog

ALPHA = 0.1
"""The upper quantile is that of 1 - alpha: as far out as a few hundred never-member records can tell."""
LEAST_SPREAD = 1e-3
"""Of standardized scores: spreads below it count as this."""


def linear_quantile(score: np.ndarray, features: np.ndarray, level: float) -> np.ndarray:
    """Coefficients [F+1], the intercept first, that minimize the pinball loss at `level` (Koenker & Bassett 1978).

    score [N], features [N,F]. By linear programming, so the optimum is exact.
    """
    design = np.column_stack([np.ones(len(score)), features])
    count, width = design.shape
    costs = np.concatenate([np.zeros(width), np.full(count, level), np.full(count, 1 - level)])
    equal = np.hstack([design, np.eye(count), -np.eye(count)])
    bounds = [(None, None)] * width + [(0, None)] * (2 * count)
    found: np.ndarray = linprog(costs, A_eq=equal, b_eq=score, bounds=bounds).x[:width]
    return found


def quantile_regression(
    score: np.ndarray, features: np.ndarray, never_member: np.ndarray, alpha: float = ALPHA
) -> np.ndarray:
    """(s - m(x)) / (q(x) - m(x)), [Q]: m and q are the median and the 1 - alpha quantile, given features [Q,F].

    score [Q], of one target; never_member bool [Q]: records that no training of the study has among its members, on
    which both are fitted. They may not be judged. ValueError for fewer than 10 of them beyond the upper quantile.
    """
    if never_member.sum() * alpha < 10:
        raise ValueError(f"quantile_regression: alpha {alpha:g} takes {10 / alpha:.0f} records that are never members")
    center, upper = (
        np.column_stack([np.ones(len(score)), features])
        @ linear_quantile(score[never_member], features[never_member], level)
        for level in (0.5, 1 - alpha)
    )
    return (score - center) / np.maximum(upper - center, LEAST_SPREAD * score.std())
