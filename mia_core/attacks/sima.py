"""SimA (Rao, Qu, Moyer 2025, 'Score-based Membership Inference on Diffusion Models'): the size of the score at x."""

import torch

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Knowledge, Scores
from mia_core.attacks.denoising import Denoising, TimeConfig, power_sum
from mia_core.settings import settings
from mia_core.streams import Streams


@ATTACKS.register
class SimA(Denoising):
    """-‖eps_theta(x, t)‖_4^4: one call, x neither noised nor scaled.

    The authors look at t = 0 .. 200 of 1,000 and report the best on the judged records; here t is declared.
    """

    name = "sima"

    @settings
    class Config(TimeConfig):
        """time: t."""

    config: Config

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """[1,Q]."""
        return Scores(self.levels, -power_sum(self.noise(view, queries, self.config.time))[None])
