"""One combination of several attacks, fitted on other trainings: Fisher's linear discriminant of their scores."""

import numpy as np

from mia_core.derived.derived_attack import DERIVED, DerivedAttack
from mia_core.derived.evidence import Evidence, divided

RIDGE = 0.1
"""Added to the covariance of normal scores, whose variances are about 1: attacks may be copies of each other."""
EXPECTED_SHIFT = 0.2
"""Of members' normal scores over others', under every attack: known before any reference, it counts as one more.

Attacks are made to score members higher, and one training says little of how much each does.
"""


def ensemble_weights(evidence: Evidence) -> np.ndarray:
    """Weights [...,R,K] of K attacks for each target: (covariance + ridge)^-1 shift.

    The covariance within sides is that of the target's S reference trainings, over all queries; the shift is (S (mean
    IN - mean OUT) + EXPECTED_SHIFT) / (S + 1). Without references all attacks have the same weight.
    """
    reference = np.moveaxis(evidence.reference, 0, -1)  # [S,Q,K]
    uses, sides = evidence.uses.astype(float), []
    for there in (evidence.member, ~evidence.member):
        held = there.astype(float)
        count = held.sum(-1)
        total = np.einsum("...sq,sqk->...sk", held, reference, optimize=True)
        product = np.einsum("...sq,sqk,sql->...skl", held, reference, reference, optimize=True)
        sides.append([np.einsum("rs,...s->...r", uses, count)[..., None]])
        sides[-1] += [np.einsum("rs,...sk->...rk", uses, total), np.einsum("rs,...skl->...rkl", uses, product)]
    (n_in, total_in, square_in), (n_out, total_out, square_out) = sides
    mean_in, mean_out = divided(total_in, n_in), divided(total_out, n_out)
    scatter = square_in + square_out
    for count, mean in ((n_in, mean_in), (n_out, mean_out)):
        scatter = scatter - count[..., None] * mean[..., :, None] * mean[..., None, :]
    covariance = divided(scatter, (n_in + n_out)[..., None])
    ridge = RIDGE * np.eye(len(evidence.score))
    trainings = uses.sum(1)[:, None]
    shift = (trainings * (mean_in - mean_out) + EXPECTED_SHIFT) / (trainings + 1)
    weights: np.ndarray = np.linalg.solve(covariance + ridge, shift[..., None])[..., 0]
    return weights


def ensemble(evidence: Evidence) -> np.ndarray:
    """Weighted sums of the attacks' normal scores, [...,R,Q]."""
    evidence = evidence.normal
    found: np.ndarray = np.einsum("...rk,krq->...rq", ensemble_weights(evidence), evidence.score, optimize=True)
    return found


@DERIVED.register
class Ensemble(DerivedAttack):
    """See `ensemble`. Version 1 was fitted on all other replicates, and had no expected shift."""

    name = "ensemble"
    version = 2
    combines = True
    learns_direction = True

    def __call__(self, evidence: Evidence, probability: float) -> np.ndarray:
        """Scores [...,R,Q]."""
        return ensemble(evidence)
