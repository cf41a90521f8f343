"""ReDiffuse (Li et al. 2025, arXiv 2405.20771): how near a model's variations of an image are to it, on average."""

from typing import Annotated, Any

import torch
from annotated_types import Gt

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Attack, Knowledge, Scores
from mia_core.attacks.denoising import Time, at_part
from mia_core.settings import settings
from mia_core.streams import Streams


@ATTACKS.register
class ReDiffuse(Attack):
    """-‖x - mean of variations of x‖. It takes an image-to-image service alone.

    The authors noise to t = 200 of 1,000 and average ten variations. Deviations: the Euclidean distance in place of a
    network trained on differences of labelled queries; the model's own sampler in place of DDIM in steps of 100. The
    service adds the same noise to all images of a call, so each variation of all queries is a call of its own.
    """

    name = "rediffuse"
    version = 2
    uses = frozenset({"variation"})

    @settings
    class Config:
        """time: t up to which noise is added. variations: to average."""

        time: Time = 200
        variations: Annotated[int, Gt(0)] = 10

    config: Config

    @property
    def times(self) -> tuple[int, ...]:
        """The setting `time`."""
        return (self.config.time,)

    def of_timesteps(self, timesteps: int) -> dict[str, Any]:
        """See `Attack`."""
        return {"time": at_part(self.config.time, timesteps)}

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """[1,Q]."""
        total = torch.zeros_like(queries)
        for number in range(self.config.variations):
            total += view.variation(queries, self.config.time, rng.child("variation", number))
        return Scores(self.levels, -(queries - total / self.config.variations).flatten(1).norm(dim=1)[None])
