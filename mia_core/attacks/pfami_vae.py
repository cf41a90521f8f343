"""PFAMI on VAEs (Fu et al. 2023, arXiv 2308.12143): how much minus the ELBO grows from a record to its neighbors."""

from typing import Annotated

import torch
from annotated_types import Gt

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Knowledge, Scores
from mia_core.attacks.autoencoding import Likelihood, Posterior
from mia_core.attacks.pfami import CROPS, Crops, cropped
from mia_core.settings import settings
from mia_core.streams import Streams


@ATTACKS.register
class VaePFAMI(Likelihood):
    """Mean over neighbors x' of (L(x') - L(x)) / L(x), all with the same normal numbers, where

        L(x) = (1/N) sum over draws z of q(z | x) of ‖x - dec(z)‖^2 / (2 variance) + KL(q(z | x) || N(0, I))

    is minus the ELBO without the constant of the normal likelihood. So it is positive, as the loss of the authors' VAEs
    is, and a relative growth means something. Neighbors are those of `pfami`. Deviations: three neighbors, averaged;
    the same numbers for all queries; the model's own variance, where the authors' VAEs have 1; the KL term has weight 1
    whatever the target's beta.
    """

    name = "pfami_vae"

    @settings
    class Config(Likelihood.Config):
        """draws: N. variance: see above; None for the model's own. crops: see `pfami`."""

        draws: Annotated[int, Gt(0)] = 10
        crops: Crops = CROPS

    config: Config

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """[1,Q]."""
        own = self.scores(view, queries, rng)
        growths = [(self.scores(view, cropped(queries, part), rng) - own) / own for part in self.config.crops]
        return Scores(self.levels, torch.stack(growths).mean(0, keepdim=True))

    def score(self, view: View, x_BCHW: torch.Tensor, posterior: Posterior) -> torch.Tensor:
        """L(x)."""
        reconstruction = self.distances(view, x_BCHW, posterior.draws).mean(1) / (2 * self.variance(view))
        mean_BZ, log_variance_BZ = posterior.mean, posterior.log_variance
        prior = (mean_BZ.square() + log_variance_BZ.exp() - 1 - log_variance_BZ).sum(1) / 2
        return reconstruction + prior
