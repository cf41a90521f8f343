"""Weight normalization of the discriminator (Salimans & Kingma 2016; arXiv 1602.07868): w = g v / |v|."""

from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from mia_core.defenses.defense import DEFENSES, Defense, needs_discriminator
from mia_core.targets import Target


@DEFENSES.register
class WeightNorm(Defense):
    """Weight norm, on or off; no privacy guarantee. Training starts from the same weights as without it."""

    name = "weight_norm"
    strength = None

    def refusal(self, target: Target) -> str | None:
        """Requires a discriminator."""
        return needs_discriminator(self.name, target)

    def modify(self, target: Target) -> None:
        """Separate length and direction for each output of every convolution and linear layer of the discriminator."""
        for module in list(target.get_submodule("discriminator").modules()):
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                weight_norm(module)
