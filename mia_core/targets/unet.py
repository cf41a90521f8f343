"""The U-Net of denoising diffusion models (Ho et al. 2020; arXiv 2006.11239), which finds the noise in noised images.

Residual blocks with group norm, which receive the time, and self-attention at one resolution and in the middle. Each
record is treated alone. Shapes: B batch, C H W feature map, E numbers that encode the time.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from mia_core.streams import Streams
from mia_core.targets.convolutions import initialize


class UNet(nn.Module):
    """x_t [B,C,H,W] and times t, int64 [B], to eps [B,C,H,W].

    channels: of the feature maps, one per resolution, from the image's resolution down by halves. blocks: residual
    blocks per resolution on the way down; there is one more on the way up. attention: side of the feature maps, in
    pixels, on which every block is followed by attention; the middle always has it.
    """

    def __init__(self, image_channels: int, size: int, channels: list[int], blocks: int, attention: int) -> None:
        super().__init__()
        self.width = channels[0]
        encoded = 4 * self.width
        self.time = nn.Sequential(nn.Linear(self.width, encoded), nn.SiLU(), nn.Linear(encoded, encoded), nn.SiLU())
        self.head = nn.Conv2d(image_channels, self.width, 3, padding=1)
        count, kept = self.width, [self.width]
        self.down = nn.ModuleList()
        for level, own in enumerate(channels):
            for _ in range(blocks):
                self.down.append(_Level(count, own, encoded, size >> level == attention))
                count = own
                kept.append(count)
            if level < len(channels) - 1:
                self.down.append(nn.Conv2d(count, count, 3, stride=2, padding=1))
                kept.append(count)
        self.middle = nn.ModuleList([_Level(count, count, encoded, True), _Level(count, count, encoded, False)])
        self.up = nn.ModuleList()
        for level, own in reversed(list(enumerate(channels))):
            for _ in range(blocks + 1):
                self.up.append(_Level(count + kept.pop(), own, encoded, size >> level == attention))
                count = own
            if level:
                self.up.append(nn.Conv2d(count, count, 3, padding=1))
        self.tail = nn.Sequential(_norm(count), nn.SiLU(), nn.Conv2d(count, image_channels, 3, padding=1))

    def forward(self, x_BCHW: torch.Tensor, t_B: torch.Tensor) -> torch.Tensor:
        """The noise in x_t."""
        time_BE = self.time(encoding(t_B, self.width).to(x_BCHW.dtype))
        x = self.head(x_BCHW)
        kept = [x]
        for layer in self.down:
            x = layer(x, time_BE) if isinstance(layer, _Level) else layer(x)
            kept.append(x)
        for layer in self.middle:
            x = layer(x, time_BE)
        for layer in self.up:
            x = layer(torch.cat([x, kept.pop()], 1), time_BE) if isinstance(layer, _Level) else layer(doubled(x))
        return self.tail(x)

    def initialize(self, streams: Streams) -> None:
        """As of `convolutions.initialize`, but each residual branch and the output begin at zero, as the authors do."""
        initialize(self, streams)
        last = [module.last for module in self.modules() if isinstance(module, (_Residual, _Attention))]
        for module in [*last, *self.tail]:
            if isinstance(module, nn.Conv2d):
                nn.init.zeros_(module.weight)


class _Residual(nn.Module):
    """x + convolutions of x and the time."""

    def __init__(self, before: int, after: int, encoded: int) -> None:
        super().__init__()
        self.first = nn.Sequential(_norm(before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1))
        self.time = nn.Linear(encoded, after)
        self.second = nn.Sequential(_norm(after), nn.SiLU())
        self.last = nn.Conv2d(after, after, 3, padding=1)
        self.passed = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x_BCHW: torch.Tensor, time_BE: torch.Tensor) -> torch.Tensor:
        """As many pixels as x."""
        found = self.first(x_BCHW) + self.time(time_BE)[:, :, None, None]
        return self.passed(x_BCHW) + self.last(self.second(found))


class _Attention(nn.Module):
    """x + attention of each pixel to all pixels of its record, with one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        # Without biases: attention does not depend on the keys', whose gradient would be of rounding alone.
        self.all = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.last = nn.Conv2d(channels, channels, 1)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """As many pixels as x."""
        # Plain products: torch's fused attention adds up its gradients on a GPU in an order that changes.
        query, key, value = self.all(self.norm(x_BCHW)).flatten(2).chunk(3, dim=1)
        weights = (query.transpose(-2, -1) @ key / math.sqrt(key.shape[1])).softmax(-1)
        return x_BCHW + self.last((value @ weights.transpose(-2, -1)).view_as(x_BCHW))


class _Level(nn.Module):
    """A residual block, and attention after it if wanted."""

    def __init__(self, before: int, after: int, encoded: int, attention: bool) -> None:
        super().__init__()
        self.residual = _Residual(before, after, encoded)
        self.attention = _Attention(after) if attention else nn.Identity()

    def forward(self, x_BCHW: torch.Tensor, time_BE: torch.Tensor) -> torch.Tensor:
        """As many pixels as x."""
        return self.attention(self.residual(x_BCHW, time_BE))


class _Norm(nn.GroupNorm):
    """Group norm of maps that lie in memory channel by channel: faster on a CPU, and the only ones that vmap knows."""

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """As many pixels as x."""
        return super().forward(x_BCHW.contiguous())


def _norm(channels: int) -> nn.GroupNorm:
    """At most 32 groups, as the authors have, of at least four channels."""
    most = min(32, max(1, channels // 4))
    return _Norm(next(groups for groups in range(most, 0, -1) if channels % groups == 0), channels)


def encoding(t_B: torch.Tensor, width: int) -> torch.Tensor:
    """Sines and cosines [B,width] of a time at `width`/2 frequencies from 1 down to 1/10,000 (Vaswani et al. 2017), and
    a 0 if the width is odd.
    """
    half = width // 2
    frequency = torch.exp(torch.arange(half, device=t_B.device) * (-math.log(10_000) / max(1, half - 1)))
    angle = t_B[:, None] * frequency
    return F.pad(torch.cat([angle.sin(), angle.cos()], 1), (0, width % 2))


def doubled(x_BCHW: torch.Tensor) -> torch.Tensor:
    """Each pixel four times [B,C,2H,2W]. torch's upsampling has a gradient on a GPU that is not repeatable."""
    twice = x_BCHW[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2)
    return twice.flatten(4).flatten(2, 3)
