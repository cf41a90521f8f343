"""GAN-Leaks with chosen latents (partial black-box; Chen et al. 2020, section 4.3): a search without a gradient."""

import torch

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS
from mia_core.attacks.reconstruction import Loss, Reconstruction, ReconstructionConfig
from mia_core.settings import settings
from mia_core.streams import Streams

GROW, SHRINK = 1.5, 1.5**-0.25
"""Of a step's length after a success and a failure: constant where one proposal in five succeeds."""


@ATTACKS.register
class Latent(Reconstruction):
    """Minus the least loss of a search that sees images of latents and no gradient.

    Deviations: the authors run Powell's method, a query at a time, from zero or one nearest sample. Here all queries
    and starts move at once, by a (1+1) evolution strategy with the one-fifth rule (Rechenberg 1973): a normal step is
    taken if the loss falls. All queries see the same steps. LPIPS is a distance in the study's extractor. The reported
    minimum has the norm penalty in it, which the authors' score leaves out.
    """

    name = "latent"
    uses = frozenset({"samples", "latent"})

    @settings
    class Config(ReconstructionConfig):
        """steps: images that are tried of each start."""

    def least(self, view: View, loss: Loss, starts_QSZ: torch.Tensor, rng: Streams) -> torch.Tensor:
        """See the class."""
        z_QSZ, shape = starts_QSZ, starts_QSZ.shape[1:]
        with torch.no_grad():
            best_QS = loss(view.generate, z_QSZ)
            length_QS = torch.full_like(best_QS, shape[1] ** -0.5)
            for step in range(self.config.steps):
                noise_SZ = torch.randn(shape, generator=rng.torch("proposal", step)).to(z_QSZ.device)
                proposal = z_QSZ + length_QS[:, :, None] * noise_SZ
                value_QS = loss(view.generate, proposal)
                better_QS = value_QS < best_QS
                z_QSZ = torch.where(better_QS[:, :, None], proposal, z_QSZ)
                best_QS = torch.where(better_QS, value_QS, best_QS)
                length_QS = length_QS * torch.where(better_QS, GROW, SHRINK)
        return best_QS.amin(1)
