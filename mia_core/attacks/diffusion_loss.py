"""The denoising loss at one time (Matsumoto, Miura, Yanai 2023; Carlini et al. 2023, section 5.1)."""

from typing import Annotated

import torch
from annotated_types import Gt

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Knowledge, Scores
from mia_core.attacks.denoising import Denoising, TimeConfig
from mia_core.diffusion import noised
from mia_core.settings import settings
from mia_core.streams import Streams


@ATTACKS.register
class DiffusionLoss(Denoising):
    """Minus the mean over noises eps of ‖eps - eps_theta(x_t, t)‖^2 / pixels.

    t = 100 of 1,000 is that of Carlini et al. Deviation: the same noises for all queries, so that queries differ by
    themselves alone.
    """

    name = "diffusion_loss"

    @settings
    class Config(TimeConfig):
        """time: t. draws: noises that the loss is averaged over."""

        draws: Annotated[int, Gt(0)] = 10

    config: Config

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """[1,Q]."""
        time = self.config.time
        level = view.alpha_bar[time]
        total = torch.zeros(len(queries), device=queries.device)
        for draw in range(self.config.draws):
            eps = self.drawn(queries, rng, draw)
            total += (eps - self.noise(view, noised(queries, eps, level), time)).square().flatten(1).mean(1)
        return Scores(self.levels, -total[None] / self.config.draws)
