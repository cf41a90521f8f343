"""Denoising diffusion (Ho et al. 2020; arXiv 2006.11239): a U-Net learns to find the noise in noised records.

For one record x, with a time t uniform in 0 .. T-1 and noise eps:

    loss = |eps - denoiser(x_t, t)|^2 / pixels      x_t = sqrt(alpha_bar_t) x + sqrt(1 - alpha_bar_t) eps

What is released is an exponential moving average of the denoiser's weights, which is a function of the trained ones
alone: it costs a private training nothing. Samples come from x_T by DDIM (Song et al. 2021; arXiv 2010.02502), where
x_T is the latent, or by DDPM's T random steps. As in the authors' code, both keep the image that a step predicts in
[-1, 1].
"""

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt, Lt, MinLen
from pydantic import Strict
from torch import nn

from mia_core.diffusion import SCHEDULES, Schedule, noised
from mia_core.diffusion_sampler import Sampler, SamplerName
from mia_core.errors import Refused
from mia_core.settings import settings
from mia_core.step_draws import Draw, index, normal
from mia_core.streams import Streams
from mia_core.targets.gradients import Networks
from mia_core.targets.per_record import JUDGING_DRAWS, PerRecord
from mia_core.targets.target import TARGETS, Batch, Learner
from mia_core.targets.unet import UNet

Positive = Annotated[int, Gt(0)]


