"""What adversarial targets share: a generator, a discriminator that judges its images, and the order of their losses.

A target has three kinds of losses, one term a row, and says with them what its paper says:

    real_losses(networks, x, ...)       of a real record x, and what else `of_record` gives
    fake_losses(networks, x~)           of a record x~ of the fake side: a generated one, or one of the contrast
    generator_losses(networks, G(z))    of a generated record, for the generator

Where the discriminator is trained alone, without generated records, `judging_losses` stand for `real_losses`.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import nn

from mia_core.step_draws import Draw, normal
from mia_core.targets.gradients import Losses, Networks, RecordLosses
from mia_core.targets.target import Batch, Learner, Target


class Adversarial(Target):
    """together: whether all networks learn from each other as they were before the step; else the discriminator first.

    judges_alone: whether the discriminator can learn to tell two sets of records apart without a generator beside it.
    """

    offers: ClassVar[frozenset[str]] = frozenset({"samples", "latent", "generator", "discriminate"})
    networks: ClassVar[tuple[str, ...]] = ("discriminator", "generator")
    private: ClassVar[tuple[str, ...]] = ("discriminator",)
    together: ClassVar[bool] = False
    judges_alone: ClassVar[bool] = True

    generator: nn.Module
    discriminator: nn.Module

    real_losses: RecordLosses
    fake_losses: Losses
    generator_losses: Losses

    @property
    def judging_losses(self) -> RecordLosses:
        """Of real records where the discriminator is trained alone."""
        return self.real_losses

    @abstractmethod
    def images(self, networks: Networks, z_BZ: torch.Tensor) -> torch.Tensor:
        """G(z): images [B,C,H,W] for standard normal latents [B,Z]."""

    @abstractmethod
    def discriminate(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """The white-box score [B], higher = more like the training records; logits, so that it never saturates."""

    def hidden_blocks(self) -> list[nn.Sequential]:
        """The discriminator's, where a defense may append a layer; none unless a target says which."""
        return []

    def draws(self, records: int, fakes: int, contrast: int) -> dict[str, Draw]:
        """Latents of the generated records."""
        return {"latent": normal(fakes, self.latent_dimension)}

    def of_record(
        self, x_BCHW: torch.Tensor, side_NCHW: torch.Tensor, draws: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        """What a real record's term needs, each [B,...]: the record itself, first. side: the step's fake side."""
        return (x_BCHW,)

    def generate(self, z_BZ: torch.Tensor) -> torch.Tensor:
        """G(z) [B,C,H,W], in [-1, 1]."""
        return self.images(dict(self.named_children()), z_BZ)

    def step(self, learner: Learner, batch: Batch) -> None:
        """Real records, fake side, generator; on the same generated records."""
        learning = self.learning(batch)
        fake = self.fakes(learner, batch)
        side = fake_side(batch, fake)
        losses = self.real_losses if batch.fakes else self.judging_losses
        learner.learn_from_records(losses, *self.of_record(batch.real, side, batch.draws), only=learning)
        learner.learn_from(self.fake_losses, side)
        if not self.together:
            learner.update("discriminator")
        if batch.generator_learns:
            learner.learn_from(self.generator_losses, fake)
        learner.update(*(name for name in learning if self.together or name != "discriminator"))

    def learning(self, batch: Batch) -> tuple[str, ...]:
        """Networks that learn in a step."""
        return self.networks if batch.generator_learns else ("discriminator",)

    def fakes(self, learner: Learner, batch: Batch) -> torch.Tensor:
        """The generated records [fakes,C,H,W] of a step, with a graph when the generator learns in it."""
        z = batch.draws["latent"]
        assert z.shape[-2] == batch.fakes, "latents are of other records than are generated"
        if not batch.fakes:
            return z.new_empty(*z.shape[:-1], *self.image_shape)
        return learner.apply(self.images, z, graph=batch.generator_learns)


def fake_side(batch: Batch, *fakes_BCHW: torch.Tensor) -> torch.Tensor:
    """Generated records, without their graph, and the contrast: what the discriminator learns to call fake."""
    parts = [fake.detach() for fake in fakes_BCHW]
    return torch.cat(parts if batch.contrast is None else [*parts, batch.contrast], -4)


def chosen(side_NCHW: torch.Tensor, index_B: torch.Tensor) -> torch.Tensor:
    """Records [B,C,H,W] of a side by their places; of each training its own where there are several."""
    if index_B.ndim == 1:
        return side_NCHW[index_B]
    return torch.stack([side[index] for side, index in zip(side_NCHW, index_B, strict=True)])
