"""PIAN (Kong et al. 2024, arXiv 2305.18355): PIA with a first noise of the size that normal noise has."""

import math

import torch

from mia_core.attacks.attack import ATTACKS
from mia_core.attacks.pia import PIA
from mia_core.settings import settings


@ATTACKS.register
class PIAN(PIA):
    """PIA with e0 sqrt(2 / pi) / mean |e0| in place of e0; the second noise is left as it is.

    On smooth models its sign is known to flip: an AUC below 1/2 is no mistake of the study.
    """

    name = "pian"

    @settings
    class Config(PIA.Config):
        """time: t."""

    def normalized(self, noise_BCHW: torch.Tensor) -> torch.Tensor:
        """e0 with the mean absolute value of a standard normal."""
        return noise_BCHW * (math.sqrt(2 / math.pi) / noise_BCHW.abs().mean((1, 2, 3), keepdim=True))
