"""What attacks on autoencoders share: draws of a record's posterior, and the likelihood of what is decoded from them.

Shapes: Q queries, B of them at once, N draws, Z latent dimension.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Gt

from mia_core.access import View
from mia_core.attacks.attack import Attack, Knowledge, Scores
from mia_core.model_facts import ModelFacts
from mia_core.settings import settings
from mia_core.streams import Streams

BATCH = 4096
"""Latents that are decoded at once."""


@dataclass(frozen=True)
class Posterior:
    """q(z | x) of some records: mean and log_variance [B,Z], and the standard normal noise [N,Z] of draws from each."""

    mean: torch.Tensor
    log_variance: torch.Tensor
    noise: torch.Tensor

    @property
    def draws(self) -> torch.Tensor:
        """[B,N,Z]."""
        return self.mean[:, None] + (self.log_variance[:, None] / 2).exp() * self.noise


class Autoencoding(Attack):
    """An attack that decodes draws of a record's posterior, made of the same normal numbers for all records."""

    uses = frozenset({"encode", "generator"})

    @settings
    class Config:
        """draws: of each record's posterior."""

        draws: Annotated[int, Gt(0)] = 100

    config: Any

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """[1,Q]."""
        return Scores(self.levels, self.scores(view, queries, rng)[None])

    @torch.no_grad()
    def scores(self, view: View, x_QCHW: torch.Tensor, rng: Streams) -> torch.Tensor:
        """`score` of all images [Q]; equal rng, equal normal numbers."""
        mean_QZ, log_variance_QZ = view.encode(x_QCHW)
        noise_NZ = torch.randn(self.config.draws, mean_QZ.shape[1], generator=rng.torch("posterior"))
        noise_NZ = noise_NZ.to(x_QCHW.device)
        rows = max(1, BATCH // len(noise_NZ))
        parts = zip(x_QCHW.split(rows), mean_QZ.split(rows), log_variance_QZ.split(rows), strict=True)
        return torch.cat([self.score(view, x, Posterior(mean, spread, noise_NZ)) for x, mean, spread in parts])

    def score(self, view: View, x_BCHW: torch.Tensor, posterior: Posterior) -> torch.Tensor:
        """[B], of records with these posteriors."""
        raise NotImplementedError

    @staticmethod
    def distances(view: View, x_BCHW: torch.Tensor, z_BNZ: torch.Tensor) -> torch.Tensor:
        """‖x - dec(z)‖^2, [B,N]."""
        decoded = view.generator(z_BNZ.flatten(0, 1)).unflatten(0, z_BNZ.shape[:2])
        return (decoded - x_BCHW[:, None]).square().flatten(2).sum(2)


class Likelihood(Autoencoding):
    """An attack that takes p(x | z) as normal about dec(z), with one variance for all pixels."""

    @settings
    class Config(Autoencoding.Config):
        """variance: of p(x | z), by pixel; None for that which the model was trained with."""

        variance: Annotated[float, Gt(0)] | None = None

    def unfit(self, model: ModelFacts) -> str | None:
        """Also for a model without a normal likelihood, where no variance is set."""
        if reason := super().unfit(model):
            return reason
        if model.deviation is None and self.config.variance is None:
            return f"{model.name} has no normal likelihood of pixels, whose variance could be taken; set `variance`"
        return None

    def variance(self, view: View) -> float:
        """As set, or the model's own."""
        if self.config.variance is not None:
            return float(self.config.variance)
        assert view.deviation is not None
        return view.deviation**2
