"""LOGAN's black-box attacks with limited knowledge, discriminative setting (section 4.4): a discriminator alone.

The discriminator is trained to tell samples of the target, or known members, from known non-members. With known members
the attack does not use the model at all: it finds only differences that members show without any target.
"""

from typing import Any, Literal

import torch
from pydantic import field_validator

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Knowledge, Scores
from mia_core.attacks.surrogate import SurrogateAttack, SurrogateConfig, scores_by_level
from mia_core.data.pool import to_uint8
from mia_core.errors import Refused
from mia_core.settings import settings
from mia_core.streams import Streams
from mia_core.targets import TARGETS, Adversarial


@ATTACKS.register
class Discriminative(SurrogateAttack):
    """The score is the output of the trained discriminator."""

    name = "discriminative"

    @settings
    class Config(SurrogateConfig):
        """real: `samples` of the target, or known `members`. known: in percent of the smallest training-set size."""

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

    @classmethod
    def unread(cls, config: Any) -> dict[str, str]:
        """The number of samples that known members replace."""
        return {"generated": "with real members takes no samples"} if config.real == "members" else {}

    @property
    def uses(self) -> frozenset[str]:
        """Samples, unless known members replace them."""
        return frozenset({"samples"} if self.config.real == "samples" else ())

    @property
    def needs(self) -> frozenset[str]:
        """Known non-members, and known members if they replace samples."""
        return frozenset({"known_non_members"} | ({"known_members"} if self.config.real == "members" else set()))

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """Scores [L,Q] of the discriminator after each number of steps."""
        real = view.samples(self.generated) if "samples" in self.uses else knowledge.known_members
        assert real is not None
        contrast = knowledge.known_non_members
        return Scores(self.levels, scores_by_level(self.config, to_uint8(real), contrast, 1.0, queries, rng))
