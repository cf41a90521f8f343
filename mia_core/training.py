"""The one training loop: budget in steps, nested levels, exact resume.

Every draw is a function of (stream, step). The state to resume from is therefore the networks, the optimizers, the step
number and, for a private arm, the accountant's history and the key of its draws.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt

from mia_core import precision
from mia_core.batches import Ordered, epochs_of, steps_of
from mia_core.data.pool import to_float
from mia_core.defenses import Arm, RandomLayer, TrainingFacts
from mia_core.errors import Refused
from mia_core.learner import OneTraining
from mia_core.secret_draws import SecretDraws
from mia_core.settings import added_later, plain, settings
from mia_core.step_draws import STEP, Draw, Draws
from mia_core.step_draws import index as index_draw
from mia_core.streams import Streams
from mia_core.targets import Batch, PerRecord, RecordGradients, Target, placed
from mia_core.tf32 import tf32
from mia_core.training_records import Records
from mia_core.training_state import Epoch, State

VERSION = 3
"""Version of this loop, random streams, blocks of draws and batches, in ids. Raise it if trained targets change."""


@settings
class TrainingConfig:
    """batch_size: real records per step, and generated ones. generator_every: discriminator steps per generator step,
    of targets with a discriminator; all networks of the others learn in every step.

    beta1: of Adam; None for the target's default, or if the target does not train with Adam. What a target does not
    read is refused for it (`Target.unread_training`), unless it has its default. precision: the number
    format of networks during training, see `mia_core.precision`.
    """

    batch_size: Annotated[int, Gt(1)] = 32
    learning_rate: Annotated[float, Gt(0)] = 2e-4
    beta1: Annotated[float, Ge(0), Lt(1)] | None = None
    generator_every: Annotated[int, Ge(1)] = 1
    precision: Literal["float32", "tf32", "bfloat16"] = added_later("float32")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ids and specs, see `plain`."""
        return plain(self)

    def of(self, target: type[Target]) -> "TrainingConfig":
        """These settings with the target's beta1 if none is set; Refused for one that the target does not read."""
        for name, reason in target.unread_training().items():
            if getattr(self, name) != getattr(TrainingConfig, name):
                raise Refused(f"training.{name}: {target.name} {reason}; leave it out")
        return replace(self, beta1=target.beta1) if self.beta1 is None else self


Around = Callable[[RecordGradients, Target, TrainingFacts], RecordGradients]
"""Wraps a gradient rule in another one, which may add a network to the target."""


