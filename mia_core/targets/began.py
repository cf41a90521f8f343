"""BEGAN (Berthelot et al. 2017; arXiv 1703.10717): an auto-encoder as discriminator; a balance k weighs the fakes.

L(v) is the mean absolute reconstruction error of v. The discriminator minimizes L(x) - k L(G(z)), the generator
L(G(z)), and k is adapted towards the equilibrium L(G(z)) = diversity * L(x). M = L(x) + |diversity * L(x) - L(G(z))|
measures convergence; the history has it as `convergence`, and k as `balance`. The paper halves the learning rate when M
stalls; here it is constant, since the state after some epochs must not depend on the length of a schedule. Known
records on a surrogate's fake side are weighted by k like generated ones, but do not change it: they are reconstructed
as well as x, and would keep k at 0.
"""

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import nn

from mia_core.settings import settings
from mia_core.streams import Streams
from mia_core.targets.adversarial import Adversarial
from mia_core.targets.convolutions import halvings, initialize
from mia_core.targets.gradients import Networks, Terms, Weighted
from mia_core.targets.target import TARGETS, Batch, Learner

Positive = Annotated[int, Gt(0)]
SMALLEST = 8
"""Pixels of the smallest feature map, as in the paper (7 for images of 28)."""


@TARGETS.register
class BEGAN(Adversarial):
    """Generator and auto-encoding discriminator; the white-box score is -L(x), minus the reconstruction error."""

    name = "began"
    beyond_gradients = "the balance k"
    judges_alone = False
    beta1 = 0.5
    balance: torch.Tensor

    @settings
    class Config:
        """width: the paper's n, by which the encoder's channels grow at each halving. latent: size of z and bottleneck.

        diversity: the paper's gamma, lower for sharper and less diverse samples. balance_rate: the paper's lambda_k,
        the step size of k; raise it for trainings much shorter than the paper's 200,000 steps.
        """

        width: Positive = 16
        latent: Positive = 64
        diversity: Annotated[float, Gt(0), Le(1)] = 0.5
        balance_rate: Annotated[float, Ge(0)] = 0.001

    config: Config

    def __init__(self, config: Config, image_shape: tuple[int, int, int]) -> None:
        super().__init__(config, image_shape)
        self.latent_dimension = config.latent
        base, count = halvings(self.name, image_shape, SMALLEST)
        self.generator = _decoder(config.latent, config.width, base, count, image_shape[0])
        encoder = _encoder(config.latent, config.width, base, count, image_shape[0])
        self.discriminator: nn.Sequential = nn.Sequential(
            *encoder, *_decoder(config.latent, config.width, base, count, image_shape[0])
        )
        self.register_buffer("balance", torch.zeros(()))

    def initialize(self, streams: Streams) -> None:
        """See `convolutions.initialize`; the balance k starts at 0."""
        initialize(self, streams, gain=1.0)
        self.balance.zero_()

    def images(self, networks: Networks, z_BZ: torch.Tensor) -> torch.Tensor:
        """G(z) [B,C,H,W], unbounded. Normal latents are mapped to the paper's uniform ones on [-1, 1]."""
        return networks["generator"](torch.erf(z_BZ / 2**0.5))

    def generate(self, z_BZ: torch.Tensor) -> torch.Tensor:
        """G(z) [B,C,H,W], clamped to [-1, 1]."""
        return super().generate(z_BZ).clamp(-1, 1)

    def discriminate(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """-L(x) [B]."""
        return -_reconstruction_error(self.discriminator, x_BCHW)

    def step(self, learner: Learner, batch: Batch) -> None:
        """Update both networks on the same generated records, then the balance k.

        k weighs the fake side as a whole: generated records and the contrast have weights proportional to their
        numbers.
        """
        assert batch.fakes, "without generated records there is no equilibrium, and k stays 0"
        learning, k = self.learning(batch), learner.buffer("balance")
        contrast = 0 if batch.contrast is None else batch.contrast.shape[-4]
        share = batch.fakes / (batch.fakes + contrast)
        real = learner.learn_from_records(self.real_losses, batch.real)["discriminator"].mean(-1)
        fake = self.fakes(learner, batch)
        generated = learner.learn_from(self.generator_losses, fake, k * share, only=learning)["generator"].mean(-1)
        d_fake = generated
        if batch.contrast is not None:
            known = learner.learn_from(self.fake_losses, batch.contrast, k * (1 - share))["d_known"].mean(-1)
            d_fake = share * generated + (1 - share) * known
        learner.update(*learning)

        gap = self.config.diversity * real - generated
        learner.report(d_real=real, d_fake=d_fake, convergence=real + gap.abs(), balance=k)
        learner.set_buffer("balance", (k + self.config.balance_rate * gap).clamp(0, 1))

    def real_losses(self, networks: Networks, x_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
        """L(x)."""
        return {"discriminator": _reconstruction_error(networks["discriminator"], x_BCHW)}

    def generator_losses(self, networks: Networks, x_BCHW: torch.Tensor, k: torch.Tensor) -> Terms:
        """-k L(G(z)) for the discriminator, L(G(z)) for the generator. k: the balance times the generated share."""
        error_B = _reconstruction_error(networks["discriminator"], x_BCHW)
        return {"discriminator": Weighted(-k, error_B), "generator": error_B}

    def fake_losses(self, networks: Networks, x_BCHW: torch.Tensor, k: torch.Tensor) -> Terms:
        """-k L(x~) for known records. k: the balance times their share of the fake side."""
        error_B = _reconstruction_error(networks["discriminator"], x_BCHW)
        return {"discriminator": Weighted(-k, error_B), "d_known": error_B}

    def hidden_blocks(self) -> list[nn.Sequential]:
        """The blocks of the encoder."""
        return [block for block in self.discriminator if isinstance(block, nn.Sequential)]


def _reconstruction_error(network: Callable[[torch.Tensor], torch.Tensor], x_BCHW: torch.Tensor) -> torch.Tensor:
    """L(x) [B]: mean absolute error over the pixels."""
    return (network(x_BCHW) - x_BCHW).abs().flatten(1).mean(1)


def _encoder(latent: int, width: int, base: int, count: int, image_channels: int) -> list[nn.Module]:
    """Blocks of two convolutions, the second halving the map and adding `width` channels, and a linear bottleneck."""
    blocks: list[nn.Module] = []
    previous = image_channels
    for level in range(1, count + 1):
        channels, wider = level * width, (level + 1) * width
        blocks.append(
            nn.Sequential(
                nn.Conv2d(previous, channels, 3, 1, 1), nn.ELU(), nn.Conv2d(channels, wider, 3, 2, 1), nn.ELU()
            )
        )
        previous = wider
    channels = (count + 1) * width
    blocks.append(
        nn.Sequential(
            nn.Conv2d(previous, channels, 3, 1, 1), nn.ELU(), nn.Conv2d(channels, channels, 3, 1, 1), nn.ELU()
        )
    )
    return [*blocks, nn.Flatten(), nn.Linear(channels * base**2, latent)]


def _decoder(latent: int, width: int, base: int, count: int, image_channels: int) -> nn.Sequential:
    """Latents [B,Z] to images [B,C,H,W], unbounded; `width` channels throughout, upsampling by nearest neighbors."""
    layers: list[nn.Module] = [nn.Linear(latent, width * base**2), nn.Unflatten(1, (width, base, base))]
    for level in range(count + 1):
        if level:
            layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
        layers += [nn.Conv2d(width, width, 3, 1, 1), nn.ELU(), nn.Conv2d(width, width, 3, 1, 1), nn.ELU()]
    return nn.Sequential(*layers, nn.Conv2d(width, image_channels, 3, 1, 1))
