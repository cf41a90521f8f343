"""Base class of adversarial targets: a generator, a discriminator, and the order in which their losses are used.

A target defines three kinds of losses, one value per row, as in its paper:

    real_losses(networks, x, ...)       for a real record x and whatever else `of_record` returns
    fake_losses(networks, x~)           for a record x~ of the fake side: generated, or from the contrast
    generator_losses(networks, G(z))    for a generated record; trains the generator

If the discriminator is trained alone, without generated records, `judging_losses` replaces `real_losses`.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import nn

from mia_core.step_draws import Draw, normal
from mia_core.targets.gradients import Losses, Networks, RecordLosses
from mia_core.targets.target import Batch, Learner, Target


class Adversarial(Target):
    """together: whether all networks are updated at once; otherwise the discriminator is updated before the generator.

    judges_alone: whether the discriminator can learn to separate two sets of records without a generator.
    """

    offers = frozenset({"samples", "latent", "generator", "discriminate"})
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
        """Losses of real records when the discriminator is trained alone."""
        return self.real_losses

    def images(self, networks: Networks, z_BZ: torch.Tensor) -> torch.Tensor:
        """G(z): images [B,C,H,W] for standard normal latents [B,Z]."""
        return networks["generator"](z_BZ)

    def discriminate(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """The white-box score [B], higher = more like the training records; a logit, so that it does not saturate."""
        return self.discriminator(x_BCHW).flatten()

    def hidden_blocks(self) -> list[nn.Sequential]:
        """Blocks of the discriminator after which a defense may add a layer; none by default."""
        return []

    def draws(self, records: int, fakes: int, contrast: int) -> dict[str, Draw]:
        """Latents of the generated records."""
        return {"latent": normal(fakes, self.latent_dimension)}

    def of_record(
        self, x_BCHW: torch.Tensor, side_NCHW: torch.Tensor, draws: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        """The inputs of `real_losses`, each [B,...]; the record is the first. side: the fake side of the step."""
        return (x_BCHW,)

    def generate(self, z_BZ: torch.Tensor) -> torch.Tensor:
        """G(z) [B,C,H,W], in [-1, 1]."""
        return self.images(dict(self.named_children()), z_BZ)

    def step(self, learner: Learner, batch: Batch) -> None:
        """Losses of real records, fake side and generator, the latter two on the same generated records."""
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
        """Names of the networks that learn in this step."""
        return self.networks if batch.generator_learns else ("discriminator",)

    def fakes(self, learner: Learner, batch: Batch) -> torch.Tensor:
        """The generated records [fakes,C,H,W] of a step, with a gradient graph if the generator learns in it."""
        z = batch.draws["latent"]
        assert z.shape[-2] == batch.fakes, "latents are of other records than are generated"
        if not batch.fakes:
            return z.new_empty(*z.shape[:-1], *self.image_shape)
        return learner.apply(self.images, z, graph=batch.generator_learns)


def fake_side(batch: Batch, *fakes_BCHW: torch.Tensor) -> torch.Tensor:
    """The records that the discriminator learns to call fake: generated ones, detached, then the contrast."""
    parts = [fake.detach() for fake in fakes_BCHW]
    return torch.cat(parts if batch.contrast is None else [*parts, batch.contrast], -4)


def chosen(side_NCHW: torch.Tensor, index_B: torch.Tensor) -> torch.Tensor:
    """Records [B,C,H,W] of the fake side by index; with several trainings, each from its fake side."""
    if index_B.ndim == 1:
        return side_NCHW[index_B]
    return torch.stack([side[index] for side, index in zip(side_NCHW, index_B, strict=True)])
