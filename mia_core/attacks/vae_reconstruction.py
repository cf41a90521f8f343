"""The reconstruction attack on VAEs (Hilprecht, Haerterich, Bernau 2019, section 4.2)."""

import torch

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS
from mia_core.attacks.autoencoding import Autoencoding
from mia_core.settings import settings


@ATTACKS.register
class VaeReconstruction(Autoencoding):
    """-(1/N) sum over draws z of q(z | x) of ‖x - dec(z)‖."""

    name = "vae_reconstruction"

    @settings
    class Config(Autoencoding.Config):
        """draws: N."""

    def score(
        self,
        view: View,
        x_BCHW: torch.Tensor,
        mean_BZ: torch.Tensor,
        log_variance_BZ: torch.Tensor,
        noise_NZ: torch.Tensor,
    ) -> torch.Tensor:
        """See the class."""
        return -self.distances(view, x_BCHW, self.drawn(mean_BZ, log_variance_BZ, noise_NZ)).sqrt().mean(1)
