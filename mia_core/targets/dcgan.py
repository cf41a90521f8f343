"""DCGAN (Radford et al. 2016; arXiv 1511.06434): strided convolutions, batch-norm generator, non-saturating loss.

The discriminator's norm is a setting and defaults to group norm: per-sample, so that all defense arms (DP-SGD among
them) share one architecture and a record's white-box score does not depend on who else is in its batch.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import nn
from torch.nn.functional import softplus

from mia_core.settings import settings
from mia_core.streams import Streams
from mia_core.targets.base import TARGETS, Step, Target

Positive = Annotated[int, Gt(0)]


DISCRIMINATOR_DEPTH = 3
"""Strided convolutions a discriminator has at least, while its feature map keeps 2 pixels: as many as at 32 pixels."""


@TARGETS.register
class DCGAN(Target):
    """Generator and discriminator; the white-box score is the discriminator's logit."""

    name = "dcgan"
    offers = frozenset({"generator", "discriminator"})
    private = ("discriminator",)

    @settings
    class Config:
        """width: the discriminator's channels at the highest resolution, doubled at each halving. latent: size of z.

        norm: the discriminator's; `batch` as in the paper, `none`, or `group`, in groups of `width`/2 channels.
        """

        width: Positive = 16
        latent: Positive = 64
        norm: Literal["group", "batch", "none"] = "group"

    config: Config

    def __init__(self, config: Config, image_shape: tuple[int, int, int]) -> None:
        super().__init__(config, image_shape)
        self.latent_dimension = config.latent
        base, halvings = _halvings(image_shape)
        depth = _depth(image_shape[1], halvings)
        channels = [config.width * 2**level for level in range(depth)]
        self.generator = _generator(config.latent, base, channels[:halvings], image_shape[0])
        self.discriminator = _discriminator(
            image_shape[0], channels, image_shape[1] >> depth, config.norm, config.width
        )

    def initialize(self, streams: Streams) -> None:
        """Normal weights of deviation (3 fan-in)^-1/2 (torch's idea of fan-in), norm gains of 1 +- 0.02, zero biases.

        That is the paper's 0.02 at its width of 64 (fan-in 1024), and grows for narrower networks, which start too
        slowly with a fixed 0.02.
        """
        random = streams.torch("weights")
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                    module.weight.normal_(0.0, (3 * module.weight[0].numel()) ** -0.5, generator=random)
                elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
                    module.weight.normal_(1.0, 0.02, generator=random)
                bias = getattr(module, "bias", None)
                if bias is not None:
                    bias.zero_()

    def generate(self, z_BZ: torch.Tensor) -> torch.Tensor:
        """[B,C,H,W] in [-1, 1]."""
        return self.generator(z_BZ[:, :, None, None])

    def discriminate(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Logits [B]: log odds of 'real'."""
        return self.discriminator(x_BCHW).flatten()

    def optimizers(self, learning_rate: float, beta1: float) -> dict[str, torch.optim.Optimizer]:
        """Adam for both networks."""
        return {
            name: torch.optim.Adam(network.parameters(), learning_rate, (beta1, 0.999), fused=True)
            for name, network in (("discriminator", self.discriminator), ("generator", self.generator))
        }

    def update(self, x_BCHW: torch.Tensor, step: Step) -> dict[str, torch.Tensor]:
        """Discriminator on real and generated records, then generator on the same generated ones."""
        discriminator, generator = step.optimizers["discriminator"], step.optimizers["generator"]
        z = torch.empty(step.fakes, self.latent_dimension, device=self.device)
        z.normal_(generator=step.streams.torch("latent", step.number, device=self.device))
        with torch.set_grad_enabled(step.train_generator):
            fake_BCHW = self.generate(z)

        discriminator.zero_grad()
        loss_real_B = step.record_gradients(self.discriminator, _loss_real, x_BCHW, step)
        logit_fake_B = self.discriminate(fake_BCHW.detach())
        loss_fake = softplus(logit_fake_B).mean()
        loss_fake.backward()
        discriminator.step()

        history = {
            "loss_discriminator": loss_fake.detach() + (loss_real_B.mean() if len(x_BCHW) else 0.0),
            "d_fake": logit_fake_B.detach().sigmoid().mean(),
        }
        if len(x_BCHW):
            history["d_real"] = torch.exp(-loss_real_B).mean()
        if step.train_generator:
            generator.zero_grad()
            self.discriminator.requires_grad_(False)
            loss_generator = softplus(-self.discriminate(fake_BCHW)).mean()
            loss_generator.backward()
            self.discriminator.requires_grad_(True)
            generator.step()
            history["loss_generator"] = loss_generator.detach()
        return history

    def activations(self) -> list[nn.Sequential]:
        """All blocks of the discriminator but the last convolution."""
        return [block for block in self.discriminator if isinstance(block, nn.Sequential)]


def _loss_real(network: Callable[[torch.Tensor], torch.Tensor], x_BCHW: torch.Tensor) -> torch.Tensor:
    """-log D(x), one term a record."""
    return softplus(-network(x_BCHW).flatten())


def _halvings(image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Smallest feature map and number of halvings down to it: 4 for 16, 32 and 64 pixels, 7 for 28."""
    _, height, width = image_shape
    if height != width or height < 8:
        raise ValueError(f"target: dcgan needs square images of at least 8 pixels, got {height}x{width}")
    base, halvings = height, 0
    while base % 2 == 0 and base > 4:
        base, halvings = base // 2, halvings + 1
    if halvings == 0 or base > 8:
        raise ValueError(f"target: dcgan cannot halve {height} pixels down to 4..8; use e.g. 16, 28, 32 or 64")
    return base, halvings


def _depth(size: int, halvings: int) -> int:
    while halvings < DISCRIMINATOR_DEPTH and size >> (halvings + 1) >= 2:
        halvings += 1
    return halvings


def _generator(latent: int, base: int, channels: list[int], image_channels: int) -> nn.Sequential:
    """Twice the discriminator's channels at every resolution, as in the paper (1024 to 128 at width 64)."""
    width = 2 * channels[-1]
    layers: list[nn.Module] = [
        nn.ConvTranspose2d(latent, width, base, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(True),
    ]
    for narrower in (2 * count for count in channels[-2::-1]):
        layers += [nn.ConvTranspose2d(width, narrower, 4, 2, 1, bias=False), nn.BatchNorm2d(narrower), nn.ReLU(True)]
        width = narrower
    return nn.Sequential(*layers, nn.ConvTranspose2d(width, image_channels, 4, 2, 1), nn.Tanh())


def _groups(channels: int, width: int) -> int:
    """The largest number of equal groups of at least width / 2 channels."""
    return next(groups for groups in range(max(1, 2 * channels // width), 0, -1) if channels % groups == 0)


def _discriminator(image_channels: int, channels: list[int], last: int, norm: str, width: int) -> nn.Sequential:
    blocks: list[nn.Module] = []
    previous = image_channels
    for level, count in enumerate(channels):
        layers: list[nn.Module] = [nn.Conv2d(previous, count, 4, 2, 1)]
        if level and norm == "group":
            layers.append(nn.GroupNorm(_groups(count, width), count))
        elif level and norm == "batch":
            layers.append(nn.BatchNorm2d(count))
        blocks.append(nn.Sequential(*layers, nn.LeakyReLU(0.2)))
        previous = count
    return nn.Sequential(*blocks, nn.Conv2d(previous, 1, last))
