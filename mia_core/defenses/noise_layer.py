"""The Gaussian noise layer of DP-GAN (Triastcyn & Faltings 2018; arXiv 1803.03148), as LOGAN tries it.

Noise on what the discriminator's last hidden block passes on, in training only. Despite its name it bounds no record's
influence on the weights and has no guarantee: its sigma is no noise multiplier.
"""

from typing import Annotated

import torch
from annotated_types import Gt

from mia_core.defenses.defense import DEFENSES, Defense, RandomLayer, hidden_blocks, needs_discriminator
from mia_core.settings import settings
from mia_core.targets import Target


class GaussianNoise(RandomLayer):
    """x + sigma * N(0, 1) in training mode."""

    def __init__(self, sigma: float, index: int) -> None:
        super().__init__(index)
        self.sigma = sigma

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape."""
        if not self.training:
            return x
        return x + self.sigma * self.drawn("normal", x)


@DEFENSES.register
class NoiseLayer(Defense):
    """No privacy guarantee."""

    name = "noise_layer"
    strength = "sigma"

    @settings
    class Config:
        """sigma: deviation of the noise, in units of the activations (about 1 after group norm)."""

        sigma: Annotated[float, Gt(0)]

    config: Config

    def refusal(self, target: Target) -> str | None:
        """Needs a discriminator."""
        return needs_discriminator(self.name, target)

    def modify(self, target: Target) -> None:
        """Append the layer to the last hidden block of the discriminator."""
        hidden_blocks(target)[-1].append(GaussianNoise(self.config.sigma, 0))
