"""The Gaussian noise layer of DP-GAN (Triastcyn & Faltings 2018; arXiv 1803.03148), as in LOGAN.

It adds noise to the output of the discriminator's last hidden block, in training only. Despite DP-GAN's name it does
not bound a record's influence on the weights and gives no guarantee: its sigma is not a noise multiplier.
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
        """x of any shape."""
        if not self.training:
            return x
        return x + self.sigma * self.drawn("normal", x)


@DEFENSES.register
class NoiseLayer(Defense):
    """A noise layer; no privacy guarantee."""

    name = "noise_layer"
    strength = "sigma"

    @settings
    class Config:
        """sigma: standard deviation of the noise, in units of the activations (about 1 after group norm)."""

        sigma: Annotated[float, Gt(0)]

    config: Config

    def refusal(self, target: Target) -> str | None:
        """Requires a discriminator."""
        return needs_discriminator(self.name, target)

    def modify(self, target: Target) -> None:
        """Append the layer to the last hidden block of the discriminator."""
        hidden_blocks(target)[-1].append(GaussianNoise(self.config.sigma, 0))
