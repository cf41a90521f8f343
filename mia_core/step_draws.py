"""The random numbers of training steps, drawn for many steps at once: every one is an argument of its step.

They are drawn on the CPU and moved, so that a training has the same ones on any device; and in blocks of steps, so that
many steps can be given theirs at once. What a step gets follows from its number alone, wherever a training resumes.
Layers that draw as many numbers as a network has activations get theirs step by step: 64 steps of these would take
gigabytes (6 for DCGAN of width 64 on 64 pixels in batches of 64), and a Poisson sample has another size in every step.
"""

from collections.abc import Callable

import torch

from mia_core.streams import Streams

BLOCK = 64
"""Steps whose numbers are drawn together; another length changes every draw, and so the training loop's version."""
STEP = 1
"""The block of draws that are as large as activations."""

Shape = tuple[int, ...]


class Draws:
    """A trainer's numbers by purpose and step; `streams` names them.

    block: steps that are drawn together. Of more than one, a block of each purpose is kept.
    """

    def __init__(self, streams: Streams, device: torch.device | str = "cpu", block: int = BLOCK) -> None:
        self.streams = streams
        self.device = device
        self.block = block
        self._blocks: dict[str, tuple[tuple[int | str, ...], torch.Tensor]] = {}

    def normal(self, purpose: str, step: int, shape: Shape) -> torch.Tensor:
        """Standard normal numbers [*shape]."""
        return self._drawn(purpose, step, shape, "normal", torch.randn)

    def uniform(self, purpose: str, step: int, shape: Shape) -> torch.Tensor:
        """Numbers [*shape], uniform in [0, 1)."""
        return self._drawn(purpose, step, shape, "uniform", torch.rand)

    def index(self, purpose: str, step: int, shape: Shape, below: int) -> torch.Tensor:
        """int64 [*shape], uniform from 0 to `below` - 1, with replacement."""

        def indices(*size: int, generator: torch.Generator) -> torch.Tensor:
            return torch.randint(below, size, generator=generator)

        return self._drawn(purpose, step, shape, f"below {below}", indices)

    def _drawn(
        self, purpose: str, step: int, shape: Shape, law: str, draw: Callable[..., torch.Tensor]
    ) -> torch.Tensor:
        # Law and shape are in the stream's name: steps of other shapes must not share some of a block's numbers.
        number, position = divmod(step, self.block)
        name: tuple[int | str, ...] = (law, number, *shape)
        if self.block == STEP:
            return draw(*shape, generator=self.streams.torch(purpose, *name)).to(self.device)
        if purpose not in self._blocks or self._blocks[purpose][0] != name:
            block = draw(self.block, *shape, generator=self.streams.torch(purpose, *name))
            self._blocks[purpose] = name, block.to(self.device)
        return self._blocks[purpose][1][position]
