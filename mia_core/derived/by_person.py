"""Scores of persons, or of sets of duplicates: the sum and the maximum over their records."""

import numpy as np

from mia_core.derived.derived_attack import DERIVED, DerivedAttack
from mia_core.derived.evidence import Evidence
from mia_core.metrics.influence import units_of


def of_persons(score: np.ndarray, unit: np.ndarray, how: np.ufunc) -> np.ndarray:
    """score [...,Q] replaced by `how`, np.add or np.maximum, over all records of the record's unit [Q]."""
    number = units_of(unit, score.shape[-1])
    order = np.argsort(number, kind="stable")
    starts = np.flatnonzero(np.diff(number[order], prepend=-1))
    found: np.ndarray = how.reduceat(score[..., order], starts, axis=-1)[..., number]
    return found


class _ByPerson(DerivedAttack):
    """A person's score is that of each of its records, standardized within the training."""

    needs_persons = True
    needs_reference = False
    how: np.ufunc

    def __call__(self, evidence: Evidence, probability: float) -> np.ndarray:
        """Scores [R,Q]."""
        score, _ = evidence.standardized.single
        return of_persons(score, evidence.unit, self.how)


@DERIVED.register
class PersonSum(_ByPerson):
    """The sum of a person's standardized scores: all records of a person are members together."""

    name = "person_sum"
    how = np.add


@DERIVED.register
class PersonMaximum(_ByPerson):
    """The largest of a person's standardized scores: one record may give its person away."""

    name = "person_max"
    how = np.maximum
