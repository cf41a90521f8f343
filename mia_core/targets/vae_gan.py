"""VAE-GAN (Larsen et al. 2016; arXiv 1512.09300), LOGAN's DCGAN+VAE: the generator decodes an encoder's latents.

An encoder maps each record x to a normal posterior over latents, and the generator decodes z ~ q(z | x) to x~. The
likeness of x and x~ is measured in f, the discriminator's last hidden layer, instead of in pixels. The paper's
algorithm 1, for one record:

    prior = KL(q(z | x) || N(0, I))      likeness = |f(x) - f(x~)|^2 / 2
    gan = log D(x) + log(1 - D(x~)) + log(1 - D(G(z_p)))
    encoder: prior + likeness     generator: reconstruction_weight * likeness - gan     discriminator: -gan

The generator's part of -gan is non-saturating, -log D, as in DCGAN. The networks are DCGAN's; the encoder has the
discriminator's shape. All three learn from real records, so a private defense treats all three, jointly.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Gt
from torch import nn
from torch.nn.functional import softplus

from mia_core.settings import settings
from mia_core.step_draws import Draw, normal
from mia_core.targets.adversarial import Adversarial
from mia_core.targets.convolutions import Stacks
from mia_core.targets.gradients import Networks, RecordLosses, Terms
from mia_core.targets.optimizers import RMSprop
from mia_core.targets.target import TARGETS

Positive = Annotated[int, Gt(0)]


@TARGETS.register
class VAEGAN(Adversarial):
    """Encoder, generator and discriminator; the white-box score is the discriminator's logit."""

    name = "vae_gan"
    offers = Adversarial.offers | {"encode"}
    networks = private = ("discriminator", "generator", "encoder")
    together = True
    published: ClassVar[Mapping[str, Any]] = {"norm": "batch"}

    @settings
    class Config:
        """width: channels at the highest resolution, doubled at each halving. latent: size of z.

        norm: of all three networks; `batch` as in the paper, `none`, or `group`, in groups of `width`/2 channels.
        reconstruction_weight: the paper's gamma. The likeness is a sum over the features, so it grows with their
        number.
        """

        width: Positive = 16
        latent: Positive = 64
        norm: Literal["group", "batch", "none"] = "group"
        reconstruction_weight: Annotated[float, Ge(0)] = 0.01

    config: Config

    def __init__(self, config: Config, image_shape: tuple[int, int, int]) -> None:
        super().__init__(config, image_shape)
        self.latent_dimension = config.latent
        stacks = Stacks.of(self.name, image_shape, config.width)
        self.generator = stacks.up(config.latent, config.norm)
        self.discriminator: Discriminator = Discriminator(stacks.down(config.norm), stacks.last(1))
        self.encoder = nn.Sequential(*stacks.down(config.norm), stacks.last(2 * config.latent), nn.Flatten())

    def optimizer(
        self, parameters: list[nn.Parameter], learning_rate: float, beta1: float | None
    ) -> torch.optim.Optimizer:
        """RMSprop, as in the paper; it has no beta1."""
        return RMSprop(parameters, learning_rate)

    def draws(self, records: int, fakes: int, contrast: int) -> dict[str, Draw]:
        """Latents, and the posterior noise of each real record."""
        return super().draws(records, fakes, contrast) | {"posterior": normal(records, self.latent_dimension)}

    def of_record(
        self, x_BCHW: torch.Tensor, side_NCHW: torch.Tensor, draws: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        """x and its posterior noise."""
        return x_BCHW, draws["posterior"]

    def images(self, networks: Networks, z_BZ: torch.Tensor) -> torch.Tensor:
        """G(z) [B,C,H,W], in [-1, 1]."""
        return networks["generator"](z_BZ[:, :, None, None])

    def discriminate(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Logits [B]: log odds of 'real'."""
        return self.discriminator(x_BCHW)[0]

    def real_losses(self, networks: Networks, x_BCHW: torch.Tensor, noise_BZ: torch.Tensor) -> dict[str, torch.Tensor]:
        """The losses [B] of each network on real records; x~ is decoded from z = mean + deviation * noise."""
        logit, features = networks["discriminator"](x_BCHW)
        mean, log_variance = networks["encoder"](x_BCHW).chunk(2, dim=1)
        decoded = self.images(networks, mean + torch.exp(log_variance / 2) * noise_BZ)
        logit_decoded, features_decoded = networks["discriminator"](decoded)
        prior = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        likeness = (features - features_decoded).square().sum(1) / 2
        return {
            "discriminator": softplus(-logit) + softplus(logit_decoded),
            "generator": self.config.reconstruction_weight * likeness + softplus(-logit_decoded),
            "encoder": prior + likeness,
            "d_real": logit.sigmoid(),
        }

    @property
    def judging_losses(self) -> RecordLosses:
        """-log D(x) [B]; nothing is decoded."""
        return _judging_losses

    def fake_losses(self, networks: Networks, x_BCHW: torch.Tensor) -> Terms:
        """-log(1 - D(x~)) [N]."""
        logit, _ = networks["discriminator"](x_BCHW)
        return {"discriminator": softplus(logit), "d_fake": logit.sigmoid()}

    def generator_losses(self, networks: Networks, x_BCHW: torch.Tensor) -> Terms:
        """-log D(G(z)) [N]."""
        return {"generator": softplus(-networks["discriminator"](x_BCHW)[0])}

    def hidden_blocks(self) -> list[nn.Sequential]:
        """All blocks of the discriminator before the last convolution."""
        return [block for block in self.discriminator.blocks if isinstance(block, nn.Sequential)]


class Discriminator(nn.Module):
    """Images [B,C,H,W] to logits [B] and the features [B,F] in which likeness is measured."""

    def __init__(self, blocks: list[nn.Module], last: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.last = last

    def forward(self, x_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and features."""
        features = self.blocks(x_BCHW)
        return self.last(features).flatten(), features.flatten(1)


def _judging_losses(networks: Networks, x_BCHW: torch.Tensor, noise_BZ: torch.Tensor) -> dict[str, torch.Tensor]:
    logit, _ = networks["discriminator"](x_BCHW)
    return {"discriminator": softplus(-logit), "d_real": logit.sigmoid()}
