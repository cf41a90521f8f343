"""SecMI (Duan et al. 2023, arXiv 2302.01316): the error of one deterministic step there and back, from the image on."""

from itertools import pairwise
from typing import Annotated, Any, Self

import torch
from annotated_types import Gt
from pydantic import model_validator

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Knowledge, Scores
from mia_core.attacks.denoising import Denoising, TimeConfig, at_part
from mia_core.diffusion import ddim_step
from mia_core.errors import Refused
from mia_core.settings import settings
from mia_core.streams import Streams


@ATTACKS.register
class SecMI(Denoising):
    """-‖x_t' - back(forth(x_t'))‖^2, x_t' the DDIM inversion of x, in steps of `interval`, up to t' = t - interval.

    Forth and back are the DDIM steps from t' to t and from t to t'. The authors' interval 10 and t = 100 of 1,000 make
    nine calls up to 90 and two more. It is SecMI's statistic; its trained variant, which fits a network to labelled
    queries and picks its best checkpoint on them, is left out.
    """

    name = "secmi"

    @settings
    class Config(TimeConfig):
        """time: t, a multiple of interval. interval: of the steps."""

        interval: Annotated[int, Gt(0)] = 10

        @model_validator(mode="after")
        def _whole_steps(self) -> Self:
            if self.time % self.interval or not self.time:
                raise Refused(f"time must be a multiple of interval {self.interval}, got {self.time}")
            return self

    config: Config

    def of_timesteps(self, timesteps: int) -> dict[str, Any]:
        """See `Attack`; a whole number of steps."""
        interval = max(1, at_part(self.config.interval, timesteps))
        steps = max(1, round(at_part(self.config.time, timesteps) / interval))
        return {"time": steps * interval, "interval": interval}

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """[1,Q]."""
        last = self.config.time - self.config.interval
        x_BCHW = queries
        for start, end in pairwise(range(0, last + 1, self.config.interval)):
            x_BCHW = self._step(view, x_BCHW, start, end)
        back = self._step(view, self._step(view, x_BCHW, last, self.config.time), self.config.time, last)
        return Scores(self.levels, -(x_BCHW - back).square().flatten(1).sum(1)[None])

    def _step(self, view: View, x_BCHW: torch.Tensor, start: int, end: int) -> torch.Tensor:
        noise = self.noise(view, x_BCHW, start)
        return ddim_step(x_BCHW, noise, view.alpha_bar[start], view.alpha_bar[end])
