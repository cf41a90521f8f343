"""How near a generator comes to a query: the loss and the starts that both latent searches of GAN-Leaks share.

Chen, Yu, Zhang, Fritz 2020, section 4.3: L(z) = MSE(x, G(z)) + .2 LPIPS + .001 (‖z‖^2 - Z)^2.

Shapes: Q queries, S starts, Z latent dimension.
"""

from collections.abc import Callable, Iterator
from typing import Annotated

import torch
from annotated_types import Ge, Gt

from mia_core.access import View
from mia_core.attacks.attack import Attack, Knowledge, SampleLevels, Scores
from mia_core.settings import settings
from mia_core.spaces import Pixels
from mia_core.streams import Streams

BATCH = 512
"""Images that are generated at once."""

Generate = Callable[[torch.Tensor], torch.Tensor]


@settings
class ReconstructionConfig:
    """generated: samples among which a search's starts are found. starts: of each query, its nearest samples' latents.

    steps: of a search. perceptual: weight of the mean squared difference in the extractor's features; 0 leaves it out,
    and then no extractor is needed. norm: weight of (‖z‖^2 - Z)^2; 0 leaves it out.
    """

    generated: SampleLevels = 2000
    starts: Annotated[int, Gt(0)] = 3
    steps: Annotated[int, Gt(0)] = 100
    perceptual: Annotated[float, Ge(0)] = 0.2
    norm: Annotated[float, Ge(0)] = 0.001


class Loss:
    """L(z) of queries [Q,C,H,W], by the images that a generator makes of latents."""

    def __init__(self, config: ReconstructionConfig, queries: torch.Tensor, knowledge: Knowledge) -> None:
        self.config = config
        self.queries = queries
        self.extractor = knowledge.extractor if config.perceptual else None
        with torch.no_grad():
            self.features = self.extractor(queries) if self.extractor else None

    def __call__(self, generate: Generate, z_QSZ: torch.Tensor) -> torch.Tensor:
        """[Q,S]."""
        images = generate(z_QSZ.flatten(0, 1))
        loss = (images.unflatten(0, z_QSZ.shape[:2]) - self.queries[:, None]).square().flatten(2).mean(2)
        if self.extractor is not None and self.features is not None:
            features = self.extractor(images).unflatten(0, z_QSZ.shape[:2])
            loss = loss + self.config.perceptual * (features - self.features[:, None]).square().flatten(2).mean(2)
        if self.config.norm:
            loss = loss + self.config.norm * (z_QSZ.square().sum(2) - z_QSZ.shape[2]).square()
        return loss


class Reconstruction(Attack):
    """Minus the least loss that a search over latents finds, from the nearest samples' latents on."""

    nested = "generated"
    config: ReconstructionConfig

    @property
    def needs(self) -> frozenset[str]:
        """The extractor, where it has a weight."""
        return frozenset({"extractor"} if self.config.perceptual else ())

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """-min_z L(z), over all starts and steps, the starts themselves included."""
        search = self.shared.search(Pixels(), queries, view.samples(self.generated))
        latents = view.latents(self.generated)
        values, spent = [], []
        for level in self.numbers:
            before = self.meter.spent
            near_QS = search.nearest([level], min(self.config.starts, level))[1][0]
            parts = [
                self.least(view, Loss(self.config, queries[rows], knowledge), latents[near_QS[rows]], rng)
                for rows in _batches(len(queries), max(1, BATCH // near_QS.shape[1]))
            ]
            values.append(-torch.cat(parts))
            spent.append(self.meter.spent - before)
        return Scores(self.levels, torch.stack(values), tuple(spent))

    def least(self, view: View, loss: Loss, starts_QSZ: torch.Tensor, rng: Streams) -> torch.Tensor:
        """The least loss [Q] of searches from these latents."""
        raise NotImplementedError


def _batches(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))
