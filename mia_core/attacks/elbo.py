"""A record's likelihood under a VAE, by the importance-weighted bound (Burda, Grosse, Salakhutdinov 2016)."""

import math

import torch

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS
from mia_core.attacks.autoencoding import Likelihood, Posterior
from mia_core.settings import settings

LOG_2_PI = math.log(2 * math.pi)


@ATTACKS.register
class Elbo(Likelihood):
    """log (1/N) sum over draws z of q(z | x) of p(x | z) p(z) / q(z | x), at most log p(x) in expectation.

    p(x | z) is normal about dec(z) with one variance for all pixels. One draw makes it the ELBO, and many draws bring
    it up to log p(x). Deviation: published attacks on VAEs take the ELBO, minus the training loss (Fu et al. 2023).
    """

    name = "elbo"

    @settings
    class Config(Likelihood.Config):
        """draws: N. variance: of p(x | z), by pixel; None for that which the model was trained with."""

    def score(self, view: View, x_BCHW: torch.Tensor, posterior: Posterior) -> torch.Tensor:
        """See the class."""
        variance, pixels = self.variance(view), x_BCHW[0].numel()
        z_BNZ = posterior.draws
        likelihood = -self.distances(view, x_BCHW, z_BNZ) / variance - pixels * (math.log(variance) + LOG_2_PI)
        prior = -(z_BNZ.square() + LOG_2_PI).sum(2)
        drawn_by = -(posterior.noise.square() + LOG_2_PI).sum(1) - posterior.log_variance.sum(1, keepdim=True)
        log_weight_BN = (likelihood + prior - drawn_by) / 2
        return log_weight_BN.logsumexp(1) - math.log(len(posterior.noise))
