"""Upper bounds under a privacy guarantee: ceilings of an attack's AUC and of its TPR at an FPR.

Membership of a record is a test between two neighbors, so its ROC lies below 1 - f, f the mechanism's trade-off curve
(Wasserman & Zhou 2010; Kairouz, Oh & Viswanath 2015; Dong, Roth & Su 2022). A `Profile` of many (epsilon, delta) pairs
approximates the accountant's curve from above. A `Gaussian` may be used only if the mechanism's mu is known (every
record in every step: mu^2 = sum steps / sigma^2): a mu fitted to one (epsilon, delta) pair is no bound, since most
mechanisms with that pair leak more at other pairs. If a coin changes k records, use `Profile.of_group(k)`. Ceilings
bound expectations over trainings; a mean over few trainings may exceed one by chance.
"""

import math

import numpy as np
from scipy.special import ndtr

from mia_core.metrics.audit import Curve, Gaussian, Profile

CURVE_DELTAS = tuple(float(f"{delta:.3g}") for delta in np.geomspace(1e-6, 0.9, 60))
"""Deltas at which to evaluate an accountant: the AUC's ceiling is then within .003 of the whole curve's."""


def tpr_ceiling(curve: Curve, fpr: float) -> float:
    """The highest TPR at an FPR in [0, 1] under a trade-off curve: 1 - f(fpr).

    For one (epsilon, delta) pair, `Profile(np.array([epsilon]), np.array([delta]))`, it is min(e^epsilon a + delta, 1 -
    e^-epsilon (1 - delta - a)) at FPR a, and at most 1. ValueError for an FPR outside [0, 1].
    """
    if not 0 <= fpr <= 1:
        raise ValueError(f"tpr_ceiling: needs an FPR in [0, 1], got {fpr}")
    # An event with probability 1 - fpr without the record has at least `least` with it; the test is its complement.
    return 1 - curve.least(1 - fpr)


def auc_ceiling(curve: Profile | Gaussian) -> float:
    """The area under the highest ROC that a trade-off curve allows; at least 1/2.

    Phi(mu / sqrt 2) for a Gaussian. A profile's ROC is the minimum of its lines: concave and piecewise linear, so that
    trapezoids between the lines' intersections are exact.
    """
    if isinstance(curve, Gaussian):
        return float(ndtr(curve.mu / math.sqrt(2)))
    # Lines TPR = start + slope FPR: e^epsilon a + delta, 1 - e^-epsilon (1 - delta - a), and 1.
    slope = np.concatenate([np.exp(curve.epsilons), np.exp(-curve.epsilons), [0.0]])
    start = np.concatenate([curve.deltas, 1 - np.exp(-curve.epsilons) * (1 - curve.deltas), [1.0]])
    corners = _meeting(start, slope)
    return float(np.trapezoid((start + slope * corners[:, None]).min(1), corners))


def _meeting(start: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """0, 1 and the FPRs in between at which any two of the lines [K] intersect, ascending."""
    with np.errstate(divide="ignore", invalid="ignore"):
        meet = (start[None, :] - start[:, None]) / (slope[:, None] - slope[None, :])
    inside = meet[np.isfinite(meet) & (meet > 0) & (meet < 1)]
    return np.unique(np.concatenate([[0.0, 1.0], inside]))
