"""The random numbers of training steps, drawn for many steps at once: every one is an argument of its step.

They are drawn on the CPU and moved, so that a training has the same ones on any device; and in blocks of steps, so that
many steps can be given theirs at once. What a step gets follows from its number alone, wherever a training resumes.
Layers that draw as many numbers as a network has activations get theirs step by step: 64 steps of these would take
gigabytes (6 for DCGAN of width 64 on 64 pixels in batches of 64), and a Poisson sample has another size in every step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from mia_core.streams import Streams

BLOCK = 64
"""Steps whose numbers are drawn together; another length changes every draw, and so the training loop's version."""
STEP = 1
"""The block of draws that are as large as activations."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Draw:
    """A random tensor that a step needs.

    law: standard normal, uniform in [0, 1), or int64 uniform from 0 to `below` - 1, with replacement.
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
    """int64 below a number, with replacement."""
    return Draw("index", shape, below)


class Draws:
    """A trainer's numbers by purpose and step; `streams` names them.

    block: steps that are drawn together. Of more than one, a block of each purpose is kept.
    """

    def __init__(self, streams: Streams, device: torch.device | str = "cpu", block: int = BLOCK) -> None:
        self.streams = streams
        self.device = device
        self.block = block
        self._blocks: dict[str, tuple[tuple[int | str, ...], torch.Tensor]] = {}

    def __call__(self, purpose: str, step: int, draw: Draw) -> torch.Tensor:
        """The numbers of a purpose in a step."""
        # Law and shape are in the stream's name: steps of other shapes must not share some of a block's numbers.
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
