"""Gen-LRA (Ward, Wang, Cheng 2025): are the samples near a query likelier once it is in the population?"""

import math
from typing import Annotated

import torch
from annotated_types import Gt

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Knowledge, SampleLevels, Scores
from mia_core.attacks.population import Population, PopulationAttack
from mia_core.settings import settings
from mia_core.streams import Streams


@ATTACKS.register
class GenLRA(PopulationAttack):
    """sum over the k samples g nearest to x of log p_{R+x}(g) - log p_R(g), p a Gaussian kernel density.

    p_{R+x}(g) = (R p_R(g) + K(g - x)) / (R + 1), so each term is log(R / (R + 1)) + log(1 + e^a), with
    a = log K(g - x) - log R - log p_R(g). The first is the same for all x, and is left out; of the rest, the sum's log
    is reported, which is the same order, and has no ties where e^a would be lost beside 1.

    Deviations: bandwidth and covariance are those of R, where the authors fit R + x again for each query; on PCA
    features of the reference records, in which the nearest samples are found too; no floor under densities.
    """

    name = "gen_lra"

    @settings
    class Config:
        """generated: samples to draw. neighbors: k, or all samples where there are fewer. components: of the PCA."""

        generated: SampleLevels = 2000
        neighbors: Annotated[int, Gt(0)] = 10
        components: Annotated[int, Gt(0)] = 16

    config: Config

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """log sum_g log(1 + e^a)."""
        population: Population = knowledge.prepared
        density = population.density
        search = self.shared.search(population.space, queries, view.samples(self.generated))
        x, g = density.whitened(search.x), density.whitened(search.y)
        log_mass = density.log_density(search.y) + math.log(len(density.points))
        values = []
        for level in self.numbers:
            near_Qk = search.nearest([level], min(self.config.neighbors, level))[1][0]
            a_Qk = torch.stack(
                [density.log_kernel((x - g[near]).square().sum(1)) - log_mass[near] for near in near_Qk.T],
                1,
            )
            values.append(torch.logsumexp(log_softplus(a_Qk), 1))
        return Scores(self.levels, torch.stack(values))


def log_softplus(a: torch.Tensor) -> torch.Tensor:
    """log log(1 + e^a) in float64; far below 0 it is a - e^a / 2."""
    low = a < -30
    return torch.where(low, a, torch.nn.functional.softplus(a.clamp_min(-30)).log())
