"""Quantile regression: a score by how far it lies above what non-members like this record have under the same target.

Bertran et al. (2023) and Tang et al. (2023) fit the quantile of a non-member's score given the record, which needs no
other training. They fit a network; here quantiles are linear in principal components of the image, and fitted on a few
hundred records that are never members.
"""

from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from scipy.optimize import linprog
from scipy.sparse import csr_array, eye_array, hstack

from mia_core.derived.derived_attack import DERIVED, DerivedAttack
from mia_core.derived.evidence import Evidence, divided
from mia_core.settings import settings
from mia_core.spaces import Pca

LEAST_SPREAD = 1e-3
"""Of scores in standard deviations of the never-member records: spreads below it count as this."""
BEYOND = 10
"""So many never-member records are to lie beyond the upper quantile, and to be there for each coefficient."""


def linear_quantile(score: np.ndarray, features: np.ndarray, level: float) -> np.ndarray:
    """Coefficients [F+1], the intercept first, that minimize the pinball loss at `level` (Koenker & Bassett 1978).

    score [N], features [N,F]. By linear programming, so the optimum is exact. RuntimeError where it is not reached.
    """
    design = np.column_stack([np.ones(len(score)), features])
    count, width = design.shape
    costs = np.concatenate([np.zeros(width), np.full(count, level), np.full(count, 1 - level)])
    equal = hstack([csr_array(design), eye_array(count), -eye_array(count)], format="csr")
    bounds = [(None, None)] * width + [(0, None)] * (2 * count)
    solved = linprog(costs, A_eq=equal, b_eq=score, bounds=bounds)
    if not solved.success:
        raise RuntimeError(f"quantile_regression: the quantile {level:g} of {count} scores: {solved.message}")
    found: np.ndarray = solved.x[:width]
    return found


def quantile_regression(score: np.ndarray, features: np.ndarray, never_member: np.ndarray, alpha: float) -> np.ndarray:
    """(s - m(x)) / (q(x) - m(x)), [Q]: m and q are the median and the 1 - alpha quantile, given features [Q,F].

    score [Q], of one target; never_member bool [Q]: records that no training of the study has among its members, on
    which both are fitted. They may not be judged.
    """
    outside = score[never_member]
    score = divided(score - outside.mean(), np.asarray(outside.std()))
    center, upper = (
        np.column_stack([np.ones(len(score)), features])
        @ linear_quantile(score[never_member], features[never_member], level)
        for level in (0.5, 1 - alpha)
    )
    return (score - center) / np.maximum(upper - center, LEAST_SPREAD)


def components_of(records: np.ndarray, never_member: np.ndarray, components: int) -> np.ndarray:
    """The first principal components of the never-member records, [Q,F], of records [Q,D]; of variance 1 for them.

    ValueError as of `Pca`.
    """
    images = torch.from_numpy(np.ascontiguousarray(records))
    found = Pca(images[never_member], components)(images).double().numpy()
    return divided(found, found[never_member].std(0))


@DERIVED.register
class QuantileRegression(DerivedAttack):
    """See `quantile_regression`. It takes the target's own scores alone, of records that are never its members."""

    name = "quantile_regression"
    needs_reference = False

    @settings
    class Config:
        """alpha: the upper quantile is that of 1 - alpha. components: principal components that quantiles depend on."""

        alpha: Annotated[float, Gt(0), Lt(0.5)] = 0.1
        components: Annotated[int, Ge(1)] = 8

    @property
    def fewest_never_members(self) -> int:
        """So many that both quantiles can be fitted."""
        return max(int(np.ceil(BEYOND / self.config.alpha)), BEYOND * (1 + self.config.components))

    def __call__(self, evidence: Evidence, probability: float) -> np.ndarray:
        """Scores [R,Q]. ValueError for too few never-member records."""
        score, _ = evidence.single
        never, records = evidence.never_member, evidence.records
        if never is None or records is None or never.sum() < self.fewest_never_members:
            raise ValueError(
                f"quantile_regression: takes {self.fewest_never_members} records that are never members, "
                f"got {0 if never is None else never.sum()}"
            )
        features = components_of(records, never, self.config.components)
        return np.stack([quantile_regression(own, features, never, self.config.alpha) for own in score])
