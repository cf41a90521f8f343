"""The reconstruction attack on VAEs (Hilprecht, Haerterich, Bernau 2019, section 4.2)."""

import torch

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS
from mia_core.attacks.autoencoding import Autoencoding, Posterior
from mia_core.settings import settings


@ATTACKS.register
class VaeReconstruction(Autoencoding):
    """-(1/N) sum over draws z of q(z | x) of ‖x - dec(z)‖."""

    name = "vae_reconstruction"

    @settings
    class Config(Autoencoding.Config):
        """draws: N."""

    def score(self, view: View, x_BCHW: torch.Tensor, posterior: Posterior) -> torch.Tensor:
        """See the class."""
        return -self.distances(view, x_BCHW, posterior.draws).sqrt().mean(1)
