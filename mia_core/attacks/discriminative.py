"""LOGAN's black-box attacks with limited knowledge, discriminative setting (section 4.4): a discriminator alone.

It learns to tell real from known non-members, where `real` is either the target's samples, or known members; the latter
attacker uses nothing of the model, so it can only find how members differ without any target.
"""

from typing import Any, Literal

import torch
from pydantic import field_validator

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Attack, Knowledge, Scores
from mia_core.attacks.surrogate import SurrogateConfig, scores_by_level
from mia_core.data.pool import to_uint8
from mia_core.errors import Refused
from mia_core.settings import settings
from mia_core.streams import Streams
from mia_core.targets import TARGETS, Adversarial


@ATTACKS.register
class Discriminative(Attack):
    """Scores are the discriminator's."""

    name = "discriminative"
    nested = "steps"

    @settings
    class Config(SurrogateConfig):
        """real: `samples` of the target, or known `members`. known: percent of the smallest training-set size."""

        real: Literal["samples", "members"] = "samples"
        known: Literal[10, 20, 30] = 20

        @field_validator("surrogate")
        @classmethod
        def _judges_alone(cls, surrogate: dict[str, Any]) -> dict[str, Any]:
            choice = TARGETS.choose(surrogate)
            if not (issubclass(choice.cls, Adversarial) and choice.cls.judges_alone):
                raise Refused(f"the discriminator of {choice.name} cannot learn without a generator")
            return surrogate

        @property
        def variant(self) -> str:
            """`_samples20`, `_members20`, after another architecture's name."""
            return f"{super().variant}_{self.real}{self.known}"

    config: Config

    @property
    def uses(self) -> frozenset[str]:
        """Samples, unless known members take their place."""
        return frozenset({"samples"} if self.config.real == "samples" else ())

    @property
    def needs(self) -> frozenset[str]:
        """Known non-members, and known members where they take the place of samples."""
        return frozenset({"known_non_members"} | ({"known_members"} if self.config.real == "members" else set()))

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """The discriminator's scores after each level of steps."""
        real = view.samples(self.generated) if "samples" in self.uses else knowledge.known_members
        assert real is not None
        contrast = knowledge.known_non_members
        return Scores(self.levels, scores_by_level(self.config, to_uint8(real), contrast, 1.0, queries, rng))
