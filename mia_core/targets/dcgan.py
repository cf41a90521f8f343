"""DCGAN (Radford et al. 2016; arXiv 1511.06434): strided convolutions, batch-norm generator, non-saturating loss.

The discriminator's norm is a setting and defaults to group norm. It works per sample, so that all defense arms (DP-SGD
among them) share one architecture and a record's white-box score does not depend on the other records of its batch.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Gt
from torch import nn
from torch.nn.functional import softplus

from mia_core.settings import added_later, settings
from mia_core.streams import Streams
from mia_core.targets.adversarial import Adversarial
from mia_core.targets.convolutions import Stacks, initialize
from mia_core.targets.gradients import Networks, Terms
from mia_core.targets.target import TARGETS

Positive = Annotated[int, Gt(0)]
AUTHORS_DEVIATION = 0.02
"""Standard deviation of the authors' initial weights, at any width."""


@TARGETS.register
class DCGAN(Adversarial):
    """Generator and discriminator; the white-box score is the discriminator's logit."""

    name = "dcgan"
    published: ClassVar[Mapping[str, Any]] = {"norm": "batch"}
    beta1: ClassVar[float | None] = 0.5

    @settings
    class Config:
        """width: the discriminator's channels at the highest resolution, doubled at each halving. latent: size of z.

        norm: the discriminator's; `batch` as in the paper, `none`, or `group`, in groups of `width`/2 channels.
        networks: `scaled` suits any width: the generator has twice the discriminator's channels at every resolution, as
        in the paper, and narrower networks get larger initial weights. `authors` follows the authors' code
        (github.com/soumith/dcgan.torch): the generator is as wide as the discriminator, initial weights have deviation
        0.02 at any width, and convolutions have no biases. With width 64, latent 100, norm batch and images of 64
        pixels, these are the released networks.
        """

        width: Positive = 16
        latent: Positive = 64
        norm: Literal["group", "batch", "none"] = "group"
        networks: Literal["scaled", "authors"] = added_later("scaled")

    config: Config

    def __init__(self, config: Config, image_shape: tuple[int, int, int]) -> None:
        super().__init__(config, image_shape)
        self.latent_dimension = config.latent
        stacks, scaled = Stacks.of(self.name, image_shape, config.width), config.networks == "scaled"
        self.generator = stacks.up(config.latent, widening=2 if scaled else 1, bias=scaled)
        self.discriminator: nn.Sequential = nn.Sequential(*stacks.down(config.norm, scaled), stacks.last(1, scaled))

    def initialize(self, streams: Streams) -> None:
        """See `convolutions.initialize`."""
        initialize(self, streams, deviation=AUTHORS_DEVIATION if self.config.networks == "authors" else None)

    def images(self, networks: Networks, z_BZ: torch.Tensor) -> torch.Tensor:
        """G(z) [B,C,H,W], in [-1, 1]."""
        return networks["generator"](z_BZ[:, :, None, None])

    def real_losses(self, networks: Networks, x_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
        """-log D(x) [B]."""
        logit_B = networks["discriminator"](x_BCHW).flatten()
        return {"discriminator": softplus(-logit_B), "d_real": logit_B.sigmoid()}

    def fake_losses(self, networks: Networks, x_BCHW: torch.Tensor) -> Terms:
        """-log(1 - D(x~)) [N]."""
        logit_B = networks["discriminator"](x_BCHW).flatten()
        return {"discriminator": softplus(logit_B), "d_fake": logit_B.sigmoid()}

    def generator_losses(self, networks: Networks, x_BCHW: torch.Tensor) -> Terms:
        """-log D(G(z)) [N]."""
        return {"generator": softplus(-networks["discriminator"](x_BCHW).flatten())}

    def hidden_blocks(self) -> list[nn.Sequential]:
        """All blocks of the discriminator before the last convolution."""
        return [block for block in self.discriminator if isinstance(block, nn.Sequential)]
