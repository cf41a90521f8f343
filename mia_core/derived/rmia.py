"""RMIA: the likelihood ratio of a record under the target and under other trainings, in log space.

RMIA (Zarifzadeh et al. 2024) scores a record by the share of a population z for which [p(x|target) / p(x)] / [p(z|
target) / p(z)] is at least gamma. On one fixed target this share is a monotone function of p(x|target) / p(x), so its
ROC is that of the ratio itself. The ratio's logarithm is computed: nothing underflows, and there are no ties.
"""

from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le

from mia_core.derived.derived_attack import DERIVED, DerivedAttack
from mia_core.derived.evidence import Evidence, divided
from mia_core.derived.lira import is_offline
from mia_core.settings import settings

OFFLINE_A = 0.3
"""a in p(x) = ((1 + a) p_out(x) + (1 - a)) / 2, the value of the paper's image experiments."""


def rmia(evidence: Evidence, offline: bool = False, a: float = OFFLINE_A) -> np.ndarray:
    """log p(x|target) - log p(x), [...,R,Q]; log p(x|training) is the record's normal score in that training.

    p(x): half of the mean over IN trainings and half of that over OUT trainings. Offline, and for records without IN
    trainings, p_in(x) = a p_out(x) + 1 - a, with p in units of its median over the queries. A record without OUT
    trainings has p_in(x).
    """
    evidence = evidence.normal
    score, reference = evidence.single
    uses = evidence.uses.astype(float)
    likelihood = np.exp(reference)
    inside, outside = evidence.member.astype(float), (~evidence.member).astype(float)
    in_count, out_count = uses @ inside, uses @ outside
    p_in, p_out = divided(uses @ (inside * likelihood), in_count), divided(uses @ (outside * likelihood), out_count)
    p_out = np.where(out_count > 0, p_out, 1)
    p_in = np.where((in_count == 0) | offline, a * p_out + 1 - a, p_in)
    p_out = np.where(out_count > 0, p_out, p_in)
    return evidence.where_referenced(score - np.log((p_in + p_out) / 2), score)


@DERIVED.register
class Rmia(DerivedAttack):
    """See `rmia`. In version 1, offline, a record without OUT trainings had p_out(x) = 0 in p_in(x)."""

    name = "rmia"
    version = 2

    @settings
    class Config:
        """form: `online`, `offline`, or `auto`, which is offline below a member probability of .25. a: of `rmia`."""

        form: Literal["auto", "online", "offline"] = "auto"
        a: Annotated[float, Ge(0), Le(1)] = OFFLINE_A

    @classmethod
    def unread(cls, config: Any, probability: float | None) -> dict[str, str]:
        """What only the offline form takes."""
        online = config.form == "online" or (probability is not None and not is_offline(config.form, probability))
        return {"a": "is online here, and only the offline form takes it"} if online else {}

    def __call__(self, evidence: Evidence, probability: float) -> np.ndarray:
        """Scores [...,R,Q]."""
        return rmia(evidence, is_offline(self.config.form, probability), self.config.a)
