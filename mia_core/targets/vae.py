"""Variational autoencoder (Kingma & Welling 2014; arXiv 1312.6114), with the weight beta of Higgins et al. 2017.

An encoder maps each record x to a normal posterior over latents, and the generator decodes z ~ q(z | x). For a record:

    loss = -log p(x | z) + beta KL(q(z | x) || N(0, I))

With beta 1 this is minus the evidence lower bound, of one draw of z. The likelihood is of independent pixels: Gaussian
around the decoded image, or Bernoulli, for which pixels from -1 to 1 stand for probabilities from 0 to 1. A sample is
the mean of p(x | z). Both networks learn from real records, so a private defense treats both, jointly. The networks are
those of `vae_gan`.
"""

import math
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt
from torch import nn
from torch.nn.functional import softplus

from mia_core.settings import settings
from mia_core.step_draws import Draw, normal
from mia_core.streams import Streams
from mia_core.targets.convolutions import Stacks
from mia_core.targets.gradients import Networks
from mia_core.targets.per_record import JUDGING_DRAWS, PerRecord
from mia_core.targets.target import TARGETS

Positive = Annotated[int, Gt(0)]


@TARGETS.register
class VAE(PerRecord):
    """Encoder and generator (decoder)."""

    name = "vae"
    offers = PerRecord.offers | {"generator", "encode"}
    networks = private = ("generator", "encoder")

    @settings
    class Config:
        """width: channels at the highest resolution, doubled at each halving. latent: size of z.

        norm: of both networks, `group`, in groups of `width`/2 channels, or `none`. deviation: of the Gaussian
        likelihood, for pixels in [-1, 1]. beta: weight of the KL term.
        """

        width: Positive = 16
        latent: Positive = 64
        norm: Literal["group", "none"] = "group"
        likelihood: Literal["gaussian", "bernoulli"] = "gaussian"
        deviation: Annotated[float, Gt(0)] = 0.3
        beta: Annotated[float, Ge(0)] = 1.0

    config: Config

    def __init__(self, config: Config, image_shape: tuple[int, int, int]) -> None:
        super().__init__(config, image_shape)
        self.latent_dimension = config.latent
        self.deviation = config.deviation if config.likelihood == "gaussian" else None
        stacks = Stacks.of(self.name, image_shape, config.width)
        self.generator = stacks.up(config.latent, config.norm)[:-1]  # tanh is in `generate`
        self.encoder = nn.Sequential(*stacks.down(config.norm), stacks.last(2 * config.latent), nn.Flatten())

    @classmethod
    def unread(cls, config: Any, image_shape: tuple[int, ...] | None = None) -> dict[str, str]:
        """The deviation of another likelihood."""
        reason = "with likelihood bernoulli has no deviation of pixels"
        return {"deviation": reason} if config.likelihood == "bernoulli" else {}

    def record_draws(self, records: int) -> dict[str, Draw]:
        """The posterior noise of each record."""
        return {"posterior": normal(records, self.latent_dimension)}

    def judging_draws(self, rng: Streams) -> tuple[torch.Tensor, ...]:
        """Posterior noise [R,Z]."""
        return (torch.randn(JUDGING_DRAWS, self.latent_dimension, generator=rng.torch("posterior")),)

    def generate(self, z_BZ: torch.Tensor) -> torch.Tensor:
        """The mean [B,C,H,W] of p(x | z), in [-1, 1]."""
        return self.generator(z_BZ[:, :, None, None]).tanh()

    def record_losses(self, networks: Networks, x_BCHW: torch.Tensor, *draws: torch.Tensor) -> dict[str, torch.Tensor]:
        """The loss [B] of both networks; z = mean + deviation * noise."""
        (noise_BZ,) = draws
        mean, log_variance = networks["encoder"](x_BCHW).chunk(2, dim=1)
        z_BZ = mean + torch.exp(log_variance / 2) * noise_BZ
        prior = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        reconstruction = -self.log_likelihood(x_BCHW, networks["generator"](z_BZ[:, :, None, None]))
        loss = reconstruction + self.config.beta * prior
        return {"generator": loss, "encoder": loss, "reconstruction": reconstruction, "prior": prior}

    def log_likelihood(self, x_BCHW: torch.Tensor, decoded_BCHW: torch.Tensor) -> torch.Tensor:
        """log p(x | z) [B], from what the generator returns, before tanh: tanh(a) in [-1, 1] is sigmoid(2a) in [0, 1].

        Gaussian: sum of log N(x; tanh(a), deviation^2). Bernoulli: sum of y log p + (1 - y) log(1 - p), y = (x + 1)/2.
        """
        if self.config.likelihood == "bernoulli":
            logit = 2 * decoded_BCHW
            return ((x_BCHW + 1) / 2 * logit - softplus(logit)).flatten(1).sum(1)
        deviation = self.config.deviation
        error = (x_BCHW - decoded_BCHW.tanh()) / deviation
        return -(error.square() / 2 + math.log(deviation) + math.log(2 * math.pi) / 2).flatten(1).sum(1)
