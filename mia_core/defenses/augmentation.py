"""Augmentation of the training records: each is mirrored or shifted at random in every step that sees it.

It gives no guarantee; a record is then seen less often as it is, so models overfit it less.
"""

from collections.abc import Callable
from typing import Annotated, Self

import torch
from annotated_types import Ge
from pydantic import model_validator
from torch.nn import functional as F

from mia_core.defenses.defense import DEFENSES, Defense
from mia_core.errors import Refused
from mia_core.settings import settings
from mia_core.step_draws import Draw, index, uniform
from mia_core.targets import Target


@DEFENSES.register
class Augmentation(Defense):
    """Mirror images and shifts; no privacy guarantee."""

    name = "augmentation"
    strength = None

    @settings
    class Config:
        """flip: mirror a record, left to right, with probability 1/2. crop: shift it by up to so many pixels in each
        direction, filled up by the pixels at its edge.
        """

        flip: bool = True
        crop: Annotated[int, Ge(0)] = 0

        @model_validator(mode="after")
        def _any(self) -> Self:
            if not self.flip and not self.crop:
                raise Refused("changes nothing; set flip, or a crop above 0")
            return self

    config: Config

    def refusal(self, target: Target) -> str | None:
        """Refuses shifts by a whole image or more."""
        size = min(target.image_shape[1:])
        if self.config.crop >= size:
            return f"augmentation.crop {self.config.crop} must be below the {size} pixels of an image"
        return None

    def inputs(self, x_BCHW: torch.Tensor, draw: Callable[[str, Draw], torch.Tensor]) -> torch.Tensor:
        """Each record mirrored and shifted by its own numbers."""
        if self.config.flip:
            mirrored_B = draw("augmentation flip", uniform(len(x_BCHW))) < 0.5
            x_BCHW = torch.where(mirrored_B[:, None, None, None], x_BCHW.flip(3), x_BCHW)
        if self.config.crop:
            shift_B2 = draw("augmentation crop", index(len(x_BCHW), 2, below=2 * self.config.crop + 1))
            x_BCHW = shifted(x_BCHW, shift_B2, self.config.crop)
        return x_BCHW.contiguous(memory_format=torch.channels_last)


def shifted(x_BCHW: torch.Tensor, shift_B2: torch.Tensor, most: int) -> torch.Tensor:
    """The parts of images, extended by `most` pixels on each side, that begin at `shift`: down, right."""
    _, _, height, width = x_BCHW.shape
    wide = F.pad(x_BCHW, (most, most, most, most), mode="replicate")
    down = shift_B2[:, 0, None] + torch.arange(height, device=x_BCHW.device)
    right = shift_B2[:, 1, None] + torch.arange(width, device=x_BCHW.device)
    record = torch.arange(len(x_BCHW), device=x_BCHW.device)[:, None, None]
    return wide[record, :, down[:, :, None], right[:, None, :]].permute(0, 3, 1, 2)
