"""An attacker's own network: the settings that attacks with a surrogate share, and its training in nested levels."""

from dataclasses import field
from functools import cache
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Gt, MinLen
from pydantic import Strict, field_validator

from mia_core.attacks.attack import Attack
from mia_core.data.pool import to_uint8
from mia_core.defenses import Arm
from mia_core.errors import Refused
from mia_core.model_facts import ModelFacts
from mia_core.models import Snapshot
from mia_core.offers import reading
from mia_core.settings import Choice, settings
from mia_core.streams import Streams
from mia_core.targets import TARGETS, Target, shaped
from mia_core.training import Trainer, TrainingConfig
from mia_core.training_records import Contrast, Records


@settings
class SurrogateConfig:
    """surrogate: a target by name, with its settings; the attacker's own, whatever the target is.

    steps: nested levels of attack training. generated: samples to train on.
    """

    steps: Annotated[tuple[Annotated[int, Gt(0)], ...], MinLen(1), Strict(False)] = (500,)
    generated: Annotated[int, Gt(1)] = 2000
    surrogate: dict[str, Any] | str = field(default_factory=lambda: TARGETS.choose("dcgan").to_dict())
    batch_size: Annotated[int, Gt(1)] = 32
    learning_rate: Annotated[float, Gt(0)] = 2e-4

    @field_validator("steps")
    @classmethod
    def _ascending(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if list(steps) != sorted(set(steps)):
            raise Refused("levels must ascend")
        return steps

    @field_validator("surrogate")
    @classmethod
    def _known(cls, surrogate: dict[str, Any] | str) -> dict[str, Any]:
        with reading({}):  # a worker builds it again by its name
            choice = TARGETS.choose(surrogate, "surrogate")
        if "discriminate" not in choice.cls.offers:
            raise Refused(f"a surrogate needs a discriminator, and {choice.name} has none")
        return choice.to_dict()

    @property
    def variant(self) -> str:
        """`` for the default architecture, else `_<name>`."""
        name = TARGETS.choose(self.surrogate).name
        return "" if name == "dcgan" else f"_{name}"


class SurrogateAttack(Attack):
    """An attack that trains a surrogate on images of the model's shape."""

    nested: ClassVar = "steps"

    def unfit(self, model: ModelFacts) -> str | None:
        """Also where there is no such surrogate for images of this shape."""
        if reason := super().unfit(model):
            return reason
        channels, height, width = model.record_shape
        return _missing(TARGETS.choose(self.config.surrogate), (channels, height, width))


@cache
def _missing(surrogate: Choice[Target], image_shape: tuple[int, int, int]) -> str | None:
    """Why there is no such surrogate, or None; networks are built to know it, and each attack of each trial asks."""
    try:
        shaped(surrogate, image_shape)
    except Refused as error:
        return f"there is no such surrogate: {str(error).removeprefix('target: ')}"
    return None


def scores_by_level(
    config: SurrogateConfig,
    real: np.ndarray,
    contrast: torch.Tensor | None,
    contrast_share: float,
    queries: torch.Tensor,
    rng: Streams,
) -> torch.Tensor:
    """White-box scores [L,Q] of queries by a surrogate after each level of steps.

    real: uint8 [., C, H, W] in place of training records. contrast: float [., C, H, W], known records on the fake side
    of every step, `contrast_share` of it; 1 leaves no generated records and trains the discriminator alone.
    """
    surrogate = TARGETS.choose(config.surrogate).build(tuple(queries.shape[1:]))
    training = TrainingConfig(batch_size=config.batch_size, learning_rate=config.learning_rate)
    known = None if contrast is None else Contrast(to_uint8(contrast), contrast_share)
    records = Records(real, len(real), contrast=known)
    trainer = Trainer(surrogate, records, training, Arm(), rng, device=queries.device)
    values = []
    for level in config.steps:
        trainer.run_to(level)
        values.append(Snapshot(surrogate, rng).discriminate(queries))
    return torch.stack(values)


def with_share(images: np.ndarray, known: np.ndarray, share: float) -> np.ndarray:
    """`images`, then `known`: records of one of them are repeated so that `known` is a `share` of all, rounded."""
    wanted = round(len(images) * share / (1 - share))
    if wanted < len(known):
        images = _repeated(images, round(len(known) * (1 - share) / share))
    return np.concatenate([images, _repeated(known, max(wanted, len(known)))])


def _repeated(images: np.ndarray, count: int) -> np.ndarray:
    return images[np.arange(count) % len(images)]
