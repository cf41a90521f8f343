"""The one training loop: budget in steps, nested levels, exact resume.

Every draw is a function of (stream, step), so the state to resume from is networks, optimizers, the step number, and of
a private arm what its accountant has counted and the key of its draws.
"""

import dataclasses
import math
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt

from mia_core import precision
from mia_core.batches import (
    Batch,
    Ordered,
    Sampled,
    SampledPersons,
    SeededCoins,
    Uniform,
    epochs_of,
    padded_size,
    steps_of,
)
from mia_core.data.pool import to_float
from mia_core.defenses import Arm, RandomLayer
from mia_core.defenses.dp_sgd import PrivateGradients
from mia_core.errors import Refused
from mia_core.persons import PERSON, Persons
from mia_core.resumable import require_resumable
from mia_core.secret_draws import SecretDraws
from mia_core.settings import added_later, plain, settings
from mia_core.step_draws import STEP, Draws
from mia_core.streams import Streams
from mia_core.targets import Step, Target, placed
from mia_core.tf32 import tf32

VERSION = 3
"""Of this loop, of random streams, blocks of draws and batches; what changes a trained target raises it. In ids."""


@settings
class TrainingConfig:
    """batch_size: real and generated records a step. generator_every: discriminator steps per generator step.

    beta1: Adam's; None for the target's own, and for a target that trains without Adam. precision: what networks
    compute in while they train; see `mia_core.precision`.
    """

    batch_size: Annotated[int, Gt(1)] = 32
    learning_rate: Annotated[float, Gt(0)] = 2e-4
    beta1: Annotated[float, Ge(0), Lt(1)] | None = None
    generator_every: Annotated[int, Ge(1)] = 1
    precision: Literal["float32", "tf32", "bfloat16"] = added_later("float32")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for ids and specs, as of `plain`."""
        return plain(self)

    def of(self, target: type[Target]) -> "TrainingConfig":
        """With the target's own beta1 where there is none; ValueError where there is one and the target has none."""
        if self.beta1 is not None and target.beta1 is None:
            raise Refused(f"training.beta1: {target.name} does not train with Adam and has no beta1; leave it out")
        return replace(self, beta1=target.beta1) if self.beta1 is None else self


@dataclass(frozen=True)
class Epoch:
    """A row of history. means: over the epoch's steps, of what the target's `update` returns; absent if never there."""

    epoch: int
    step: int
    seconds: float
    means: dict[str, float]


def sampling_rate(arm: Arm, train_size: int, batch_size: int, persons: int | None = None) -> float:
    """q: the probability of a unit in a step of private training, B / n of records, B / P of nominally P `persons`."""
    return batch_size / arm.nominal_units(train_size, persons)


def sampling_refusal(arm: Arm, train_size: int, batch_size: int, persons: int | None = None) -> str | None:
    """Why units cannot be sampled so that a batch has B of them on average, or None."""
    units = arm.nominal_units(train_size, persons)
    if not arm.poisson or batch_size <= units:
        return None
    if arm.unit == PERSON:
        return (
            f"dp_sgd samples each person with probability batch_size / persons, and {batch_size} / {units} is above 1 "
            f"({train_size} records are of {units} persons nominally); lower training.batch_size"
        )
    return (
        f"dp_sgd samples each record with probability batch_size / train_size, and {batch_size} / {units} is above 1; "
        "lower training.batch_size"
    )


def _contrasted(share: float, batch_size: int) -> int:
    """Known records on the fake side of a step: all of it at a share of 1, else at least one and not all."""
    return batch_size if share == 1 else min(max(1, round(share * batch_size)), batch_size - 1)