class Trainer:
    """Trains one target on fixed records, up to any requested step.

    Ordinary training takes B records per step from consecutive shuffled orders of the records; an arm may sample
    otherwise. An epoch is n records, n being the nominal size, so that a cell has the same budget in every replicate.
    """

    def __init__(
        self,
        target: Target,
        records: Records,
        config: TrainingConfig,
        arm: Arm,
        streams: Streams,
        key: bytes | None = None,
        device: torch.device | str = "cpu",
        horizon: int | None = None,
        around: Around | None = None,
    ) -> None:
        """key: of all draws but the initialization, for an arm with a guarantee; None for a new one, except in tests.

        horizon: the maximal number of steps; required by an arm with a target epsilon, whose noise depends on it.

        around: wraps the arm's gradient rule. Refused if target, arm, sizes and precision do not fit together.
        """
        self.config = config = config.of(type(target))
        self.arm = arm
        self.streams = streams
        self.train_size = records.train_size
        self.horizon = horizon
        if reason := (
            arm.refusal(target)
            or arm.training_refusal(records.train_size, config.batch_size, records.nominal_persons)
            or precision.refusal(config.precision, arm)
        ):
            raise Refused(reason)
        target.initialize(streams.child("initialization"))
        arm.modify(target)
        self.target = placed(target, device)
        records = records.chosen(arm.parts(records.images, streams))
        self.images = torch.from_numpy(np.ascontiguousarray(records.images)).to(device)
        self.secret = SecretDraws(key)
        facts = TrainingFacts(
            records=len(records.images),
            train_size=records.train_size,
            batch_size=config.batch_size,
            streams=streams,
            secret=self.secret,
            horizon=horizon,
            persons=records.persons,
        )
        self.batches = arm.batches(facts) or Ordered(streams, len(records.images), config.batch_size)
        rule, self.accountant = arm.gradients(facts)
        self.optimizers = target.optimizers(config.learning_rate, config.beta1)
        self.learner = OneTraining(
            target,
            {name: precision.computing(target.get_submodule(name), config.precision) for name in target.networks},
            self.optimizers,
            around(rule, target, facts) if around else rule,
        )
        self.draws, self.layer_draws = self._draws(device)
        self.contrast = records.contrast
        if self.contrast:
            self._contrast = torch.from_numpy(np.ascontiguousarray(self.contrast.images)).to(device)
        self.step = 0
        self.history: list[Epoch] = []
        self._epoch_values: dict[str, list[torch.Tensor]] = defaultdict(list)
        self._epoch_seconds = 0.0

    @property
    def epoch(self) -> int:
        """Completed epochs."""
        return epochs_of(self.step, self.train_size, self.config.batch_size)

    @property
    def next_epoch_step(self) -> int:
        """The step at which the current epoch ends."""
        return steps_of(self.epoch + 1, self.train_size, self.config.batch_size)

    @property
    def generator_steps(self) -> int:
        """Generator updates so far."""
        return self.step if isinstance(self.target, PerRecord) else math.ceil(self.step / self.config.generator_every)

    @property
    def epsilon(self) -> float | None:
        """epsilon(delta) of the private steps that the accountant has counted; None without a guarantee."""
        return self.arm.epsilon_of(self.accountant.history) if self.accountant else None

    def run_to(self, step: int) -> None:
        """Train until `step` steps (discriminator updates, if any) are done; completed epochs go to `history`.

        ValueError if `step` is beyond the horizon.
        """
        if self.horizon is not None and step > self.horizon:
            raise ValueError(f"step {step} is beyond the horizon of {self.horizon} steps")
        with tf32(self.config.precision == "tf32"):
            self._run_to(step)

    def _run_to(self, step: int) -> None:
        started = time.perf_counter()
        self.target.train()
        random_layers = self.random_layers
        while self.step < step:
            for layer in random_layers:
                layer.begin(self.layer_draws, self.step)
            values = self.learner.step(self.batch())
            self.arm.weights(self.target)
            started = self.count(values, started)
        self.pause(started)
        for layer in random_layers:
            layer.end()
        self.target.eval()

    @property
    def random_layers(self) -> list[RandomLayer]:
        """The layers that need random numbers in each step."""
        return [module for module in self.target.modules() if isinstance(module, RandomLayer)]

    def batch(self) -> Batch:
        """The input of the next step."""
        rows = self.batches.rows(self.step).repeated(self.arm.rows_per_record)
        known = self.contrast.per_step(self.config.batch_size) if self.contrast else 0
        fakes = self.config.batch_size - known
        wanted = self.target.draws(len(rows.index), fakes, known)
        real = to_float(self.images[rows.index.to(self.images.device)]).contiguous(memory_format=torch.channels_last)
        return Batch(
            real=self.arm.inputs(real, self._draw),
            rows=rows,
            draws={name: self._draw(name, draw) for name, draw in wanted.items()},
            fakes=fakes,
            generator_learns=fakes > 0 and self.step % self.config.generator_every == 0,
            contrast=self._known(known) if known else None,
        )

    def count(self, values: Mapping[str, torch.Tensor], started: float) -> float:
        """Count a finished step and its scalars. Returns the time from which the current epoch's seconds count.

        started: that time before the step, by `time.perf_counter`.
        """
        end_of_epoch = self.next_epoch_step
        self.step += 1
        for key, value in values.items():
            self._epoch_values[key].append(value)
        if self.step < end_of_epoch:
            return started
        means = {key: float(torch.stack(values).mean()) for key, values in self._epoch_values.items()}
        now = time.perf_counter()
        self.history.append(Epoch(self.epoch, self.step, self._epoch_seconds + now - started, means))
        self._epoch_values.clear()
        self._epoch_seconds = 0.0
        return now

    def pause(self, started: float) -> None:
        """Keep the seconds spent in the unfinished epoch."""
        self._epoch_seconds += time.perf_counter() - started

    def _draw(self, purpose: str, draw: Draw) -> torch.Tensor:
        return self.draws(purpose, self.step, draw)

    def _known(self, count: int) -> torch.Tensor:
        return to_float(self._contrast[self._draw("contrast", index_draw(count, below=len(self._contrast)))])

    def _draws(self, device: torch.device | str) -> tuple[Draws, Draws]:
        """Draws of steps and of layers: functions of the seed, or of the key if there is a guarantee."""
        streams = self.secret.streams if self.arm.guaranteed else self.streams
        return Draws(streams, device), Draws(streams, device, STEP)

    def state(self, unsealed: bool = False) -> State:
        """A state from which `restore` resumes bit for bit.

        unsealed: include what may be kept only while training goes on: the seconds of the unfinished epoch and, for an
        arm with a guarantee, its values and the key, which reveals the noise. Without these, equal trainings have equal
        states, and a private training resumes with a new key.
        """
        # A step's values depend on its sample: those of a private step are kept only together with its key.
        kept = self._epoch_values if unsealed or not self.arm.guaranteed else {}
        return State.of(
            self.target,
            self.optimizers,
            version=VERSION,
            step=self.step,
            history=self.history,
            begun_epoch={key: [float(value) for value in values] for key, values in kept.items()},
            begun_seconds=self._epoch_seconds if unsealed else 0.0,
            spent=self.accountant.history if self.accountant else (),
            key=self.secret.key if unsealed and self.arm.guaranteed else None,
        )

    def restore(self, tensors: dict[str, torch.Tensor], rest: dict[str, Any]) -> None:
        """Resume from a state; ValueError if it is not one of this training, or has another arm's noise or sampling."""
        state = State(tensors, rest)
        state.check(self.target, self.optimizers, VERSION, self.horizon, private=self.accountant is not None)
        if self.accountant:
            self.accountant.restore(rest["spent"])
        elif rest["spent"]:
            raise ValueError(f"a state that has spent {rest['spent']} does not belong to the arm {self.arm.label}")
        state.load(self.target, self.optimizers)
        self.step = rest["step"]
        self.history = [Epoch(**row) for row in rest["history"]]
        self._epoch_values.clear()
        self._epoch_seconds = rest["begun_seconds"]
        if "key" in rest:
            self.secret.key = bytes.fromhex(rest["key"])
            self.draws, self.layer_draws = self._draws(self.images.device)
        for key, values in rest["begun_epoch"].items():
            self._epoch_values[key] = [torch.tensor(value, device=self.images.device) for value in values]
