"""What a defense may do to a training: one hook for each part of it, and none of them has to be used."""

from abc import ABC
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn

from mia_core.batches import Batches
from mia_core.persons import Persons
from mia_core.secret_draws import SecretDraws
from mia_core.settings import Registry
from mia_core.step_draws import STEP, Draw, Draws
from mia_core.streams import Streams
from mia_core.targets import Adversarial, RecordGradients, RecordLosses, Target


@dataclass(frozen=True)
class TrainingFacts:
    """What hooks know of a training.

    records: how many there are. train_size: their nominal number n. batch_size: B. streams: of its seed. secret: draws
    that nobody can draw again. horizon: steps that are trained at most, if there is a limit. persons: whose the records
    are, if that is known.
    """

    records: int
    train_size: int
    batch_size: int
    streams: Streams
    secret: SecretDraws
    horizon: int | None = None
    persons: Persons | None = None


class Defense(ABC):
    """A defense with its settings; subclasses have `name`, a settings class `Config` and `strength`.

    strength: the setting by which users order this defense from weak to strong (units differ between defenses); None
    for one that is on or off. version: of what it does; a change that alters trained targets raises it.

    Hooks, in the order in which a training meets them: `modify` (networks), `parts` (of the records), `batches`,
    `inputs`, `losses`, `gradients`, `weights`.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    strength: ClassVar[str | None]

    def __init__(self, config: Any) -> None:
        self.config = config

    # In words

    @classmethod
    def shown(cls, config: Any) -> tuple[str, float] | None:
        """Word and value of the setting that `strength` names; None without one."""
        return None if cls.strength is None else (cls.strength, float(getattr(config, cls.strength)))

    @classmethod
    def qualifier(cls, config: Any) -> str:
        """What a label says besides, e.g. `unit=person`."""
        return ""

    @property
    def control(self) -> bool:
        """Whether this takes a defense apart to see what does it, and is none that anybody would use."""
        return False

    # Refusals, before anything runs

    def refusal(self, target: Target) -> str | None:
        """Why this defense does not fit a target, or None."""
        return None

    def conflict(self, others: Sequence["Defense"]) -> str | None:
        """Why it does not go with other defenses, or None."""
        return None

    # Hooks

    def modify(self, target: Target) -> None:
        """Change the target's networks in place, without drawing random numbers."""
        return

    def parts(self, images: np.ndarray, streams: Streams) -> np.ndarray | None:
        """int64: which of the training records uint8 [n,C,H,W] are trained on; None for all."""
        return None

    def batches(self, facts: TrainingFacts) -> Batches | None:
        """How a step's records are chosen, or None for shuffled orders."""
        return None

    def inputs(self, x_BCHW: torch.Tensor, draw: Callable[[str, Draw], torch.Tensor]) -> torch.Tensor:
        """What a step sees of its real records, each row a function of its record; `draw(purpose, draw)` has numbers.

        Purposes are of this defense alone: begin them with its name.
        """
        return x_BCHW

    def losses(self, losses: RecordLosses) -> RecordLosses:
        """What networks lose on real records."""
        return losses

    def gradients(self, rule: RecordGradients, facts: TrainingFacts) -> RecordGradients:
        """How real records reach a gradient."""
        return rule

    def weights(self, target: Target) -> None:
        """Change the weights in place after a step."""
        return


def needs_discriminator(defense: str, target: Target) -> str | None:
    """The refusal of a defense that changes the discriminator, by a target without one."""
    return None if "discriminate" in target.offers else f"{defense} needs a discriminator, and {target.name} has none"


def hidden_blocks(target: Target) -> list[nn.Sequential]:
    """The hidden blocks of a target's discriminator; an assertion where there is none."""
    assert isinstance(target, Adversarial), needs_discriminator("this", target)
    return target.hidden_blocks()


class RandomLayer(nn.Module):
    """A layer that has random numbers in training mode; `index` tells layers of a kind apart.

    A step gives them to it: each of the step's passes (of real records, of generated ones, of the generator's loss) has
    numbers of its own, which follow from layer, step, pass and shape, and are the same on any device.
    """

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index
        self.end()
        self.step = self.passes = 0

    def end(self) -> None:
        """Forget numbers, and where they came from: that may name a private training's key, and targets are sent."""
        self.draws = Draws(Streams(), block=STEP)
        self._asked: dict[int, Draw] = {}
        self._asked_before: dict[int, Draw] = {}
        self._ready: dict[int, tuple[Draw, torch.Tensor]] = {}

    def begin(self, draws: Draws, step: int) -> None:
        """Take the numbers of a step. draws: of single steps.

        What the two steps before asked for alike is drawn now, so that the step itself draws nothing.
        """
        self.draws, self.step, self.passes = draws, step, 0
        expected = {number: draw for number, draw in self._asked.items() if self._asked_before.get(number) == draw}
        self._asked_before, self._asked = self._asked, {}
        self._ready = {number: (draw, self._numbers(number, draw)) for number, draw in expected.items()}

    def drawn(self, law: Literal["normal", "uniform"], x: torch.Tensor) -> torch.Tensor:
        """Numbers like x for the next pass of this step, in channels-last order in memory."""
        self.passes += 1
        draw = Draw(law, tuple(x.shape if x.ndim < 3 else x.movedim(1, -1).shape))
        self._asked[self.passes] = draw
        expected, numbers = self._ready.get(self.passes, (None, None))
        if numbers is None or expected != draw:
            numbers = self._numbers(self.passes, draw)
        return numbers if x.ndim < 3 else numbers.movedim(-1, 1)

    def _numbers(self, number: int, draw: Draw) -> torch.Tensor:
        return self.draws(f"{type(self).__name__.lower()}_layer {self.index} pass {number}", self.step, draw)


DEFENSES: Registry[Defense] = Registry("defense")
