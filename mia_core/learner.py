"""The networks, gradients and optimizers that a target's step works on, for one training."""

from collections.abc import Callable, Collection, Mapping

import torch
from torch import nn

from mia_core.batches import Rows
from mia_core.targets import Batch, Losses, RecordGradients, RecordLosses, Target, mean_gradients


class Reports:
    """The scalars of one step for the history, of one training or [K] of several. networks: names of those that learn.

    A network's value is the sum of its mean losses; the value of every other term is its mean.
    """

    def __init__(self, networks: Collection[str]) -> None:
        self.networks = networks
        self.values: dict[str, torch.Tensor] = {}

    def kept(self, name: str, only: Collection[str] | None) -> bool:
        """Whether a term counts if only the networks `only` learn (None: all of them)."""
        return only is None or name in only or name not in self.networks

    def add(self, terms: Mapping[str, torch.Tensor], only: Collection[str] | None) -> None:
        """Add detached terms [...,N]; terms without rows are skipped."""
        for name, values in terms.items():
            if not values.shape[-1] or not self.kept(name, only):
                continue
            mean = values.mean(-1)
            if name in self.networks:
                key = f"loss_{name}"
                self.values[key] = self.values[key] + mean if key in self.values else mean
            else:
                self.values[name] = mean


class OneTraining:
    """A `Learner` of one target. networks: modules that a step calls, by name. rule: of real records' gradients."""

    def __init__(
        self,
        target: Target,
        networks: Mapping[str, nn.Module],
        optimizers: Mapping[str, torch.optim.Optimizer],
        rule: RecordGradients,
    ) -> None:
        self.target = target
        self.networks = networks
        self.optimizers = optimizers
        self.rule = rule
        self._rows: Rows | None = None
        self._reports = Reports(self.networks)

    def step(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Do one step of the target. Returns the scalars for its history, still on the device."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        self._rows, self._reports = batch.rows, Reports(self.networks)
        self.target.step(self, batch)
        return self._reports.values

    def apply(self, function: Callable[..., torch.Tensor], *tensors: torch.Tensor, graph: bool = True) -> torch.Tensor:
        """See `Learner`."""
        with torch.set_grad_enabled(graph):
            return function(self.networks, *tensors)

    def learn_from_records(
        self, losses: RecordLosses, *records: torch.Tensor, only: Collection[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """See `Learner`."""
        assert self._rows is not None

        def chosen(networks: Mapping[str, nn.Module], *records: torch.Tensor) -> dict[str, torch.Tensor]:
            return {name: term for name, term in losses(networks, *records).items() if self._reports.kept(name, only)}

        terms = self.rule(self.networks, chosen, records, self._rows)
        self._reports.add(terms, only)
        return terms

    def learn_from(
        self, losses: Losses, *tensors: torch.Tensor, only: Collection[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """See `Learner`."""
        terms = mean_gradients(self.networks, losses, tensors, only=only)
        self._reports.add(terms, only)
        return terms

    def update(self, *networks: str) -> None:
        """See `Learner`."""
        for name in networks:
            self.optimizers[name].step()

    @torch.no_grad()
    def average(self, name: str, decay: torch.Tensor) -> None:
        """See `Learner`."""
        of = self.target.get_submodule(self.target.averages[name])
        own: list[torch.Tensor] = list(self.target.get_submodule(name).parameters())
        theirs: list[torch.Tensor] = list(of.parameters())
        torch._foreach_mul_(own, decay)
        torch._foreach_add_(own, list(torch._foreach_mul(theirs, 1 - decay)))

    def buffer(self, name: str) -> torch.Tensor:
        """See `Learner`."""
        return self.target.get_buffer(name).clone()

    def set_buffer(self, name: str, value: torch.Tensor) -> None:
        """See `Learner`."""
        self.target.get_buffer(name).copy_(value)

    def report(self, **values: torch.Tensor) -> None:
        """See `Learner`."""
        self._reports.values |= values
