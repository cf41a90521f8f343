"""The score interval of an AUC (Newcombe 2006, part 2, method 5), from the AUC and two counts only.

It remains valid where the AUC's estimated variance is not: near 0 and 1, and if nothing varied. Source: R. G. Newcombe,
'Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2: asymptotic methods and
evaluation', Statistics in Medicine 25 (2006), 559-573.
"""

import numpy as np

BISECTIONS = 60


def score_variance(auc: float | np.ndarray, members: np.ndarray, non_members: np.ndarray) -> np.ndarray:
    """Variance of the estimate if the true AUC is `auc`, all [...].

    A (1 - A) (1 + N ((1 - A) / (2 - A) + A / (1 + A))) / (n1 n0), N = (n1 + n0) / 2 - 1: Hanley & McNeil's (1982) under
    exponential scores, with the mean of the counts instead of each, so that it is symmetric in A and 1 - A.
    """
    spread = (members + non_members) / 2 - 1
    growth = 1 + spread * ((1 - auc) / (2 - auc) + auc / (1 + auc))
    return auc * (1 - auc) * growth / (members * non_members)


def score_limits(
    auc: np.ndarray, members: np.ndarray, non_members: np.ndarray, z: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both limits [...]: the true AUCs whose distance from `auc` is z >= 0 of their own standard errors."""
    auc, members, non_members = np.broadcast_arrays(np.asarray(auc, dtype=float), members, non_members)
    return _lower(auc, members, non_members, z), 1 - _lower(1 - auc, members, non_members, z)


def _lower(auc: np.ndarray, members: np.ndarray, non_members: np.ndarray, z: float | np.ndarray) -> np.ndarray:
    low, high = np.zeros_like(auc), auc.copy()
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        beyond = auc - middle > z * np.sqrt(score_variance(middle, members, non_members))
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    return low[()]