class Trainer:
    """Trains one target on fixed records, epoch after epoch, stopping wherever the caller wants.

    Ordinary training goes through shuffled orders of the records, one after another, B in every step; an arm with
    Poisson sampling takes each record with probability B / n in every step, or one record of each person with
    probability B / P. An epoch is n records, by the nominal n, so that a cell has the same budget in every replicate.
    An attacker's surrogate may learn against `contrast` besides: known records that stand on the fake side of every
    step, drawn anew for each.
    """

    def __init__(
        self,
        target: Target,
        images: np.ndarray,
        train_size: int,
        config: TrainingConfig,
        arm: Arm,
        streams: Streams,
        key: bytes | None = None,
        device: torch.device | str = "cpu",
        contrast: np.ndarray | None = None,
        contrast_share: float = 0.5,
        horizon: int | None = None,
        persons: Persons | None = None,
    ) -> None:
        """images: uint8 [members,C,H,W]. train_size: nominal n.

        key: of all draws of an arm with a guarantee but its initialization; None, which all but tests should give,
        draws a new one.

        horizon: steps that are trained at most; needed by an arm with a target epsilon, whose noise depends on it.

        contrast: uint8 [.,C,H,W]; contrast_share: its share of the fake side, 1 trains a discriminator alone.

        persons: whose the records are; needed by an arm whose unit is a person, and not looked at by others.
        """
        self.config = config = config.of(type(target))
        self.arm = arm
        self.streams = streams
        self.train_size = train_size
        nominal = persons.nominal if persons else None
        if reason := (
            arm.refusal(target)
            or arm.empty_guarantee(train_size, nominal)
            or precision.refusal(config.precision, arm)
            or sampling_refusal(arm, train_size, config.batch_size, nominal)
        ):
            raise ValueError(reason)
        if not len(images):
            raise ValueError("there is no record to train on")
        if persons and persons.numbers.shape != (len(images),):
            raise ValueError(f"{len(images)} records need as many numbers of persons, got {persons.numbers.shape}")
        target.initialize(streams.child("initialization"))
        arm.modify(target)
        if config.precision == "bfloat16":
            precision.lower(target)
        self.target = placed(target, device)
        self.images = torch.from_numpy(np.ascontiguousarray(images)).to(device)
        self.contrast = None if contrast is None else torch.from_numpy(np.ascontiguousarray(contrast)).to(device)
        self.contrasted = 0 if contrast is None else _contrasted(contrast_share, config.batch_size)
        self.optimizers = target.optimizers(config.learning_rate, config.beta1)
        self.horizon = horizon
        self.secret = SecretDraws(key)
        self.draws, self.layer_draws = self._draws(device)
        rate = sampling_rate(arm, train_size, config.batch_size, nominal)
        self.batches = self._batches(rate, arm.nominal_units(train_size, nominal), persons)
        rule = arm.record_gradients(self.secret, config.batch_size, rate, horizon)
        self.record_gradients = rule
        self.accountant = rule.accountant if isinstance(rule, PrivateGradients) else None
        self.step = 0
        self.batch = Batch(torch.empty(0, dtype=torch.int64))
        self.history: list[Epoch] = []
        self._epoch_values: dict[str, list[torch.Tensor]] = defaultdict(list)
        self._epoch_seconds = 0.0

    @property
    def epoch(self) -> int:
        """Whole epochs done."""
        return epochs_of(self.step, self.train_size, self.config.batch_size)

    @property
    def next_epoch_step(self) -> int:
        """The step that ends the epoch that is begun."""
        return steps_of(self.epoch + 1, self.train_size, self.config.batch_size)

    @property
    def generator_steps(self) -> int:
        """Generator updates done."""
        return math.ceil(self.step / self.config.generator_every)

    @property
    def epsilon(self) -> float | None:
        """epsilon(delta) of the private steps that the accountant has counted, None without a guarantee."""
        return self.arm.epsilon_of(self.accountant.history) if self.accountant else None

    def run_to(self, step: int) -> None:
        """Train until `step` discriminator updates are done; whole epochs append to `history`.

        ValueError beyond the horizon.
        """
        if self.horizon is not None and step > self.horizon:
            raise ValueError(f"step {step} is beyond the horizon of {self.horizon} steps")
        with tf32(self.config.precision == "tf32"):
            self._run_to(step)

    def _run_to(self, step: int) -> None:
        started = time.perf_counter()
        random_layers = [module for module in self.target.modules() if isinstance(module, RandomLayer)]
        self.target.train()
        while self.step < step:
            for layer in random_layers:
                layer.begin(self.layer_draws, self.step)
            self.batch = self._batch()
            end_of_epoch = self.next_epoch_step
            records = to_float(self.images[self.batch.index]).contiguous(memory_format=torch.channels_last)
            values = self.target.update(records, self._step())
            self.step += 1
            for key, value in values.items():
                self._epoch_values[key].append(value)
            if self.step == end_of_epoch:
                means = {key: float(torch.stack(values).mean()) for key, values in self._epoch_values.items()}
                now = time.perf_counter()
                self.history.append(Epoch(self.epoch, self.step, self._epoch_seconds + now - started, means))
                self._begin_epoch()
                started = now
        self._epoch_seconds += time.perf_counter() - started
        for layer in random_layers:
            layer.end()
        self.target.eval()

    def _begin_epoch(self) -> None:
        self._epoch_values.clear()
        self._epoch_seconds = 0.0

    def _step(self) -> Step:
        fakes = self.config.batch_size - self.contrasted
        return Step(
            number=self.step,
            fakes=fakes,
            train_generator=fakes > 0 and self.step % self.config.generator_every == 0,
            draws=self.draws,
            optimizers=self.optimizers,
            record_gradients=self.record_gradients,
            contrast=self._contrast(),
            units=None if self.batch.units is None else self.batch.units.to(self.images.device),
        )

    def _contrast(self) -> torch.Tensor | None:
        """Float records of the fake side of this step, with replacement when there are few."""
        if self.contrast is None:
            return None
        return to_float(self.contrast[self.draws.index("contrast", self.step, (self.contrasted,), len(self.contrast))])

    def _draws(self, device: torch.device | str) -> tuple[Draws, Draws]:
        """Of steps, and of layers: functions of the seed, or of the key where there is a guarantee."""
        streams = self.secret.streams if self.arm.guaranteed else self.streams
        return Draws(streams, device), Draws(streams, device, STEP)

    def _batches(self, rate: float, units: int, persons: Persons | None) -> Ordered | Sampled | SampledPersons:
        if not self.arm.poisson:
            return Ordered(self.streams, len(self.images), self.config.batch_size)
        size = padded_size(units, rate)

        def uniform(purpose: str) -> Uniform:
            return partial(self.secret.uniform, purpose) if self.arm.guaranteed else SeededCoins(self.streams, purpose)

        if self.arm.unit == PERSON:
            assert persons is not None
            return SampledPersons(uniform("poisson"), uniform("person_record"), persons.numbers, rate, size)
        return Sampled(uniform("poisson"), len(self.images), rate, size)

    def _batch(self) -> Batch:
        """Of this step."""
        return self.batches.batch(self.step)

    def state(self, unsealed: bool = False) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Tensors, and a JSON-like rest, that `restore` takes up bit for bit.

        unsealed: with what only a training that still runs may keep: the seconds of the epoch that is begun, and of an
        arm with a guarantee its values, and the key, which opens the noise to whoever reads it. Without these, equal
        trainings have equal states, and a private one goes on under a key of its own.
        """
        tensors = {f"target.{name}": _copy(value) for name, value in self.target.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            for index, values in optimizer.state_dict()["state"].items():
                for key, value in values.items():
                    tensors[f"optimizer.{name}.{index}.{key}"] = _copy(torch.as_tensor(value))
        # Values of a step are of its sample: of a private one, they stay where its key does.
        kept = self._epoch_values if unsealed or not self.arm.guaranteed else {}
        begun = {key: [float(value) for value in values] for key, values in kept.items()}
        history = [dataclasses.asdict(row) for row in self.history]
        spent = list(map(list, self.accountant.history)) if self.accountant else []
        secret = {"key": self.secret.key.hex()} if unsealed and self.arm.guaranteed else {}
        return tensors, {
            "version": VERSION,
            "step": self.step,
            "history": history,
            "begun_epoch": begun,
            "begun_seconds": self._epoch_seconds if unsealed else 0.0,
            "spent": spent,
            **secret,
        }

    def restore(self, tensors: dict[str, torch.Tensor], rest: dict[str, Any]) -> None:
        """Go on from a state; ValueError when it is none of this training's, or of another arm's noise or sampling."""
        private = self.accountant is not None
        require_resumable(tensors, rest, self.target, self.optimizers, self.horizon, private, VERSION)
        if self.accountant:
            self.accountant.restore(rest["spent"])
        elif rest["spent"]:
            raise ValueError(f"a state that has spent {rest['spent']} does not belong to the arm {self.arm.label}")
        weights = {name.removeprefix("target."): t for name, t in tensors.items() if name.startswith("target.")}
        self.target.load_state_dict(weights)
        for name, optimizer in self.optimizers.items():
            state: dict[int, dict[str, torch.Tensor]] = defaultdict(dict)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            for key, tensor in tensors.items():
                if key.startswith(f"optimizer.{name}."):
                    index, field = key.removeprefix(f"optimizer.{name}.").split(".")
                    state[int(index)][field] = _in_order_of(parameters[int(index)], tensor)
            optimizer.load_state_dict({**optimizer.state_dict(), "state": dict(state)})
        self.step = rest["step"]
        self.history = [Epoch(**row) for row in rest["history"]]
        self._begin_epoch()
        self._epoch_seconds = rest["begun_seconds"]
        if "key" in rest:
            self.secret.key = bytes.fromhex(rest["key"])
            self.draws, self.layer_draws = self._draws(self.images.device)
        for key, values in rest["begun_epoch"].items():
            self._epoch_values[key] = [torch.tensor(value, device=self.images.device) for value in values]


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    """On the CPU, in the order in memory that files have."""
    return tensor.detach().clone(memory_format=torch.contiguous_format).cpu()


def _in_order_of(parameter: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """A copy of what an optimizer keeps of a parameter, in the parameter's order in memory: see `add_gradient`."""
    if tensor.shape != parameter.shape:
        return tensor.clone()
    return torch.empty_like(parameter, dtype=tensor.dtype, device=tensor.device).copy_(tensor)
