"""Samples of a diffusion model, and variations of images, by its denoiser: DDIM, or DDPM's random steps.

As in the authors' code, both keep the image that a step predicts in [-1, 1]. Shapes: B batch, C H W image, T timesteps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch

from mia_core.diffusion import ancestral_step, ddim_step, ddim_times, noise_within_range, noised
from mia_core.streams import Streams

SamplerName = Literal["ddim", "ddpm"]


@dataclass(frozen=True)
class Sampler:
    """denoise: the noise [B,C,H,W] in images at times t, int64 [B]. alpha_bar: [T], see `mia_core.diffusion`.

    name: `ddim` takes `steps` deterministic steps, `ddpm` T random ones.
    """

    denoise: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    alpha_bar: torch.Tensor
    name: SamplerName
    steps: int

    @property
    def times(self) -> list[int]:
        """All that a sample passes through, ascending."""
        timesteps = len(self.alpha_bar)
        return ddim_times(timesteps, self.steps if self.name == "ddim" else timesteps)

    def sample(self, x_BCHW: torch.Tensor, rng: Streams | None = None) -> torch.Tensor:
        """Images from x_T, standard normal. rng: of DDPM's steps, which DDIM does not take."""
        return self._down(x_BCHW, self.times, rng, len(x_BCHW))

    def variation(self, x_BCHW: torch.Tensor, time: int, rng: Streams) -> torch.Tensor:
        """Images with noise of a time t in 0 .. T-1, which the sampler then removes. ValueError for another time.

        All images get the same noise, so that what becomes of one does not depend on the others.
        """
        if not 0 <= time < len(self.alpha_bar):
            raise ValueError(f"time {time} is not one of the {len(self.alpha_bar)} timesteps")
        eps = torch.randn(1, *x_BCHW.shape[1:], generator=rng.torch("noise")).to(x_BCHW.device)
        times = [t for t in self.times if t < time] + [time]
        return self._down(noised(x_BCHW, eps, self.alpha_bar[time]), times, rng, 1)

    def _down(self, x_BCHW: torch.Tensor, times: Sequence[int], rng: Streams | None, rows: int) -> torch.Tensor:
        """From the noise of the last of these times through all of them to an image. rows: of noise, B or 1."""
        levels = [(time, self.alpha_bar[time]) for time in reversed(times)] + [(-1, torch.ones_like(self.alpha_bar[0]))]
        for (time, here), (_, below) in pairwise(levels):
            eps = self.denoise(x_BCHW, torch.full((len(x_BCHW),), time, device=x_BCHW.device))
            eps = noise_within_range(x_BCHW, eps, here)
            if self.name == "ddim":
                x_BCHW = ddim_step(x_BCHW, eps, here, below)
            else:
                assert rng is not None
                fresh = torch.randn(rows, *x_BCHW.shape[1:], generator=rng.torch("step", time)).to(x_BCHW.device)
                x_BCHW = ancestral_step(x_BCHW, eps, here, below, fresh)
        return x_BCHW.clamp(-1, 1)  # beyond it by rounding alone
