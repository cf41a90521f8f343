"""LOGAN's black-box attacks with a local GAN (sections 4.3 and 4.4): its discriminator ranks the queries.

Without knowledge, the local GAN is trained on the target's samples in place of real records. With limited knowledge
(generative setting), known members are added to the real side, and known non-members to the fake side.
"""

from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt, Lt
from pydantic import ValidationInfo, field_validator

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Knowledge, Scores
from mia_core.attacks.surrogate import SurrogateAttack, SurrogateConfig, scores_by_level, with_share
from mia_core.data.pool import to_uint8
from mia_core.errors import Refused
from mia_core.settings import settings
from mia_core.streams import Streams


@ATTACKS.register
class LocalGAN(SurrogateAttack):
    """The attacker's GAN, of an architecture of its own, is trained on samples of the target."""

    name = "local_gan"
    uses = frozenset({"samples"})

    @settings
    class Config(SurrogateConfig):
        """known: number of known records on each side, in percent of the smallest training-set size; 0 for none.

        sides: which records are known. share: share of known records among those that the surrogate is trained on, on
        each side that has them: per step on the fake side, per epoch on the real side.
        """

        known: Literal[0, 10, 20, 30] = 0
        sides: Literal["members", "non_members", "both"] = "both"
        share: Annotated[float, Gt(0), Lt(1)] = 0.5

        @field_validator("sides")
        @classmethod
        def _of_something(cls, sides: str, info: ValidationInfo) -> str:
            if sides != "both" and info.data.get("known") == 0:
                raise Refused("say how many percent are known; known is 0")
            return sides

        @property
        def variant(self) -> str:
            """`_known20`, `_members20`, `_non_members20`, after another architecture's name."""
            word = "known" if self.sides == "both" else self.sides
            return super().variant + (f"_{word}{self.known}" if self.known else "")

    config: Config

    @classmethod
    def unread(cls, config: Any) -> dict[str, str]:
        """The share of records of which none are known."""
        return {} if config.known else {"share": "with known 0 has no known records"}

    @property
    def needs(self) -> frozenset[str]:
        """Known members, known non-members, or both, as `sides` says."""
        sides = ("members", "non_members") if self.config.sides == "both" else (self.config.sides,)
        return frozenset(f"known_{side}" for side in sides) if self.config.known else frozenset()

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """Scores [L,Q] of the local discriminator after each number of steps."""
        config = self.config
        real, contrast = to_uint8(view.samples(config.generated)), None
        if "known_members" in self.needs:
            assert knowledge.known_members is not None
            real = with_share(real, to_uint8(knowledge.known_members), config.share)
        if "known_non_members" in self.needs:
            contrast = knowledge.known_non_members
        return Scores(self.levels, scores_by_level(config, real, contrast, config.share, queries, rng))
