"""Strided convolutional stacks in the style of DCGAN, and their initial weights; building blocks of several targets."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from mia_core.errors import Refused
from mia_core.streams import Streams

DISCRIMINATOR_DEPTH = 3
"""Minimal number of strided convolutions in a discriminator, as at 32 pixels, if 2 x 2 pixels remain after them."""


def halvings(target: str, image_shape: tuple[int, int, int], smallest: int = 4) -> tuple[int, int]:
    """Smallest feature map and number of halvings down to it: with `smallest` 4, 4 for 16, 32 and 64 pixels, 7 for 28.

    Refused for images that are not square or do not halve down to `smallest` .. 2 `smallest` pixels.
    """
    _, height, width = image_shape
    if height != width or height < 8:
        raise Refused(f"target: {target} needs square images of at least 8 pixels, got {height}x{width}")
    base, count = height, 0
    while base % 2 == 0 and base > smallest:
        base, count = base // 2, count + 1
    if base > 2 * smallest or (count == 0 and base > smallest):
        raise Refused(
            f"target: {target} cannot halve {height} pixels down to {smallest}..{2 * smallest}; "
            "set data.size to e.g. 16, 28, 32 or 64"
        )
    return base, count


@dataclass(frozen=True)
class Stacks:
    """The networks of DCGAN's shape for images of one size, whose convolutions halve or double them.

    image_channels: C. width: channels at the highest resolution. base: side of the smallest map of a generator.
    doublings: of a generator. channels: after each strided convolution of `down`, doubling from `width`. smallest: side
    of the map after them.
    """

    image_channels: int
    width: int
    base: int
    doublings: int
    channels: tuple[int, ...]
    smallest: int

    @classmethod
    def of(cls, target: str, image_shape: tuple[int, int, int], width: int) -> "Stacks":
        """For images [C,H,W], see `halvings`. On small images `down` halves more often than a generator doubles."""
        base, doublings = halvings(target, image_shape)
        depth = doublings
        while depth < DISCRIMINATOR_DEPTH and image_shape[1] >> (depth + 1) >= 2:
            depth += 1
        channels = tuple(width * 2**level for level in range(depth))
        return cls(image_shape[0], width, base, doublings, channels, image_shape[1] >> depth)

    def down(self, norm: str, bias: bool = True) -> list[nn.Module]:
        """Blocks [B,C,H,W] to [B,channels[-1],smallest,smallest]: convolution, norm (not in the first), LeakyReLU.

        norm: `group` with groups of `width`/2 channels or more, `batch`, or `none`. bias: of the convolutions.
        """
        blocks: list[nn.Module] = []
        for level, (previous, count) in enumerate(pairwise([self.image_channels, *self.channels])):
            layers: list[nn.Module] = [nn.Conv2d(previous, count, 4, 2, 1, bias=bias)]
            if level:
                layers += normalization(norm, count, self.width)
            blocks.append(nn.Sequential(*layers, nn.LeakyReLU(0.2)))
        return blocks

    def last(self, outputs: int, bias: bool = True) -> nn.Conv2d:
        """What `down` returns to [B,outputs,1,1]."""
        return nn.Conv2d(self.channels[-1], outputs, self.smallest, bias=bias)

    def up(self, latent: int, norm: str = "batch", widening: int = 2, bias: bool = True) -> nn.Sequential:
        """Latents [B,Z,1,1] to images [B,C,H,W] in [-1, 1]. widening: its channels in those of `down`.

        bias: of the last convolution, which returns the image; the others precede a norm and have none.
        """
        widths = [widening * channels for channels in self.channels[: self.doublings][::-1]]
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, widths[0], self.base, bias=False)]
        for width, narrower in pairwise(widths):
            layers += [*normalization(norm, width, widths[-1]), nn.ReLU(True)]
            layers.append(nn.ConvTranspose2d(width, narrower, 4, 2, 1, bias=False))
        layers += [*normalization(norm, widths[-1], widths[-1]), nn.ReLU(True)]
        last = nn.ConvTranspose2d(widths[-1], self.image_channels, 4, 2, 1, bias=bias)
        return nn.Sequential(*layers, last, nn.Tanh())


def normalization(norm: str, channels: int, width: int) -> list[nn.Module]:
    """The normalization layer, or no layer for `none`."""
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    return [nn.GroupNorm(_groups(channels, width), channels)] if norm == "group" else []


def _groups(channels: int, width: int) -> int:
    """The largest number of equal groups of at least width / 2 channels each."""
    return next(groups for groups in range(max(1, 2 * channels // width), 0, -1) if channels % groups == 0)


def initialize(network: nn.Module, streams: Streams, gain: float = 3**-0.5, deviation: float | None = None) -> None:
    """Normal weights of deviation `gain` / sqrt(fan-in), torch's fan-in; norm gains of 1 +- 0.02; zero biases.

    The default gain gives DCGAN's 0.02 at its width of 64 (fan-in 1024), and more in narrower networks, which start too
    slowly with a fixed 0.02. A stack without norms keeps its scale with a gain of 1. deviation: a fixed value instead.
    """
    random = streams.torch("weights")
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                scaled = gain * module.weight[0].numel() ** -0.5
                module.weight.normal_(0.0, scaled if deviation is None else deviation, generator=random)
            elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
                module.weight.normal_(1.0, 0.02, generator=random)
            bias = getattr(module, "bias", None)
            if bias is not None:
                bias.zero_()
