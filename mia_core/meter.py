"""How much an attack asks of a model: images that pass through it, and gradients that come back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Spent:
    """queries: images that the model made, judged or denoised, except samples of its fixed sequence, which an attacker
    of released samples just has. gradients: images through which a gradient was taken.
    """

    queries: int = 0
    gradients: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.queries + other.queries, self.gradients + other.gradients)

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(self.queries - other.queries, self.gradients - other.gradients)


class Meter:
    """Counts what is asked through the functions and networks that it wraps. spent: so far."""

    def __init__(self) -> None:
        self.spent = Spent()

    def function(self, found: Callable[..., Any], spends: Spent) -> Callable[..., Any]:
        """The same function; each row [B,...] of its first argument counts as `spends`."""

        def counted(*arguments: Any, **settings: Any) -> Any:
            first = next(iter((*arguments, *settings.values())), None)
            count = len(first) if isinstance(first, torch.Tensor) else 0
            self.spent += Spent(count * spends.queries, count * spends.gradients)
            return found(*arguments, **settings)

        return counted

    def network(self, found: nn.Module) -> nn.Module:
        """The same network; each row counts as a query, and as a gradient if one comes back through its images."""
        return _Counted(found, self)


class _Counted(nn.Module):
    def __init__(self, network: nn.Module, meter: Meter) -> None:
        super().__init__()
        self.network = network
        self._add = lambda spent: setattr(meter, "spent", meter.spent + spent)

    def forward(self, *arguments: torch.Tensor) -> torch.Tensor:
        images: torch.Tensor = self.network(*arguments)
        self._add(Spent(queries=len(images)))
        if images.requires_grad:
            images.register_hook(lambda _: self._add(Spent(gradients=len(images))))
        return images
