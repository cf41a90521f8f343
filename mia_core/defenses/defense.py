"""What a defense may do: change the target's networks before training, or how real records reach a gradient."""

from abc import ABC
from typing import Any, ClassVar

import torch
from torch import nn

from mia_core.settings import Registry
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

    def refusal(self, target: Target) -> str | None:
        """Why this defense does not fit a target, or None."""
        return None

    def modify(self, target: Target) -> None:
        """Change the target's networks in place, without drawing random numbers."""
        return


def needs_discriminator(defense: str, target: Target) -> str | None:
    """The refusal of a defense that changes the discriminator, by a target without one."""
    return None if "discriminator" in target.offers else f"{defense} needs a discriminator, and {target.name} has none"


class RandomLayer(nn.Module):
    """A layer that draws noise in training mode, from the stream of its step only; `index` tells layers apart."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index
        self.random = torch.Generator()

    def reseed(self, streams: Streams, step: int, device: torch.device) -> None:
        """Point to the stream of a step."""
        self.random = streams.torch(f"{type(self).__name__.lower()}_layer", self.index, step, device=device)


DEFENSES: Registry[Defense] = Registry("defense")
