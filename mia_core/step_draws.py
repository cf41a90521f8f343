"""The random numbers of training steps, drawn for many steps at once: every one is an argument of its step.

They are drawn on the CPU and moved, so that a training has the same ones on any device; and in blocks of steps, so that
many steps can be given theirs at once. What a step gets follows from its number alone, wherever a training resumes.
"""

from collections.abc import Callable

import torch

from mia_core.streams import Streams

BLOCK = 64
"""Steps whose numbers are drawn together; another length changes every draw, and so the training loop's version."""

Shape = tuple[int, ...]


class Draws:
    """A trainer's numbers by purpose and step; `streams` names them. One block of each purpose is kept."""

    def __init__(self, streams: Streams, device: torch.device | str = "cpu") -> None:
        self.streams = streams
        self.device = device
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
        number, position = divmod(step, BLOCK)
        name: tuple[int | str, ...] = (law, number, *shape)
        if purpose not in self._blocks or self._blocks[purpose][0] != name:
            block = draw(BLOCK, *shape, generator=self.streams.torch(purpose, *name))
            self._blocks[purpose] = name, block.to(self.device)
        return self._blocks[purpose][1][position]
