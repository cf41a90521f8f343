"""What a privacy guarantee leaves an attacker at most: ceilings of AUC and of TPR at an FPR.

Membership of a record is a test between two neighbors, so its ROC lies below 1 - f, f the mechanism's trade-off curve
(Wasserman & Zhou 2010; Kairouz, Oh & Viswanath 2015; Dong, Roth & Su 2022). A `Profile` of many (epsilon, delta) pairs
is the accountant's whole curve, from above; a `Gaussian` is one only where its mu is known of the mechanism itself
(every record in every step: mu^2 = sum steps / sigma^2): a mu fitted to one (epsilon, delta) pair bounds nothing, for
most mechanisms with that pair leak more elsewhere. Where a coin changes k records, take `Profile.of_group(k)`. Ceilings
bound expectations over trainings; a mean over few trainings may lie above one by chance.
"""

import math

import numpy as np
from scipy.special import ndtr

from mia_core.metrics.audit import Curve, Gaussian, Profile

CURVE_DELTAS = tuple(float(f"{delta:.3g}") for delta in np.geomspace(1e-6, 0.9, 60))
"""Where to ask an accountant for its epsilons: AUC's ceiling is then within .003 of that of the whole curve."""


def tpr_ceiling(curve: Curve, fpr: float) -> float:
    """The highest TPR at an FPR in [0, 1] under a trade-off curve: 1 - f(fpr).

    For one (epsilon, delta) pair, `Profile(np.array([epsilon]), np.array([delta]))`, it is min(e^epsilon a + delta,
    1 - e^-epsilon (1 - delta - a)) at FPR a, and at most 1. ValueError for an FPR outside [0, 1].
    """
    if not 0 <= fpr <= 1:
        raise ValueError(f"tpr_ceiling: needs an FPR in [0, 1], got {fpr}")
    # An event of probability 1 - fpr without the record has at least `least` with it; the test is its complement.
    return 1 - curve.least(1 - fpr)


def auc_ceiling(curve: Profile | Gaussian) -> float:
    """The area under the highest ROC that a trade-off curve allows; at least 1/2.

    Phi(mu / sqrt 2) of a Gaussian. A profile's ROC is the lowest of its lines: concave, straight between the points
    where two of them meet, so that trapezoids there are exact.
    """
    if isinstance(curve, Gaussian):
        return float(ndtr(curve.mu / math.sqrt(2)))
    # Lines TPR = start + slope FPR: e^epsilon a + delta, 1 - e^-epsilon (1 - delta - a), and 1.
    slope = np.concatenate([np.exp(curve.epsilons), np.exp(-curve.epsilons), [0.0]])
    start = np.concatenate([curve.deltas, 1 - np.exp(-curve.epsilons) * (1 - curve.deltas), [1.0]])
    corners = _meeting(start, slope)
    return float(np.trapezoid((start + slope * corners[:, None]).min(1), corners))


def _meeting(start: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """0, 1 and where in between any two of the lines [K] meet, in order."""
    with np.errstate(divide="ignore", invalid="ignore"):
        meet = (start[None, :] - start[:, None]) / (slope[:, None] - slope[None, :])
    inside = meet[np.isfinite(meet) & (meet > 0) & (meet < 1)]
    return np.unique(np.concatenate([[0.0, 1.0], inside]))


def gaussian_dominates(mu: float, profile: Profile) -> bool:
    """Whether Gaussian(mu) has at least each pair's epsilon at its delta.

    Without it Phi(mu / sqrt 2) must not stand beside a mechanism of these pairs. It looks at the pairs only;
    `auc_ceiling(profile)` is a ceiling without it.
    """
    pairs = zip(profile.epsilons.tolist(), profile.deltas.tolist(), strict=True)
    return all(Gaussian(mu).epsilon(delta) >= epsilon for epsilon, delta in pairs)
