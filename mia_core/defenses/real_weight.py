"""A control, and no defense: real records' losses weigh less in every gradient, as clipping lets them weigh less.

A private arm differs from `none` in three things: real records are sampled, weigh less (their gradients are clipped),
and get noise. `dp_sgd` with a clip that nothing reaches and sigma 0 samples alone; this weighs alone.
"""

from typing import Annotated

from annotated_types import Gt

from mia_core.defenses.defense import DEFENSES, Defense
from mia_core.settings import settings


@DEFENSES.register
class RealWeight(Defense):
    """No privacy guarantee: a record's influence is not bounded."""

    name = "real_weight"
    strength = "weight"

    @settings
    class Config:
        """weight: of real records' gradients, in every network that learns from them; generated ones weigh 1."""

        weight: Annotated[float, Gt(0)]

    config: Config

    @property
    def weight(self) -> float:
        """As the setting says."""
        return self.config.weight
