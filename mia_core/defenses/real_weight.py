"""A control, no defense: gives real records' losses less weight in every gradient, as clipping does.

A private arm differs from `none` in three things: real records are sampled, have less weight (their gradients are
clipped), and get noise. `dp_sgd` with a clip that no gradient reaches and sigma 0 isolates sampling; this isolates
weight.

All terms of a real record are weighted, including WGAN-GP's penalty. If a network learns from real records only, as
VAE-GAN's encoder does, the weight has no effect, since Adam and RMSprop are invariant to the scale of gradients.
BEGAN's balance and the losses in the history are computed without the weight.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from annotated_types import Gt

from mia_core.defenses.defense import DEFENSES, Defense, TrainingFacts
from mia_core.defenses.private_defense import PrivateDefense
from mia_core.settings import settings
from mia_core.targets import RecordGradients, mean_gradients


@DEFENSES.register
class RealWeight(Defense):
    """A control; no privacy guarantee, since a record's influence is not bounded."""

    name = "real_weight"
    strength = None

    @settings
    class Config:
        """weight: of real records' gradients in every network that learns from them; generated ones have weight 1."""

        weight: Annotated[float, Gt(0)]

    config: Config

    @classmethod
    def shown(cls, config: Any) -> tuple[str, float]:
        """The weight, for labels; it does not order from weak to strong."""
        return "weight", config.weight

    @property
    def control(self) -> bool:
        """Always True."""
        return True

    def conflict(self, others: Sequence[Defense]) -> str | None:
        """Refuses private defenses, whose clipping determines a record's weight."""
        clipping = [other.name for other in others if isinstance(other, PrivateDefense)]
        return f"{clipping[0]} clips what {self.name} would weigh; give one of them" if clipping else None

    def gradients(self, rule: RecordGradients, facts: TrainingFacts) -> RecordGradients:
        """The ordinary rule with the weight."""
        return partial(mean_gradients, weight=self.config.weight)
