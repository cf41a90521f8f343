"""A record's likelihood under a VAE, by the importance-weighted bound (Burda, Grosse, Salakhutdinov 2016)."""

import math
from typing import Annotated

import torch
from annotated_types import Gt

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS
from mia_core.attacks.vae_reconstruction import Autoencoding
from mia_core.settings import settings

LOG_2_PI = math.log(2 * math.pi)


@ATTACKS.register
class Elbo(Autoencoding):
    """log (1/N) sum over draws z of q(z | x) of p(x | z) p(z) / q(z | x), at most log p(x) in expectation.

    p(x | z) is normal about dec(z) with one variance for all pixels. One draw makes it the ELBO, and many draws bring
    it up to log p(x). Deviation: published attacks on VAEs take the ELBO, minus the training loss (Fu et al. 2023).
    """

    name = "elbo"

    @settings
    class Config(Autoencoding.Config):
        """draws: N. variance: of p(x | z), by pixel; the square of the target's `deviation`, whose default it has."""

        variance: Annotated[float, Gt(0)] = 0.09

    config: Config

    def score(
        self,
        view: View,
        x_BCHW: torch.Tensor,
        z_BNZ: torch.Tensor,
        log_variance_BZ: torch.Tensor,
        noise_NZ: torch.Tensor,
    ) -> torch.Tensor:
        """See the class."""
        variance, pixels = self.config.variance, x_BCHW[0].numel()
        likelihood = -self.distances(view, x_BCHW, z_BNZ) / variance - pixels * (math.log(variance) + LOG_2_PI)
        prior = -(z_BNZ.square() + LOG_2_PI).sum(2)
        posterior = -(noise_NZ.square() + LOG_2_PI).sum(1) - log_variance_BZ.sum(1, keepdim=True)
        log_weight_BN = (likelihood + prior - posterior) / 2
        return log_weight_BN.logsumexp(1) - math.log(len(noise_NZ))
