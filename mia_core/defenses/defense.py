"""What a defense may do: change the target's networks before training, or how real records reach a gradient."""

from abc import ABC
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import nn

from mia_core.settings import Registry
from mia_core.step_draws import STEP, Draws, Shape
from mia_core.streams import Streams
from mia_core.targets import Target


class Defense(ABC):
    """A defense with its settings; subclasses have `name`, a settings class `Config` and `strength`.

    strength: the setting by which users order this defense from weak to strong (units differ between defenses); None
    for one that is on or off. version: of what it does; a change that alters trained targets raises it.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    strength: ClassVar[str | None]

    def __init__(self, config: Any) -> None:
        self.config = config

    @classmethod
    def shown(cls, config: Any) -> tuple[str, float] | None:
        """Word and value of the setting that `strength` names; None without one."""
        return None if cls.strength is None else (cls.strength, float(getattr(config, cls.strength)))

    @property
    def weight(self) -> float:
        """What real records' gradients count times; 1 unless that is what the defense changes."""
        return 1.0

    @property
    def control(self) -> bool:
        """Whether this takes a defense apart to see what does it, and is none that anybody would use."""
        return False

    def refusal(self, target: Target) -> str | None:
        """Why this defense does not fit a target, or None."""
        return None

    def modify(self, target: Target) -> None:
        """Change the target's networks in place, without drawing random numbers."""
        return


def needs_discriminator(defense: str, target: Target) -> str | None:
    """The refusal of a defense that changes the discriminator, by a target without one."""
    return None if "discriminate" in target.offers else f"{defense} needs a discriminator, and {target.name} has none"


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
        """Forget where numbers came from: that may name a private training's key, and targets are saved and sent."""
        self.draws = Draws(Streams(), block=STEP)

    def begin(self, draws: Draws, step: int) -> None:
        """Take the numbers of a step. draws: of single steps."""
        self.draws, self.step, self.passes = draws, step, 0

    def drawn(self, draw: Callable[[str, int, Shape], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """Numbers like x for the next pass of this step, in channels-last order in memory. draw: one of `draws`."""
        self.passes += 1
        purpose = f"{type(self).__name__.lower()}_layer {self.index} pass {self.passes}"
        if x.ndim < 3:
            return draw(purpose, self.step, x.shape)
        return draw(purpose, self.step, x.movedim(1, -1).shape).movedim(-1, 1)


DEFENSES: Registry[Defense] = Registry("defense")
