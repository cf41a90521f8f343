"""PIA (Kong et al. 2024, arXiv 2305.18355): whether the model finds the noise again that it finds in the image."""

import torch

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Knowledge, Scores
from mia_core.attacks.denoising import Denoising, Time, TimeConfig, power_sum
from mia_core.diffusion import noised
from mia_core.settings import settings
from mia_core.streams import Streams


@ATTACKS.register
class PIA(Denoising):
    """-‖e0 - eps_theta(sqrt(abar_t) x + sqrt(1 - abar_t) e0, t)‖_4^4, e0 = eps_theta(x, 0): two calls.

    t = 200 of 1,000 as in the paper's experiments, where it was chosen on the judged records.
    """

    name = "pia"

    @settings
    class Config(TimeConfig):
        """time: t."""

        time: Time = 200

    config: Config

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """[1,Q]."""
        time = self.config.time
        level = view.alpha_bar[time]
        first = self.normalized(self.noise(view, queries, 0))
        second = self.noise(view, noised(queries, first, level), time)
        return Scores(self.levels, -power_sum(first - second)[None])

    def normalized(self, noise_BCHW: torch.Tensor) -> torch.Tensor:
        """e0 as it is."""
        return noise_BCHW
