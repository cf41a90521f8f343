"""Several trainings of one architecture at once: one forward pass over stacked weights, one backward pass, one update.

The time of a small target's step is bound by kernel launches, and K trainings at once need as many as one. Weights are
stacked along a first dimension K, losses are mapped over it (torch.func.vmap), and the gradient of the sum of the K
mean losses is each training's gradient, since no training's loss depends on another's weights. Adam and RMSprop work
element by element. The result equals that of each training alone, up to rounding: batched products sum in another
order.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from mia_core.batches import Rows
from mia_core.defenses import Defense
from mia_core.errors import Refused
from mia_core.learner import Reports
from mia_core.targets import Batch, Losses, RecordLosses, Target, add_gradient, mean_gradients
from mia_core.targets.gradients import Mapped, by_loss, detached
from mia_core.tf32 import tf32
from mia_core.training import Trainer


def refusal(trainers: Sequence[Trainer]) -> str | None:
    """Why these trainings cannot run at once, or None.

    A private arm clips each record's gradient by book-keeping, which does not support stacked weights. Layers with
    random numbers receive them for one training at a time. The casts of bfloat16 are not mapped. Step, batch size and
    settings must be equal, since all trainings share one update.
    """
    first = trainers[0]
    alike: dict[str, set[Any]] = {
        "targets": {(type(t.target), str(t.target.config), t.target.image_shape) for t in trainers},
        "training settings": {t.config for t in trainers},
        "arms": {t.arm for t in trainers},
        "steps done": {t.step for t in trainers},
        "devices": {str(t.target.device) for t in trainers},
        "contrasts": {t.contrast and t.contrast.per_step(t.config.batch_size) for t in trainers},
    }
    if different := [words for words, found in alike.items() if len(found) > 1]:
        return f"trainings of different {' and '.join(different)} cannot be done at once"
    if first.arm.poisson:
        return f"{first.arm.label} clips each record's gradient, which is not known for stacked weights"
    if first.random_layers:
        return f"{first.arm.label} has layers with random numbers, which are given to one training at a time"
    kinds = {type(defense) for defense in first.arm.defenses}
    if any(kind.inputs is not Defense.inputs or kind.weights is not Defense.weights for kind in kinds):
        return f"{first.arm.label} changes inputs or weights of one training at a time"
    if first.learner.rule is not mean_gradients:
        return f"{first.arm.label} has a rule of its own for the gradients of real records"
    if first.config.precision == "bfloat16":
        return "training.precision bfloat16 is not known for stacked weights"
    return None


def run_together(trainers: Sequence[Trainer], step: int) -> None:
    """`run_to(step)` of every trainer, at once. Refused, with the reason, where that is not possible.

    The history of each training counts the full time of the joint steps.
    """
    if reason := refusal(trainers):
        raise Refused(reason)
    with tf32(trainers[0].config.precision == "tf32"):
        for trainer in trainers:
            trainer.target.train()
        learner, started = Together(trainers), [time.perf_counter()] * len(trainers)
        while trainers[0].step < step:
            values = learner.step(stacked([trainer.batch() for trainer in trainers]))
            for number, trainer in enumerate(trainers):
                own = {name: value[number] for name, value in values.items()}
                started[number] = trainer.count(own, started[number])
        learner.hand_back()
        for trainer, since in zip(trainers, started, strict=True):
            trainer.pause(since)
            trainer.target.eval()


def stacked(batches: Sequence[Batch]) -> Batch:
    """One batch of all, whose tensors have a leading dimension K; its rows are the first batch's and are not used."""
    first = batches[0]
    known = [batch.contrast for batch in batches if batch.contrast is not None]
    return Batch(
        real=torch.stack([batch.real for batch in batches]),
        rows=Rows(first.rows.index),
        draws={name: torch.stack([batch.draws[name] for batch in batches]) for name in first.draws},
        fakes=first.fakes,
        generator_learns=first.generator_learns,
        contrast=torch.stack(known) if known else None,
    )


