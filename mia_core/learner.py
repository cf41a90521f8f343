"""What a target's step works on in one training: its networks, their gradients and their optimizers."""

from collections.abc import Callable, Collection, Mapping

import torch
from torch import nn

from mia_core.batches import Rows
from mia_core.targets import Batch, Losses, RecordGradients, RecordLosses, Target, mean_gradients


class OneTraining:
    """A `Learner` of one target. networks: by name, as a step is to call them. rule: for real records' gradients."""

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
        self._values: dict[str, torch.Tensor] = {}

    def step(self, batch: Batch) -> dict[str, torch.Tensor]:
        """One step of the target; the scalars of its history, not yet on the host."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        self._rows, self._values = batch.rows, {}
        self.target.step(self, batch)
        return self._values

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
            return {name: term for name, term in losses(networks, *records).items() if self._reported(name, only)}

        return self._noted(self.rule(self.networks, chosen, records, self._rows), only)

    def learn_from(
        self, losses: Losses, *tensors: torch.Tensor, only: Collection[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """See `Learner`."""
        return self._noted(mean_gradients(self.networks, losses, tensors, only=only), only)

    def update(self, *networks: str) -> None:
        """See `Learner`."""
        for name in networks:
            self.optimizers[name].step()

    def buffer(self, name: str) -> torch.Tensor:
        """See `Learner`."""
        return self.target.get_buffer(name).clone()

    def set_buffer(self, name: str, value: torch.Tensor) -> None:
        """See `Learner`."""
        self.target.get_buffer(name).copy_(value)

    def report(self, **values: torch.Tensor) -> None:
        """See `Learner`."""
        self._values |= values

    def _reported(self, name: str, only: Collection[str] | None) -> bool:
        return only is None or name in only or name not in self.networks

    def _noted(self, terms: dict[str, torch.Tensor], only: Collection[str] | None) -> dict[str, torch.Tensor]:
        for name, values in terms.items():
            if values.shape[-1] and self._reported(name, only):
                loss = name in self.networks
                key, mean = f"loss_{name}" if loss else name, values.mean(-1)
                self._values[key] = self._values[key] + mean if loss and key in self._values else mean
        return terms
