"""GAN-Leaks with the generator's weights (white-box; Chen et al. 2020, section 4.3): a search along the gradient."""

from typing import Annotated

import torch
from annotated_types import Gt

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS
from mia_core.attacks.reconstruction import Loss, Reconstruction, ReconstructionConfig
from mia_core.settings import settings
from mia_core.streams import Streams
from mia_core.targets.optimizers import Adam


@ATTACKS.register
class Generator(Reconstruction):
    """Minus the least loss of a search along its gradient in z, through the generator.

    Deviations: the authors run L-BFGS on the mean loss of a batch of queries, from zero or one nearest sample, so that
    a query's score depends on its batch. Here each query and start has its own steps, by Adam (Kingma & Ba 2015) at a
    rate that falls to 0. LPIPS is a distance in the study's extractor. The reported minimum has the norm penalty in
    it, which the authors' score leaves out.
    """

    name = "generator"
    uses = frozenset({"samples", "latent", "generator"})

    @settings
    class Config(ReconstructionConfig):
        """steps: gradients of each start. learning_rate: Adam's, at first."""

        learning_rate: Annotated[float, Gt(0)] = 0.1

    config: Config

    def least(self, view: View, loss: Loss, starts_QSZ: torch.Tensor, rng: Streams) -> torch.Tensor:
        """See the class."""
        z_QSZ = starts_QSZ.clone().requires_grad_()
        optimizer = Adam([z_QSZ], self.config.learning_rate)
        best_Q = torch.full((len(z_QSZ),), torch.inf, device=z_QSZ.device)
        for step in range(self.config.steps + 1):
            value_QS = loss(view.generator, z_QSZ)
            best_Q = torch.minimum(best_Q, value_QS.detach().amin(1))
            if step < self.config.steps:
                optimizer.param_groups[0]["lr"] = self.config.learning_rate * (1 - step / self.config.steps)
                (z_QSZ.grad,) = torch.autograd.grad(value_QS.sum(), z_QSZ)
                optimizer.step()
        return best_Q
