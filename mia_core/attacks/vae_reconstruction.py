"""The reconstruction attack on VAEs (Hilprecht, Haerterich, Bernau 2019, section 4.2)."""

from typing import Annotated

import torch
from annotated_types import Gt

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Attack, Knowledge, Scores
from mia_core.settings import settings
from mia_core.streams import Streams

BATCH = 4096
"""Latents that are decoded at once."""


class Autoencoding(Attack):
    """An attack that decodes draws of a record's posterior, made of the same normal numbers for all records."""

    uses = frozenset({"encode", "generator"})

    @settings
    class Config:
        """draws: of each record's posterior."""

        draws: Annotated[int, Gt(0)] = 100

    config: Config

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """[1,Q]."""
        with torch.no_grad():
            mean_QZ, log_variance_QZ = view.encode(queries)
            noise_NZ = torch.randn(self.config.draws, mean_QZ.shape[1], generator=rng.torch("posterior"))
            noise_NZ = noise_NZ.to(queries.device)
            rows = max(1, BATCH // len(noise_NZ))
            parts = zip(queries.split(rows), mean_QZ.split(rows), log_variance_QZ.split(rows), strict=True)
            values = []
            for x, mean, log_variance in parts:
                z_BNZ = mean[:, None] + (log_variance[:, None] / 2).exp() * noise_NZ
                values.append(self.score(view, x, z_BNZ, log_variance, noise_NZ))
        return Scores(self.levels, torch.cat(values)[None])

    def score(
        self,
        view: View,
        x_BCHW: torch.Tensor,
        z_BNZ: torch.Tensor,
        log_variance_BZ: torch.Tensor,
        noise_NZ: torch.Tensor,
    ) -> torch.Tensor:
        """[B], by draws z of the records' posteriors, made of standard normal noise."""
        raise NotImplementedError

    @staticmethod
    def distances(view: View, x_BCHW: torch.Tensor, z_BNZ: torch.Tensor) -> torch.Tensor:
        """‖x - dec(z)‖^2, [B,N]."""
        decoded = view.generator(z_BNZ.flatten(0, 1)).unflatten(0, z_BNZ.shape[:2])
        return (decoded - x_BCHW[:, None]).square().flatten(2).sum(2)


@ATTACKS.register
class VaeReconstruction(Autoencoding):
    """-(1/N) sum over draws z of q(z | x) of ‖x - dec(z)‖."""

    name = "vae_reconstruction"

    @settings
    class Config(Autoencoding.Config):
        """draws: N."""

    def score(
        self,
        view: View,
        x_BCHW: torch.Tensor,
        z_BNZ: torch.Tensor,
        log_variance_BZ: torch.Tensor,
        noise_NZ: torch.Tensor,
    ) -> torch.Tensor:
        """See the class."""
        return -self.distances(view, x_BCHW, z_BNZ).sqrt().mean(1)
