"""A control, and no defense: real records' losses weigh less in every gradient, as clipping lets them weigh less.

A private arm differs from `none` in three things: real records are sampled, weigh less (their gradients are clipped),
and get noise. `dp_sgd` with a clip that nothing reaches and sigma 0 samples alone; this weighs alone.

All of a real record's terms weigh so: WGAN-GP's penalty too. Where real records are all that a network learns from, as
VAE-GAN's encoder, a weight changes nothing, since Adam and RMSprop do not see the scale of gradients. BEGAN's balance
and the losses in the history are those of the records, without weight.
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
    """No privacy guarantee: a record's influence is not bounded."""

    name = "real_weight"
    strength = None

    @settings
    class Config:
        """weight: of real records' gradients, in every network that learns from them; generated ones weigh 1."""

        weight: Annotated[float, Gt(0)]

    config: Config

    @classmethod
    def shown(cls, config: Any) -> tuple[str, float]:
        """The weight, in words; it orders nothing from weak to strong."""
        return "weight", config.weight

    @property
    def control(self) -> bool:
        """Always: nobody is protected by it."""
        return True

    def conflict(self, others: Sequence[Defense]) -> str | None:
        """Clipping decides itself what a record weighs."""
        clipping = [other.name for other in others if isinstance(other, PrivateDefense)]
        return f"{clipping[0]} clips what {self.name} would weigh; give one of them" if clipping else None

    def gradients(self, rule: RecordGradients, facts: TrainingFacts) -> RecordGradients:
        """The ordinary rule, weighted."""
        return partial(mean_gradients, weight=self.config.weight)
