"""LOGAN's Euclidean baseline: a query near a generated sample is called a member."""

from typing import Annotated

import torch
from annotated_types import Gt

from mia_core.access import Access, SamplesView
from mia_core.attacks.attack import ATTACKS, Attack, Knowledge, Scores
from mia_core.distances import nearest
from mia_core.settings import settings
from mia_core.streams import Streams


@ATTACKS.register
class Euclidean(Attack):
    """Minus the distance in pixels to the nearest generated sample."""

    name = "euclidean"
    access = Access.SAMPLES

    @settings
    class Config:
        """generated: samples to draw; at least 5 x train_size to see copies."""

        generated: Annotated[int, Gt(0)] = 2000

    config: Config

    @property
    def generated(self) -> int:
        """Samples drawn."""
        return self.config.generated

    def run(self, view: SamplesView, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """-min_i ‖x - G(z_i)‖."""
        distances, _ = nearest(queries.flatten(1), view.samples(self.generated).flatten(1))
        return Scores(self.levels, -distances.T)
