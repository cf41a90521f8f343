"""One training run: begun or taken up again, trained level by level, with checkpoints by the clock."""

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from mia_core.data import Membership
from mia_core.errors import Refused
from mia_core.persons import PERSON, Persons
from mia_core.streams import Streams
from mia_core.targets import Target, placed
from mia_core.training import Trainer
from mia_core.training_records import Records
from study.design.identity import trial_id
from study.design.study_design import Design
from study.design.trials import Trial
from study.run.canary_audit import canaries_of
from study.store import Damaged, Store
from study.store.reading import trial_tables
from study.store.roles import CANARY
from study.store.tensors import parse_tensors

PROGRESS_SECONDS = 2.0
"""Progress of a training is reported no more often than this."""

TrainingProgress = Callable[[int, int, Mapping[str, float]], None]
"""Called with the step, the steps of the level that is trained, and means over the last whole epoch."""


def new_trainer(design: Design, trial: Trial, membership: Membership, device: str, key: bytes | None = None) -> Trainer:
    """A trainer at step 0. key: of private draws, a fresh one for None."""
    cell = trial.cell
    canaries = canaries_of(design, trial) if trial.role == CANARY else None
    images = design.pool.images[membership.train]
    persons = Persons.of(design.pool.units, membership.train, cell.train_size) if cell.arm.unit == PERSON else None
    if canaries:
        images, persons = canaries.join(images), canaries.join_persons(persons) if persons else None
    return Trainer(
        target=cell.target.build(design.pool.image_shape),
        records=Records(images, cell.train_size, persons),
        config=cell.training,
        arm=cell.arm,
        streams=Streams("training", design.spec.seed, trial.replicate),
        key=key,
        device=device,
        horizon=trial.steps if cell.arm.needs_horizon else None,
        around=canaries.around if canaries else None,
    )


class Trajectory:
    """The training run that the trials of one trajectory share. Nothing is built before a level has to be trained.

    seconds: spent training so far, also by earlier attempts. diverged: whether a weight or a loss was not finite, after
    which nothing more is trained. progress: called at ends of epochs. key: of private draws,
    for tests; a checkpoint keeps it while the trajectory runs, and nothing that is sealed does. An extension of what is
    sealed, and a training that is done again, draw a new one, so their bits are others.
    """

    def __init__(
        self,
        design: Design,
        store: Store,
        membership: Membership,
        device: str,
        progress: TrainingProgress | None = None,
        key: bytes | None = None,
    ) -> None:
        self.design = design
        self.store = store
        self.membership = membership
        self.device = device
        self.progress = progress
        self.key = key
        self.seconds = 0.0
        self.diverged = False
        self._trainer: Trainer | None = None
        self._saved = self._reported = 0.0
        self._means: Mapping[str, float] = {}

    @property
    def begun(self) -> bool:
        """Whether any level was trained here."""
        return self._trainer is not None

    @property
    def trainer(self) -> Trainer:
        """As it stands; only after `train`."""
        assert self._trainer is not None
        return self._trainer

    def train(self, trial: Trial) -> None:
        """Train to a trial's level, from the latest state that there is, unless training diverges."""
        if self._trainer is None:
            self._trainer, self.seconds = self._begin(trial)
        trainer, before = self._trainer, self.seconds
        started = time.perf_counter()
        while trainer.step < trial.steps and not self.diverged:
            trainer.run_to(min(trainer.next_epoch_step, trial.steps))
            now = time.perf_counter()
            due = now - self._saved > self.design.spec.compute.checkpoint_seconds
            self.diverged = _has_odd_loss(trainer) or (due and not _has_finite_weights(trainer))
            if self.diverged:
                break
            self._report(now, trial)
            if due:
                tensors, state = trainer.state(unsealed=True)
                seconds = before + now - started
                self.store.save_checkpoint(trial.trajectory_id, tensors, {**state, "seconds": seconds})
                self._saved = now
        self.diverged = self.diverged or not _has_finite_weights(trainer) or _has_odd_begun_loss(trainer)
        self.seconds = before + time.perf_counter() - started

    def target(self, trial: Trial) -> Target:
        """The target at a trial's level: as it was just trained, or as the store kept it."""
        if self._trainer is not None and self._trainer.step == trial.steps:
            return self._trainer.target
        tensors, _ = self.store.sealed_tensors(f"targets/{trial.trial_id}", trial.trial_id)
        target = trial.cell.target.build(self.design.pool.image_shape)
        trial.cell.arm.modify(target)
        target.load_state_dict(tensors)
        return placed(target, self.device).eval()

    def _begin(self, trial: Trial) -> tuple[Trainer, float]:
        """A trainer at the latest state not beyond the trial, and its seconds: a checkpoint, a sealed state, step 0."""
        trainer = new_trainer(self.design, trial, self.membership, self.device, self.key)
        self._saved = time.perf_counter()
        ended_with = partial(trial_id, trial.trajectory_id)
        sealed = [step for step in self.store.resume_steps(trial.trajectory_id, ended_with) if step <= trial.steps]
        for checkpoint in self.store.checkpoints(trial.trajectory_id, trial.steps):
            with contextlib.suppress(ValueError):  # whole, but no state of this training: an earlier one is taken
                seconds = _seconds(checkpoint[1], max(sealed, default=0), trial.steps)
                trainer.restore(*checkpoint)
                return trainer, seconds
            trainer = new_trainer(self.design, trial, self.membership, self.device, self.key)
        if not sealed:
            return trainer, 0.0
        ended = ended_with(sealed[-1])
        relative, data = self.store.sealed_file(f"resume/{trial.trajectory_id}-{sealed[-1]}", ended)
        try:
            trainer.restore(*parse_tensors(data))
            if trainer.step != sealed[-1]:
                raise Refused(f"is of step {trainer.step}")
        except ValueError as error:
            raise Damaged(f"{self.store.uri}/{relative}: {error}") from None
        _, before = trial_tables(self.store, ended)
        return trainer, float(before["trials"]["seconds_train"].iloc[0])

    def _report(self, now: float, trial: Trial) -> None:
        trainer = self.trainer
        if trainer.history:
            self._means = trainer.history[-1].means
        if self.progress and now - self._reported >= PROGRESS_SECONDS:
            self.progress(trainer.step, trial.steps, self._means)
            self._reported = now


def _seconds(state: Any, least: int, most: int) -> float:
    """Seconds of training until a checkpoint; ValueError for one outside of these steps, or an odd one."""
    step, seconds = (state.get("step"), state.get("seconds")) if isinstance(state, dict) else (None, None)
    if not isinstance(step, int) or not least <= step <= most:
        raise Refused(f"no checkpoint from step {least} to {most}")
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
        raise Refused(f"no checkpoint takes {seconds!r} seconds")
    return float(seconds)


def _has_finite_weights(trainer: Trainer) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in trainer.target.state_dict().values())


def _has_odd_loss(trainer: Trainer) -> bool:
    """Whether a mean over an epoch is not finite."""
    return not all(math.isfinite(value) for epoch in trainer.history for value in epoch.means.values())


def _has_odd_begun_loss(trainer: Trainer) -> bool:
    """The same of the steps of an epoch in whose midst a level ends."""
    if trainer.history and trainer.history[-1].step == trainer.step:
        return False
    _, state = trainer.state(unsealed=True)
    return not all(math.isfinite(value) for values in state["begun_epoch"].values() for value in values)
