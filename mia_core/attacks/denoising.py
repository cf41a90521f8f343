"""What attacks on a diffusion model's denoiser share: their settings, and the call of the denoiser at one time.

Shapes: B images, T timesteps. Times are indices t = 0 .. T-1, as in `mia_core.diffusion`.
"""

from typing import Annotated, Any

import torch
from annotated_types import Ge

from mia_core.access import View
from mia_core.attacks.attack import Attack
from mia_core.settings import settings
from mia_core.streams import Streams

Time = Annotated[int, Ge(0)]
AUTHORS_TIMESTEPS = 1000
"""T of the models that the attacks' default times are of."""
NORM = 4
"""The power of distances between noises, of PIA and of SimA, as in the papers' experiments on images."""


class Denoising(Attack):
    """An attack that asks the denoiser. Its times are settings: declared, or chosen by `best_on_shadows`."""

    uses = frozenset({"denoise"})
    config: Any

    @property
    def times(self) -> tuple[int, ...]:
        """The setting `time`."""
        return (self.config.time,)

    def of_timesteps(self, timesteps: int) -> dict[str, Any]:
        """See `Attack`."""
        return {"time": at_part(self.config.time, timesteps)}

    @staticmethod
    def noise(view: View, x_BCHW: torch.Tensor, time: int) -> torch.Tensor:
        """The noise that the model finds in images at a time."""
        return view.denoise(x_BCHW, torch.full((len(x_BCHW),), time, device=x_BCHW.device))

    @staticmethod
    def drawn(like_BCHW: torch.Tensor, rng: Streams, draw: int) -> torch.Tensor:
        """Normal noise [1,C,H,W], the same for all images."""
        noise = torch.randn(1, *like_BCHW.shape[1:], generator=rng.torch("noise", draw))
        return noise.to(like_BCHW.device)


def at_part(time: int, timesteps: int) -> int:
    """The time that is the same part of `timesteps` as `time` is of 1,000; below `timesteps`, as all times are."""
    return min(round(time * timesteps / AUTHORS_TIMESTEPS), timesteps - 1)


@settings
class TimeConfig:
    """time: index t of the one timestep that the attack looks at."""

    time: Time = 100


def power_sum(x_BCHW: torch.Tensor) -> torch.Tensor:
    """‖x‖_4^4 of each image, [B]."""
    return x_BCHW.flatten(1).abs().pow(NORM).sum(1)
