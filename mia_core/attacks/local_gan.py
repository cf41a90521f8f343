"""LOGAN's black-box attack without knowledge (section 4.3): a local GAN learns the target's samples, its
discriminator ranks the queries."""

from dataclasses import field
from typing import Annotated, Any

import torch
from annotated_types import Gt, MinLen
from pydantic import Strict, field_validator

from mia_core.access import Access, SamplesView, Snapshot
from mia_core.attacks.base import ATTACKS, Attack, Knowledge, Scores
from mia_core.defenses import Arm
from mia_core.settings import settings
from mia_core.streams import Streams
from mia_core.targets import TARGETS
from mia_core.training import Trainer, TrainingConfig


@ATTACKS.register
class LocalGAN(Attack):
    """The attacker's own architecture, trained on generated samples in place of real records."""

    name = "local_gan"
    access = Access.SAMPLES
    nested = "steps"

    @settings
    class Config:
        """steps: nested levels of attack training. generated: samples to train on. surrogate: a target by name."""

        steps: Annotated[tuple[Annotated[int, Gt(0)], ...], MinLen(1), Strict(False)] = (500,)
        generated: Annotated[int, Gt(1)] = 2000
        surrogate: dict[str, Any] = field(default_factory=lambda: TARGETS.choose("dcgan").to_dict())
        batch_size: Annotated[int, Gt(1)] = 32
        learning_rate: Annotated[float, Gt(0)] = 2e-4

        @field_validator("steps")
        @classmethod
        def _ascending(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
            if list(steps) != sorted(set(steps)):
                raise ValueError("levels must ascend")
            return steps

        @field_validator("surrogate")
        @classmethod
        def _known(cls, surrogate: dict[str, Any]) -> dict[str, Any]:
            return TARGETS.choose(surrogate, "surrogate").to_dict()

    config: Config

    @property
    def generated(self) -> int:
        """Samples drawn."""
        return self.config.generated

    def run(self, view: SamplesView, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """The local discriminator's logits after each level of steps."""
        config = self.config
        samples = ((view.samples(config.generated) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
        surrogate = TARGETS.choose(config.surrogate).build(tuple(queries.shape[1:]))
        training = TrainingConfig(batch_size=config.batch_size, learning_rate=config.learning_rate)
        trainer = Trainer(surrogate, samples, len(samples), training, Arm(), rng, noise=rng, device=queries.device)
        values = []
        for level in config.steps:
            trainer.run_to(level)
            values.append(Snapshot(surrogate, rng).discriminate(queries))
        return Scores(self.levels, torch.stack(values))
