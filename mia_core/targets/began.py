"""BEGAN (Berthelot et al. 2017; arXiv 1703.10717): the discriminator is an auto-encoder, a balance k weighs the fakes.

L(v) is the mean absolute error of v's reconstruction. The discriminator minimizes L(x) - k L(G(z)), the generator
L(G(z)), and k goes after the equilibrium L(G(z)) = diversity * L(x). M = L(x) + |diversity * L(x) - L(G(z))| measures
convergence, in the history as `convergence`, beside `balance`. The paper halves the learning rate where M stalls; here
it stays, since a level of epochs must not depend on how a schedule will end. Known records on a surrogate's fake side
weigh k like the generated ones and do not move it: they reconstruct as well as x, and would hold k at 0.
"""

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import nn

from mia_core.settings import settings
from mia_core.streams import Streams
from mia_core.targets.convolutions import halvings, initialize
from mia_core.targets.target import TARGETS, Networks, Step, Target, adam, add_gradients

Positive = Annotated[int, Gt(0)]
SMALLEST = 8
"""Pixels of the smallest feature map, as in the paper (7 for images of 28)."""


@TARGETS.register
class BEGAN(Target):
    """Generator and auto-encoding discriminator; the white-box score is minus the reconstruction error L(x)."""

    name = "began"
    offers = frozenset({"samples", "latent", "generator", "discriminate"})
    private = ("discriminator",)
    beyond_gradients = "the balance k"
    judges_alone = False
    beta1 = 0.5
    balance: torch.Tensor

    @settings
    class Config:
        """width: channels n of the paper, growing by n at each halving. latent: size of z and of the bottleneck.

        diversity: the paper's gamma, lower for sharper and less diverse samples. balance_rate: the paper's lambda_k,
        the step of k; raise it for trainings much shorter than the paper's 200,000 steps.
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
        self.discriminator = nn.Sequential(
            *encoder, *_decoder(config.latent, config.width, base, count, image_shape[0])
        )
        self.register_buffer("balance", torch.zeros(()))

    def initialize(self, streams: Streams) -> None:
        """See `convolutions.initialize`; the balance k starts at 0."""
        initialize(self, streams, gain=1.0)
        self.balance.zero_()

    def generate(self, z_BZ: torch.Tensor) -> torch.Tensor:
        """[B,C,H,W], in [-1, 1] in evaluation mode; normal latents become the paper's, uniform in [-1, 1]."""
        images = self.generator(torch.erf(z_BZ / 2**0.5))
        return images if self.training else images.clamp(-1, 1)

    def discriminate(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """-L(x) [B]."""
        return -_reconstruction_error(self.discriminator, x_BCHW)

    def optimizers(self, learning_rate: float, beta1: float | None) -> dict[str, torch.optim.Optimizer]:
        """Adam for both networks."""
        return {name: adam(self.get_submodule(name), learning_rate, beta1) for name in ("discriminator", "generator")}

    def update(self, x_BCHW: torch.Tensor, step: Step) -> dict[str, torch.Tensor]:
        """Both networks at once, on the same generated records; then the balance."""
        for optimizer in step.optimizers.values():
            optimizer.zero_grad()
        real = step.record_gradients({"discriminator": self.discriminator}, _losses, (x_BCHW,), step)
        loss_real = real["discriminator"].mean()
        loss_fake, loss_generated = self._fake_gradients(step)
        step.optimizers["discriminator"].step()
        if step.train_generator:
            step.optimizers["generator"].step()

        gap = self.config.diversity * loss_real - loss_generated
        history = {
            "loss_discriminator": loss_real - self.balance * loss_fake,
            "d_real": loss_real,
            "d_fake": loss_fake,
            "convergence": loss_real + gap.abs(),
            "balance": self.balance.clone(),
        }
        if step.train_generator:
            history["loss_generator"] = loss_generated
        self.balance.add_(self.config.balance_rate * gap).clamp_(0, 1)
        return history

    def _fake_gradients(self, step: Step) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the gradients of -k L(fake side) and L(G(z)), from one pass; L of the fake side, and of G(z)."""
        assert step.fakes, "without generated records there is no equilibrium, and k stays 0"
        share = step.fakes / (step.fakes + (0 if step.contrast is None else len(step.contrast)))
        loss = _reconstruction_error(self.discriminator, self.fakes(step)).mean()
        weights: dict[nn.Module, float | torch.Tensor] = {self.discriminator: -self.balance * share}
        if step.train_generator:
            weights[self.generator] = 1.0
        add_gradients(loss, weights)
        loss_generated = loss.detach()
        if step.contrast is None:
            return loss_generated, loss_generated
        loss = _reconstruction_error(self.discriminator, step.contrast).mean()
        add_gradients(loss, {self.discriminator: -self.balance * (1 - share)})
        return share * loss_generated + (1 - share) * loss.detach(), loss_generated

    def activations(self) -> list[nn.Sequential]:
        """The blocks of the auto-encoder's encoder: what follows must reconstruct from what they leave."""
        return [block for block in self.discriminator if isinstance(block, nn.Sequential)]


def _reconstruction_error(network: Callable[[torch.Tensor], torch.Tensor], x_BCHW: torch.Tensor) -> torch.Tensor:
    """L(x) [B]: mean absolute error over the pixels."""
    return (network(x_BCHW) - x_BCHW).abs().flatten(1).mean(1)


def _losses(networks: Networks, x_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
    """L(x), one term a record."""
    return {"discriminator": _reconstruction_error(networks["discriminator"], x_BCHW)}


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
    """Latents [B,Z] to images [B,C,H,W], unbounded: `width` channels everywhere, doubling the map by repetition."""
    layers: list[nn.Module] = [nn.Linear(latent, width * base**2), nn.Unflatten(1, (width, base, base))]
    for level in range(count + 1):
        if level:
            layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
        layers += [nn.Conv2d(width, width, 3, 1, 1), nn.ELU(), nn.Conv2d(width, width, 3, 1, 1), nn.ELU()]
    return nn.Sequential(*layers, nn.Conv2d(width, image_channels, 3, 1, 1))
