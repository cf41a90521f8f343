"""A classifier of several scores at once, fitted under shadows and applied to the target as it is."""

import numpy as np

from mia_core.derived.derived_attack import DERIVED, DerivedAttack
from mia_core.derived.evidence import Evidence
from mia_core.logistic import Logistic


def classified(evidence: Evidence) -> np.ndarray:
    """Log odds [...,R,Q] that a query is a member, by logistic regression on the K scores of the reference trainings.

    Features are standardized by the reference trainings' statistics, never by the target's, which mix its members in.
    """
    queries = evidence.score.shape[-1]
    found = np.zeros((*evidence.member.shape[:-2], *evidence.score.shape[1:]))
    sets, set_of = np.unique(evidence.uses, axis=0, return_inverse=True)
    for place, uses in enumerate(sets):
        targets = np.flatnonzero(set_of.ravel() == place)
        features = evidence.reference[:, uses].reshape(len(evidence.reference), -1).T
        rows = evidence.score[:, targets].reshape(len(evidence.score), -1).T
        for index in np.ndindex(evidence.member.shape[:-2]):
            label = evidence.member[index][uses].ravel()
            if label.any() and not label.all():
                values = Logistic.fit(features, label).log_odds(rows)
                found[(*index, targets)] = values.reshape(len(targets), queries)
    return evidence.where_referenced(found, evidence.score.mean(0))


@DERIVED.register
class ShadowClassifier(DerivedAttack):
    """See `classified`. Of the groups of `gradient_norms` it is GSA (Pang et al. 2025, PoPETs)."""

    name = "shadow_classifier"
    combines = True
    needs_shadows = True

    def __call__(self, evidence: Evidence, probability: float) -> np.ndarray:
        """Scores [...,R,Q]."""
        return classified(evidence)