@TARGETS.register
class DDPM(PerRecord):
    """The denoiser, and `ema`, its average.

    It does not offer `generator`: a gradient of the latent would pass through the denoiser once per sampling step.
    """

    name = "ddpm"
    offers = PerRecord.offers | {"denoise", "variation"}
    networks = private = ("denoiser",)
    averages: ClassVar[Mapping[str, str]] = {"ema": "denoiser"}

    @settings
    class Config:
        """width: channels at the image's resolution; multipliers: of it, one per resolution, halved from one to the
        next. blocks: residual blocks per resolution. attention: side of the feature maps with attention, in pixels.

        timesteps: T. schedule: of the noise. ema: decay of the average per step; 0 releases the last weights. In its
        first steps an average forgets faster, by min(ema, (1 + k) / (10 + k)) in step k.

        sampler: `ddim`, or `ddpm`, whose samples are no function of their latents and take T steps. sampling_steps:
        of DDIM.
        """

        width: Positive = 16
        multipliers: Annotated[tuple[Positive, ...], Strict(False), MinLen(1)] = (1, 2, 2)
        blocks: Positive = 1
        attention: Positive = 8
        timesteps: Annotated[int, Gt(20)] = 1000
        schedule: Schedule = "linear"
        ema: Annotated[float, Ge(0), Lt(1)] = 0.999
        sampler: SamplerName = "ddim"
        sampling_steps: Positive = 25

    config: Config
    alpha_bar: torch.Tensor
    updates: torch.Tensor

    def __init__(self, config: Config, image_shape: tuple[int, int, int]) -> None:
        super().__init__(config, image_shape)
        channels, height, width = image_shape
        parts = 2 ** (len(config.multipliers) - 1)
        if height != width or height % parts:
            raise Refused(
                f"target: {self.name} needs square images of a multiple of {parts} pixels for "
                f"{len(config.multipliers)} multipliers, got {height}x{width}; give fewer"
            )
        if config.sampler == "ddim" and config.sampling_steps > config.timesteps:
            raise Refused(
                f"target.sampling_steps: {self.name} has {config.timesteps} timesteps, fewer than "
                f"{config.sampling_steps}; lower it"
            )
        if config.width < 2:
            raise Refused(f"target.width: {self.name} encodes times in `width` numbers and needs at least 2")
        self.latent_dimension = prod(image_shape)
        self.timesteps = config.timesteps
        if config.sampler == "ddpm":
            self.offers = type(self).offers - {"latent"}
        self.denoiser, self.ema = (
            UNet(channels, height, [config.width * m for m in config.multipliers], config.blocks, config.attention)
            for _ in range(2)
        )
        self.ema.requires_grad_(False)
        alpha_bar = SCHEDULES[config.schedule](config.timesteps).to(torch.get_default_dtype())
        self.register_buffer("alpha_bar", alpha_bar, persistent=False)
        self.register_buffer("updates", torch.zeros(()))

    @classmethod
    def unread(cls, config: Any, image_shape: tuple[int, ...] | None = None) -> dict[str, str]:
        """The steps of another sampler, and attention on feature maps of a side that none has."""
        steps = {"sampling_steps": "with sampler ddpm takes all timesteps"} if config.sampler == "ddpm" else {}
        if image_shape is None:
            return steps
        sides = [image_shape[1] >> level for level in range(len(config.multipliers))]
        reason = f"has feature maps of sides {', '.join(map(str, sides))} and none of {config.attention}"
        return steps if config.attention in sides else steps | {"attention": reason}

    def initialize(self, streams: Streams) -> None:
        """See `UNet.initialize`; the average begins at the same weights."""
        self.denoiser.initialize(streams)
        self.ema.load_state_dict(self.denoiser.state_dict())

    # Training

    def record_draws(self, records: int) -> dict[str, Draw]:
        """A time and the noise of each record."""
        return {"time": index(records, below=self.config.timesteps), "noise": normal(records, *self.image_shape)}

    def record_losses(self, networks: Networks, x_BCHW: torch.Tensor, *draws: torch.Tensor) -> dict[str, torch.Tensor]:
        """The mean squared error [B] of the noise that is found."""
        t_B, eps_BCHW = draws
        x_t = noised(x_BCHW, eps_BCHW, self.alpha_bar[t_B][:, None, None, None])
        return {"denoiser": (eps_BCHW - networks["denoiser"](x_t, t_B)).square().flatten(1).mean(1)}

    def step(self, learner: Learner, batch: Batch) -> None:
        """An update of the denoiser, and one of its average."""
        super().step(learner, batch)
        updates = learner.buffer("updates") + 1
        learner.set_buffer("updates", updates)
        learner.average("ema", ((1 + updates) / (10 + updates)).clamp_max(self.config.ema))

    # What is released

    @property
    def released(self) -> Mapping[str, nn.Module]:
        """The average in place of the denoiser."""
        return {"denoiser": self.ema}

    def judging_draws(self, rng: Streams) -> tuple[torch.Tensor, ...]:
        """Times in the middle of R equal parts of 0 .. T-1, and noise [R,C,H,W]."""
        times = (torch.arange(JUDGING_DRAWS) * 2 + 1) * self.config.timesteps // (2 * JUDGING_DRAWS)
        return times, torch.randn(JUDGING_DRAWS, *self.image_shape, generator=rng.torch("noise"))

    def denoise(self, x_BCHW: torch.Tensor, t_B: torch.Tensor) -> torch.Tensor:
        """The noise that the average finds [B,C,H,W]."""
        found: torch.Tensor = self.ema(x_BCHW, t_B)
        return found

    @property
    def _sampler(self) -> Sampler:
        return Sampler(self.denoise, self.alpha_bar, self.config.sampler, self.config.sampling_steps)

    def generate(self, z_BZ: torch.Tensor) -> torch.Tensor:
        """Images [B,C,H,W] from x_T, by DDIM."""
        return replace(self._sampler, name="ddim").sample(z_BZ.view(-1, *self.image_shape))

    def sample(self, z_BZ: torch.Tensor, rng: Streams) -> torch.Tensor:
        """Images from x_T, by the sampler of the settings. rng: of DDPM's steps."""
        return self._sampler.sample(z_BZ.view(-1, *self.image_shape), rng)

    def variation(self, x_BCHW: torch.Tensor, time: int, rng: Streams) -> torch.Tensor:
        """See `Sampler.variation`."""
        return self._sampler.variation(x_BCHW, time, rng)
