"""Base class of targets that learn from real records alone, by one loss per record; they have no discriminator.

A target defines, as in its paper,

    record_losses(networks, x, ...)     the loss of a real record x, given its random numbers

Every network learns in every step. Shapes: B batch, C H W image, R draws of a record's random numbers.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import nn
from torch.func import functional_call

from mia_core.model_facts import ModelFacts
from mia_core.step_draws import Draw
from mia_core.streams import Streams
from mia_core.targets.gradients import Networks
from mia_core.targets.target import Batch, Learner, Target

JUDGING_DRAWS = 10
"""R: draws of random numbers over which a record's loss, and its gradient, are averaged after training."""

ROWS = 256
"""Rows that are judged at once, R for each record."""


class PerRecord(Target):
    """See the module. `record_losses` returns the same loss under the name of each network."""

    offers = frozenset({"samples", "latent", "gradients"})
    beta1: ClassVar[float | None] = 0.9

    @abstractmethod
    def record_draws(self, records: int) -> dict[str, Draw]:
        """The random tensors of so many real records, in the order in which `record_losses` takes them."""

    @abstractmethod
    def record_losses(self, networks: Networks, x_BCHW: torch.Tensor, *draws: torch.Tensor) -> dict[str, torch.Tensor]:
        """The loss [B] of each network on real records, and terms [B] that are only reported."""

    @abstractmethod
    def judging_draws(self, rng: Streams) -> tuple[torch.Tensor, ...]:
        """R draws [R,...] of a record's random numbers, on the CPU, which are the same for all records."""

    @classmethod
    def unread_training(cls) -> dict[str, str]:
        """Also what tells a generator's steps from a discriminator's."""
        reason = "has no discriminator, and all of its networks learn in every step"
        return super().unread_training() | {"generator_every": reason}

    @property
    def facts(self) -> ModelFacts:
        """With the number of released parameters."""
        return replace(super().facts, tensors=len(self.gradient_names))

    @property
    def released(self) -> Mapping[str, nn.Module]:
        """The networks that a snapshot has, by the names that `record_losses` knows."""
        return {name: self.get_submodule(name) for name in self.networks}

    def draws(self, records: int, fakes: int, contrast: int) -> dict[str, Draw]:
        """Those of the real records; there are no others."""
        return self.record_draws(records)

    def step(self, learner: Learner, batch: Batch) -> None:
        """One update of all networks by the real records' mean loss."""
        order = self.record_draws(0)
        learner.learn_from_records(self.record_losses, batch.real, *(batch.draws[name] for name in order))
        learner.update(*self.networks)

    @torch.no_grad()
    def mean_losses(self, x_BCHW: torch.Tensor, rng: Streams) -> torch.Tensor:
        """The loss [B] of each record under the released networks, averaged over R draws from `rng`."""
        draws = self._judging(rng)
        parts = [self._mean(self.released, x, draws) for x in x_BCHW.split(ROWS // JUDGING_DRAWS)]
        return torch.cat([x_BCHW.new_empty(0), *parts])

    @property
    def gradient_names(self) -> tuple[str, ...]:
        """The released parameters, P of them, as network and name."""
        return tuple(f"{name}.{key}" for name, net in self.released.items() for key, _ in net.named_parameters())

    def gradient_norms(self, x_BCHW: torch.Tensor, rng: Streams) -> torch.Tensor:
        """[B,P]: the norm of each parameter's gradient of each record's loss, averaged over R draws from `rng`."""
        draws, released = self._judging(rng), self.released
        weights = {
            name: {key: p.detach().requires_grad_() for key, p in network.named_parameters()}
            for name, network in released.items()
        }
        networks = {name: _Called(network, weights[name]) for name, network in released.items()}
        every = [weight for own in weights.values() for weight in own.values()]
        norms = []
        with torch.enable_grad():
            for x in x_BCHW.split(1):
                gradients = torch.autograd.grad(self._mean(networks, x, draws).sum(), every)
                norms.append(torch.stack([gradient.norm() for gradient in gradients]))
        return torch.stack(norms) if norms else x_BCHW.new_empty(0, len(every))

    def _judging(self, rng: Streams) -> tuple[torch.Tensor, ...]:
        return tuple(draw.to(self.device) for draw in self.judging_draws(rng))

    def _mean(self, networks: Networks, x_BCHW: torch.Tensor, draws: tuple[torch.Tensor, ...]) -> torch.Tensor:
        repeated = [draw.repeat(len(x_BCHW), *(1,) * (draw.ndim - 1)) for draw in draws]
        rows = x_BCHW.repeat_interleave(len(draws[0]), 0)
        losses = self.record_losses(networks, rows, *repeated)[self.networks[0]]
        return losses.unflatten(0, (len(x_BCHW), -1)).mean(1)


class _Called:
    """A network with other weights of the same shapes."""

    def __init__(self, network: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
        self.network = network
        self.weights = dict(weights)

    def __call__(self, *inputs: torch.Tensor) -> Any:
        return functional_call(self.network, self.weights, inputs)
