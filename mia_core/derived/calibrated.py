"""Calibration: a score minus the mean score that the record has under trainings without it."""

import numpy as np

from mia_core.derived.derived_attack import DERIVED, DerivedAttack
from mia_core.derived.evidence import Evidence


def calibrated(evidence: Evidence) -> np.ndarray:
    """score - mean OUT score, [...,R,Q], of scores standardized within each training (Watson et al. 2022).

    With k OUT trainings, record share rho of the variance sd^2, sd_e^2 = (1 - rho) sd^2 and a difference delta between
    IN and OUT, its AUC is Phi(delta / sqrt(2 sd_e^2 (1 + 1/k))). A record without OUT trainings has the mean of its IN
    scores, minus the mean difference between both sides over all records.
    """
    evidence = evidence.standardized
    score, _ = evidence.single
    outside, inside = evidence.side(False), evidence.side(True)
    shift = np.where(outside.count.any(-1, keepdims=True), inside.overall - outside.overall, 0)
    expected = np.where(outside.count > 0, outside.mean, inside.mean - shift)
    return evidence.where_referenced(score - expected, score)


@DERIVED.register
class Calibrated(DerivedAttack):
    """See `calibrated`."""

    name = "calibrated"

    def __call__(self, evidence: Evidence, probability: float) -> np.ndarray:
        """Scores [...,R,Q]."""
        return calibrated(evidence)
