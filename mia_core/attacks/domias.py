"""DOMIAS (van Breugel, Sun, Qian, van der Schaar 2023): a generator overfits where it is denser than the population."""

from typing import Annotated

import torch
from annotated_types import Gt
from pydantic import field_validator

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Knowledge, SampleLevels, Scores
from mia_core.attacks.population import Population, PopulationAttack
from mia_core.densities import Kde
from mia_core.errors import Refused
from mia_core.settings import settings
from mia_core.streams import Streams


@ATTACKS.register
class Domias(PopulationAttack):
    """log p_G(x) - log p_R(x), by Gaussian kernel densities of samples and of reference records.

    Deviations: on PCA features of the reference records, as the authors' data are tables; the difference of logs in
    place of their ratio, which is the same order without underflow; of their densities, the kernel one alone.
    """

    name = "domias"

    @settings
    class Config:
        """generated: samples to draw, at least 2. components: of the PCA, at most."""

        generated: SampleLevels = 2000
        components: Annotated[int, Gt(0)] = 16

        @field_validator("generated")
        @classmethod
        def _enough(cls, generated: int | tuple[int, ...]) -> int | tuple[int, ...]:
            if (generated if isinstance(generated, int) else generated[0]) < 2:
                raise Refused("a density takes at least 2 samples")
            return generated

    config: Config

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """A density of the samples at each level, against the same of the reference records."""
        population: Population = knowledge.prepared
        search = self.shared.search(population.space, queries, view.samples(self.generated))
        log_p_R = population.density.log_density(search.x)
        log_p_G = [Kde(search.y[:level], population.ridge).log_density(search.x) for level in self.numbers]
        return Scores(self.levels, torch.stack(log_p_G) - log_p_R)
