"""The one training loop: budget in steps, nested levels, exact resume.

Every draw is a function of (stream, step), so the state to resume from is networks, optimizers, the step number, and of
a private arm what its accountant has counted and the key of its draws.
"""

import dataclasses
import math
import time
from collections import defaultdict
from dataclasses import dataclass
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
from mia_core.persons import PERSON, Persons
from mia_core.resumable import require_resumable
from mia_core.secret_draws import SecretDraws
from mia_core.settings import added_later, plain, settings
from mia_core.step_draws import Draws
from mia_core.streams import Streams
from mia_core.targets import Step, Target

VERSION = 2
"""Of this loop, of random streams, blocks of draws and batches; what changes a trained target raises it. In ids."""


@settings
class TrainingConfig:
    """batch_size: real and generated records a step. generator_every: discriminator steps per generator step.

    precision: what networks compute in while they train; see `mia_core.precision`.
    """

    batch_size: Annotated[int, Gt(1)] = 32
    learning_rate: Annotated[float, Gt(0)] = 2e-4
    beta1: Annotated[float, Ge(0), Lt(1)] = 0.5
    generator_every: Annotated[int, Ge(1)] = 1
    precision: Literal["float32", "bfloat16"] = added_later("float32")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for ids and specs, as of `plain`."""
        return plain(self)


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

        key: of noise and samples of an arm with a guarantee; None, which all but tests should give, draws a new one.

        horizon: steps that are trained at most; needed by an arm with a target epsilon, whose noise depends on it.

        contrast: uint8 [.,C,H,W]; contrast_share: its share of the fake side, 1 trains a discriminator alone.

        persons: whose the records are; needed by an arm whose unit is a person, and not looked at by others.
        """
        self.config = config
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
        self.target = target.to(device)
        self.images = torch.from_numpy(np.ascontiguousarray(images)).to(device)
        self.contrast = None if contrast is None else torch.from_numpy(np.ascontiguousarray(contrast)).to(device)
        self.contrasted = 0 if contrast is None else _contrasted(contrast_share, config.batch_size)
        self.optimizers = target.optimizers(config.learning_rate, config.beta1)
        self.horizon = horizon
        self.draws = Draws(streams, device)
        self.secret = SecretDraws(key)
        rate = sampling_rate(arm, train_size, config.batch_size, nominal)
        self.batches = self._batches(rate, persons)
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
        started = time.perf_counter()
        random_layers = [module for module in self.target.modules() if isinstance(module, RandomLayer)]
        self.target.train()
        while self.step < step:
            for layer in random_layers:
                layer.reseed(self.streams, self.step, self.images.device)
            self.batch = self._batch()
            end_of_epoch = self.next_epoch_step
            values = self.target.update(to_float(self.images[self.batch.index]), self._step())
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

    def _batches(self, rate: float, persons: Persons | None) -> Ordered | Sampled | SampledPersons:
        """rate: of units in a step; above 1 only where batches are no Poisson samples, and then not used."""
        if not self.arm.poisson:
            return Ordered(self.streams, len(self.images), self.config.batch_size)
        nominal = persons.nominal if persons else None
        size = padded_size(self.arm.nominal_units(self.train_size, nominal), rate)

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

        unsealed: with what only a training that still runs may keep: the seconds of the epoch that is begun, and the
        key of an arm with a guarantee, which opens its noise to whoever reads it. Without these, equal trainings have
        equal states, and a private one goes on under a key of its own.
        """
        tensors = {
            f"target.{name}": value.detach().to("cpu", copy=True) for name, value in self.target.state_dict().items()
        }
        for name, optimizer in self.optimizers.items():
            for index, values in optimizer.state_dict()["state"].items():
                for key, value in values.items():
                    tensors[f"optimizer.{name}.{index}.{key}"] = torch.as_tensor(value).detach().to("cpu", copy=True)
        begun = {key: [float(value) for value in values] for key, values in self._epoch_values.items()}
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
            for key, tensor in tensors.items():
                if key.startswith(f"optimizer.{name}."):
                    index, field = key.removeprefix(f"optimizer.{name}.").split(".")
                    state[int(index)][field] = tensor.clone()
            optimizer.load_state_dict({**optimizer.state_dict(), "state": dict(state)})
        self.step = rest["step"]
        self.history = [Epoch(**row) for row in rest["history"]]
        self._begin_epoch()
        self._epoch_seconds = rest["begun_seconds"]
        if "key" in rest:
            self.secret.key = bytes.fromhex(rest["key"])
        for key, values in rest["begun_epoch"].items():
            self._epoch_values[key] = [torch.tensor(value, device=self.images.device) for value in values]
