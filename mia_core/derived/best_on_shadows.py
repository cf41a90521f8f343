"""The attack, of several, that tells members best under shadows: how a timestep is chosen without the judged labels."""

import numpy as np
from scipy.stats import rankdata

from mia_core.derived.derived_attack import DERIVED, DerivedAttack
from mia_core.derived.evidence import Evidence, divided


def auc_on_shadows(evidence: Evidence) -> np.ndarray:
    """The AUC of each attack under each target's reference trainings, on average, [...,R,K]; ties half."""
    rank_KSQ = rankdata(evidence.reference, axis=-1)
    inside = evidence.member.sum(-1)[..., None, :]
    total = np.einsum("...sq,ksq->...ks", evidence.member.astype(float), rank_KSQ, optimize=True)
    pairs = inside * (evidence.member.shape[-1] - inside)
    auc = np.where(pairs > 0, divided(total - inside * (inside + 1) / 2, pairs), 0.5)
    uses = evidence.uses.astype(float)
    return divided(np.einsum("rs,...ks->...rk", uses, auc), uses.sum(1)[:, None])


@DERIVED.register
class BestOnShadows(DerivedAttack):
    """Scores of the attack with the largest mean AUC under the shadows; of equal ones, the first."""

    name = "best_on_shadows"
    combines = True
    needs_shadows = True

    def __call__(self, evidence: Evidence, probability: float) -> np.ndarray:
        """Scores [...,R,Q]."""
        best = auc_on_shadows(evidence).argmax(-1)
        found: np.ndarray = evidence.score[best, np.arange(evidence.score.shape[1])]
        return found
