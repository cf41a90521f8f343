"""DOMIAS (van Breugel, Sun, Qian, van der Schaar 2023): a generator overfits where it is denser than the population."""

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Attack, Knowledge, SampleLevels, Scores
from mia_core.densities import Kde
from mia_core.errors import Refused
from mia_core.settings import settings
from mia_core.spaces import Pca, embedded
from mia_core.streams import Streams

RIDGE = 1e-8
"""Added to the covariance of samples, in the mean variance of reference records: those of a collapsed generator."""


@dataclass(frozen=True)
class Population:
    """Reference records in the space of their first principal components, and their density."""

    space: Pca
    density: Kde
    ridge: float

    @classmethod
    def of(cls, reference: torch.Tensor, components: int) -> "Population":
        """Fitted on images [R,C,H,W]."""
        space = Pca(reference, components)
        points = embedded(space, reference)
        ridge = RIDGE * float(points.double().var(0).mean())
        return cls(space, Kde(points, ridge), ridge)


@ATTACKS.register
class Domias(Attack):
    """log p_G(x) - log p_R(x), by Gaussian kernel densities of samples and of reference records.

    Deviations: on PCA features of the reference records, as the authors' data are tables; the difference of logs in
    place of their ratio, which is the same order without underflow; of their densities, the kernel one alone.
    """

    name = "domias"
    uses = frozenset({"samples"})
    needs = frozenset({"reference"})
    nested = "generated"

    @settings
    class Config:
        """generated: samples to draw, at least 2. components: of the PCA, at most."""

        generated: SampleLevels = 2000
        components: Annotated[int, Gt(0)] = 16

    config: Config

    def prepare(self, knowledge: Knowledge) -> Population:
        """The density of the reference records."""
        assert knowledge.reference is not None
        return Population.of(knowledge.reference, self.config.components)

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """A density of the samples at each level, against the same of the reference records."""
        if self.numbers[0] < 2:
            raise Refused(f"{self.name}: a density takes 2 samples; raise the attack's `generated`")
        population: Population = knowledge.prepared
        search = self.shared.search(population.space, queries, view.samples(self.generated))
        log_p_R = population.density.log_density(search.x)
        log_p_G = [Kde(search.y[:level], population.ridge).log_density(search.x) for level in self.numbers]
        return Scores(self.levels, torch.stack(log_p_G) - log_p_R)
