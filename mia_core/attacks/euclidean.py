"""LOGAN's Euclidean baseline: a query near a generated sample is called a member."""

import torch

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Attack, Knowledge, SampleLevels, Scores
from mia_core.settings import settings
from mia_core.spaces import Pixels
from mia_core.streams import Streams


@ATTACKS.register
class Euclidean(Attack):
    """The score is minus the Euclidean distance in pixels to the nearest generated sample."""

    name = "euclidean"
    uses = frozenset({"samples"})
    nested = "generated"

    @settings
    class Config:
        """generated: number of samples to draw; at least 5 x train_size, to find copies."""

        generated: SampleLevels = 2000

    config: Config

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """-min_i ‖x - G(z_i)‖, [L,Q]."""
        search = self.shared.search(Pixels(), queries, view.samples(self.generated))
        return Scores(self.levels, -search.nearest(self.numbers)[0][:, :, 0])
