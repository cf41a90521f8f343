"""Dropout in the discriminator (Srivastava et al. 2014), after every hidden activation, as in LOGAN."""

from typing import Annotated

import torch
from annotated_types import Gt, Lt

from mia_core.defenses.defense import DEFENSES, Defense, RandomLayer, hidden_blocks, needs_discriminator
from mia_core.settings import settings
from mia_core.targets import Target


class DropoutLayer(RandomLayer):
    """Inverted dropout; torch's own layer does not accept given random numbers."""

    def __init__(self, rate: float, index: int) -> None:
        super().__init__(index)
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x of any shape; each element is kept with probability 1 - rate and then divided by it."""
        if not self.training:
            return x
        keep = self.drawn("uniform", x) >= self.rate
        return x * keep / (1 - self.rate)


@DEFENSES.register
class Dropout(Defense):
    """Dropout; no privacy guarantee."""

    name = "dropout"
    strength = "rate"

    @settings
    class Config:
        """rate: probability of dropping an activation."""

        rate: Annotated[float, Gt(0), Lt(1)] = 0.5

    config: Config

    def refusal(self, target: Target) -> str | None:
        """Requires a discriminator."""
        return needs_discriminator(self.name, target)

    def modify(self, target: Target) -> None:
        """Append a dropout layer to every hidden block of the discriminator."""
        for index, block in enumerate(hidden_blocks(target)):
            block.append(DropoutLayer(self.config.rate, index))
