"""PFAMI (Fu et al. 2023, arXiv 2308.12143): how much the loss grows from a record to its neighbors."""

from typing import Annotated, Any

import torch
from annotated_types import Gt, Lt, MinLen
from pydantic import Strict
from torch.nn.functional import interpolate

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Knowledge, Scores
from mia_core.attacks.denoising import Denoising, Time, at_part
from mia_core.diffusion import noised
from mia_core.settings import settings
from mia_core.streams import Streams

Crops = Annotated[tuple[Annotated[float, Gt(0), Lt(1)], ...], MinLen(1), Strict(False)]
CROPS = 0.95, 0.825, 0.7


@ATTACKS.register
class PFAMI(Denoising):
    """Mean over times t and neighbors x' of (loss(x', t) - loss(x, t)) / loss(x, t), the noise held fixed.

    A neighbor is the middle of x, as much of its sides as `crops` says, enlarged to the whole. The authors make ten
    from .95 to .7 at t = 0, 50, .., 450 of 1,000, and take the sixth alone. Deviations: three of that range, averaged;
    the same noise for all queries too. On VAEs it is `pfami_vae`.
    """

    name = "pfami"

    @settings
    class Config:
        """times: of the losses. crops: parts of an image's sides that neighbors keep."""

        times: Annotated[tuple[Time, ...], MinLen(1), Strict(False)] = tuple(range(0, 500, 50))
        crops: Crops = CROPS

    config: Config

    @property
    def times(self) -> tuple[int, ...]:
        """The setting `times`."""
        return self.config.times

    def of_timesteps(self, timesteps: int) -> dict[str, Any]:
        """See `Attack`."""
        return {"times": [at_part(time, timesteps) for time in self.times]}

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """[1,Q]."""
        neighbors = [cropped(queries, part) for part in self.config.crops]
        total = torch.zeros(len(queries), device=queries.device)
        for draw, time in enumerate(self.config.times):
            eps = self.drawn(queries, rng, draw)
            own = self._loss(view, queries, eps, time)
            for neighbor in neighbors:
                total += (self._loss(view, neighbor, eps, time) - own) / own
        return Scores(self.levels, total[None] / (len(self.config.times) * len(neighbors)))

    def _loss(self, view: View, x_BCHW: torch.Tensor, eps: torch.Tensor, time: int) -> torch.Tensor:
        noise = self.noise(view, noised(x_BCHW, eps, view.alpha_bar[time]), time)
        return (eps - noise).square().flatten(1).mean(1)


def cropped(x_BCHW: torch.Tensor, part: float) -> torch.Tensor:
    """The middle of each image, `part` of its sides and a pixel less at least, enlarged to the whole bilinearly."""
    height, width = x_BCHW.shape[2:]
    kept = [min(side - 1, max(1, round(side * part))) for side in (height, width)]
    top, left = (height - kept[0]) // 2, (width - kept[1]) // 2
    middle = x_BCHW[:, :, top : top + kept[0], left : left + kept[1]]
    return interpolate(middle, (height, width), mode="bilinear", align_corners=False)