class Together:
    """A `Learner` of K trainings. It holds copies of their weights until `hand_back`."""

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.trainers = trainers
        self.target: Target = trainers[0].target
        self.bases = trainers[0].learner.networks
        self.parameters: dict[str, dict[str, Any]] = {}
        self.buffers: dict[str, dict[str, Any]] = {}
        self.averages: dict[str, dict[str, torch.Tensor]] = {}
        for name in self.bases:
            weights, buffers = stack_module_state([trainer.learner.networks[name] for trainer in trainers])
            # Contiguous: vmap does not support requests for another memory format.
            self.parameters[name] = {key: nn.Parameter(value.detach().contiguous()) for key, value in weights.items()}
            self.buffers[name] = buffers
        for name in self.target.averages:
            weights, _ = stack_module_state([trainer.target.get_submodule(name) for trainer in trainers])
            self.averages[name] = {key: value.detach().contiguous() for key, value in weights.items()}
        own = {name for name, _ in self.target.named_buffers(recurse=False)}
        self.state = {name: torch.stack([t.target.get_buffer(name) for t in trainers]) for name in own}
        self.optimizers = {name: self._optimizer(name) for name in self.bases}
        self._reports = Reports(self.bases)

    def _optimizer(self, name: str) -> torch.optim.Optimizer:
        """The optimizer of a network's stacked weights, with the stacked optimizer states of the trainings."""
        config, weights = self.trainers[0].config, list(self.parameters[name].values())
        optimizer = self.target.optimizer(weights, config.learning_rate, config.beta1)
        states = [trainer.optimizers[name].state_dict()["state"] for trainer in self.trainers]
        if states[0]:
            stacked = {
                index: {field: _stacked([own[index][field] for own in states]) for field in fields}
                for index, fields in states[0].items()
            }
            optimizer.load_state_dict({**optimizer.state_dict(), "state": stacked})
        return optimizer

    def step(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Do one step of the target in all trainings. Returns the values [K] for its history."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        self._reports = Reports(self.bases)
        self.target.step(self, batch)
        return self._reports.values

    def apply(self, function: Callable[..., torch.Tensor], *tensors: torch.Tensor, graph: bool = True) -> torch.Tensor:
        """See `Learner`."""
        with torch.set_grad_enabled(graph):
            return self._mapped(function, tensors)

    def learn_from_records(
        self, losses: RecordLosses, *records: torch.Tensor, only: Collection[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """See `Learner`."""
        return self.learn_from(losses, *records, only=only)

    def learn_from(
        self, losses: Losses, *tensors: torch.Tensor, only: Collection[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """See `Learner`."""
        terms = self._mapped(losses, tensors)
        learned = by_loss(terms, [name for name in self.bases if only is None or name in only])
        for loss, learning in learned:
            for name, weight in learning:
                last = loss is learned[-1][0] and name == learning[-1][0]
                weights = list(self.parameters[name].values())
                gradients = torch.autograd.grad(loss.mean(-1).sum(), weights, retain_graph=not last)
                for parameter, gradient in zip(weights, gradients, strict=True):
                    add_gradient(parameter, _times(weight, gradient))
        values = detached(terms)
        self._reports.add(values, only)
        return values

    def _mapped(self, function: Callable[..., Any], tensors: tuple[torch.Tensor, ...]) -> Any:
        def of_one(parameters: Any, buffers: Any, *tensors: torch.Tensor) -> Any:
            networks = {name: _call(base, parameters[name], buffers[name]) for name, base in self.bases.items()}
            return function(networks, *tensors)

        return vmap(of_one)(self.parameters, self.buffers, *tensors)

    def update(self, *networks: str) -> None:
        """See `Learner`."""
        for name in networks:
            self.optimizers[name].step()

    @torch.no_grad()
    def average(self, name: str, decay: torch.Tensor) -> None:
        """See `Learner`."""
        of = self.parameters[self.target.averages[name]]
        for key, own in self.averages[name].items():
            own.copy_(_times(decay, own) + _times(1 - decay, of[key]))

    def buffer(self, name: str) -> torch.Tensor:
        """See `Learner`."""
        return self.state[name].clone()

    def set_buffer(self, name: str, value: torch.Tensor) -> None:
        """See `Learner`."""
        self.state[name].copy_(value)

    def report(self, **values: torch.Tensor) -> None:
        """See `Learner`."""
        self._reports.values |= values

    @torch.no_grad()
    def hand_back(self) -> None:
        """Copy weights, buffers and optimizer states back to each training."""
        for number, trainer in enumerate(self.trainers):
            for name, network in trainer.learner.networks.items():
                own = {**dict(network.named_parameters()), **dict(network.named_buffers())}
                for key, value in {**self.parameters[name], **self.buffers[name]}.items():
                    own[key].copy_(value[number])
                state = {
                    index: {field: value[number] if value.ndim else value.clone() for field, value in fields.items()}
                    for index, fields in self.optimizers[name].state_dict()["state"].items()
                }
                parameters = [p for group in trainer.optimizers[name].param_groups for p in group["params"]]
                for index, fields in state.items():
                    like = parameters[index]
                    for field, value in fields.items():
                        if value.shape == like.shape:
                            fields[field] = torch.empty_like(like).copy_(value)
                trainer.optimizers[name].load_state_dict({**trainer.optimizers[name].state_dict(), "state": state})
            for name, weights in self.averages.items():
                for key, value in weights.items():
                    trainer.target.get_submodule(name).get_parameter(key).copy_(value[number])
            for name, value in self.state.items():
                trainer.target.get_buffer(name).copy_(value[number])


def _stacked(values: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stack one field of the optimizers' states; the step counter, a scalar, is the same for all."""
    return torch.stack(list(values)).contiguous() if values[0].ndim else values[0].clone()


def _call(base: nn.Module, parameters: Mapping[str, Any], buffers: Mapping[str, Any]) -> Mapped:
    return Mapped(lambda *inputs: functional_call(base, ({**parameters}, {**buffers}), inputs))


def _times(weight: float | torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """A gradient [K,...] times one weight, or times each training's weight [K]."""
    return gradient * (weight.view(-1, *(1,) * (gradient.ndim - 1)) if isinstance(weight, torch.Tensor) else weight)
