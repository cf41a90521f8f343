"""The random numbers of training steps, which each step receives as arguments, drawn for many steps at once.

They are drawn on the CPU and moved, so that a training has the same numbers on any device, and in blocks of steps, so
that many steps can receive theirs at once. The numbers of a step depend on its number only, wherever training resumes.
Layers that draw one number per activation draw step by step: a block of 64 steps would take gigabytes (6 for a DCGAN of
width 64 on 64 x 64 pixels in batches of 64), and Poisson samples have a different size in each step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from mia_core.streams import Streams

BLOCK = 64
"""Steps whose numbers are drawn together. Another value changes every draw, and so the training loop's version."""
STEP = 1
"""The block length for draws that are as large as activations."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Draw:
    """A random tensor that a step needs.

    law: standard normal, uniform in [0, 1), or int64 uniform on 0 ... `below` - 1, with replacement.
    """

    law: Literal["normal", "uniform", "index"]
    shape: Shape
    below: int = 0


def normal(*shape: int) -> Draw:
    """Standard normal numbers."""
    return Draw("normal", shape)


def uniform(*shape: int) -> Draw:
    """Numbers uniform in [0, 1)."""
    return Draw("uniform", shape)


def index(*shape: int, below: int) -> Draw:
    """int64 uniform on 0 ... `below` - 1, with replacement."""
    return Draw("index", shape, below)


class Draws:
    """A trainer's random numbers by purpose and step; `streams` is their source.

    block: steps that are drawn together. If more than one, the current block of each purpose is kept.
    """

    def __init__(self, streams: Streams, device: torch.device | str = "cpu", block: int = BLOCK) -> None:
        self.streams = streams
        self.device = device
        self.block = block
        self._blocks: dict[str, tuple[tuple[int | str, ...], torch.Tensor]] = {}

    def __call__(self, purpose: str, step: int, draw: Draw) -> torch.Tensor:
        """The numbers of a purpose in a step, in the shape of `draw`."""
        # The stream's name includes law and shape: steps of different shapes must not share numbers of one block.
        number, position = divmod(step, self.block)
        law = f"below {draw.below}" if draw.law == "index" else draw.law
        name: tuple[int | str, ...] = (law, number, *draw.shape)
        if self.block == STEP:
            return _drawn(draw, draw.shape, self.streams.torch(purpose, *name)).to(self.device)
        if purpose not in self._blocks or self._blocks[purpose][0] != name:
            block = _drawn(draw, (self.block, *draw.shape), self.streams.torch(purpose, *name))
            self._blocks[purpose] = name, block.to(self.device)
        return self._blocks[purpose][1][position]


def _drawn(draw: Draw, shape: Shape, generator: torch.Generator) -> torch.Tensor:
    if draw.law == "index":
        return torch.randint(draw.below, shape, generator=generator)
    law: Callable[..., torch.Tensor] = torch.randn if draw.law == "normal" else torch.rand
    return law(*shape, generator=generator)
