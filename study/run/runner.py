"""Running one trajectory: train to each level, measure, attack, seal; or only what is missing on kept targets."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mia_core.data import Membership
from mia_core.models import Copycat, Model, Snapshot
from mia_core.streams import Streams
from mia_core.targets import Target
from study.design.study_design import Design
from study.design.trials import Trial
from study.design.work import Work
from study.machine import explaining_kernels, peak_bytes
from study.plan.disk import GRID
from study.run.adversary import Adversary
from study.run.attack_row import without_target
from study.run.canary_audit import audit
from study.run.measuring import QualityMeasuring, unmeasured
from study.run.pass_content import PassContent
from study.run.record_losses import record_losses
from study.run.trajectory import TrainingProgress, Trajectory
from study.run.trial_row import history_rows, row_of_a_later_level, trial_row
from study.store import Damaged, Store
from study.store.reading import trial_tables
from study.store.roles import BLIND, BLIND_FILES, CANARY, COPYCAT, RELEASE
from study.store.rows import DIVERGED, QualityRow, TrialRow


@dataclass(frozen=True)
class Sealed:
    """What one pass did, for progress and for the log. failed: attacks that raised, with their tracebacks."""

    trial: Trial
    seconds: float
    failed: dict[str, str]


class Runner:
    """Runs trajectories of one study in this process; what they share is loaded once.

    code: `code_versions()` of the driver, which workers may be unable to find out; kept with each trial. progress: of
    trainings. key: of private draws, for tests of their bits; None gives each training a fresh one.
    """

    def __init__(
        self,
        design: Design,
        store: Store,
        device: str = "cpu",
        code: Mapping[str, str] | None = None,
        progress: TrainingProgress | None = None,
        key: bytes | None = None,
    ) -> None:
        self.design = design
        self.store = store
        self.device = device
        self.code = code or {}
        self.progress = progress
        self.key = key
        self.measuring = QualityMeasuring(design, store)
        self.adversary = Adversary(design, device, lambda: self.measuring.spaces.network[0])

    def run(self, works: Sequence[Work]) -> Iterator[Sealed]:
        """Do the work on one trajectory, a pass at a time; an exception leaves sealed passes and checkpoints behind."""
        with explaining_kernels():
            yield from self._run(works)

    def _run(self, works: Sequence[Work]) -> Iterator[Sealed]:
        trial = works[0].trial
        if not trial.steps:
            yield from (self._run_untrained(work) for work in works)
            return
        membership = self.design.membership(trial.of or trial)
        trajectory = Trajectory(self.design, self.store, membership, self.device, self.progress, self.key)
        if trial.role == CANARY:
            yield self._run_canaries(works[0], trajectory)
        else:
            last_trained = max((work.trial.steps for work in works if work.trains), default=None)
            for work in works:
                if work.trial.of:
                    yield self._run_again(work, work.trial.of, trajectory)
                else:
                    yield self._run_level(work, trajectory, resumable=work.trial.steps == last_trained)
        self.store.drop_checkpoints(trial.trajectory_id)

    def _content(self, work: Work) -> PassContent:
        return PassContent(self.store, work, self.design.spec.tracking is not None)

    def _run_level(self, work: Work, trajectory: Trajectory, resumable: bool) -> Sealed:
        """One level of a training. resumable: whether the state is kept, for a higher level to go on from."""
        started = time.perf_counter()
        trial, membership = work.trial, trajectory.membership
        content = self._content(work)
        begun = trajectory.begun and (work.train or work.retrain)
        before = None if begun else self._diverged_before(trial)
        if before is None and (work.train or work.retrain):
            trajectory.train(trial)
        if before is not None or trajectory.diverged:
            return self._seal_diverged(work, content, trajectory, before, started)
        target = trajectory.target(trial)
        snapshot = self._snapshot(target, trial)
        if work.train and not bool(torch.isfinite(snapshot.samples(GRID)).all()):
            trajectory.diverged = True
            return self._seal_diverged(work, content, trajectory, None, started)
        if work.train:
            losses = record_losses(self.design, trial, snapshot, membership)
            row = self._trial_row(trial, len(membership.train), trajectory, losses=losses)
            content.add_training(row, history_rows(trial, trajectory.trainer, self._last_step_below(trial)))
            if self.design.spec.keep_targets:
                content.add_target(target.state_dict())
            if resumable:
                content.add_resume_state(*trajectory.trainer.state())
            content.add_samples(snapshot)
        measured = self.measuring.measure(trial, work.measures, snapshot)
        content.add_copies(measured.pairs)
        attacked = self.adversary.attack(trial, work.attacks, snapshot, membership)
        content.seal(attacked, measured.rows, peak_bytes(self.device))
        return Sealed(trial, time.perf_counter() - started, attacked.failed)

    def _diverged_before(self, trial: Trial) -> Mapping[str, Any] | None:
        """The sealed row of a trial's training where it diverged, at the trial's level or at one below; else None."""
        levels = self.design.trajectories[trial.trajectory_id]
        steps = {other.trial_id: other.steps for other in levels if other.steps <= trial.steps and other.of is None}
        sealed = {name: done for name, done in self.store.done(steps).items() if done.train}
        last = max(sealed, key=lambda name: steps[name], default=None)
        if last is None or not sealed[last].diverged:
            return None
        _, tables = trial_tables(self.store, last, ("trials",))
        (row,) = tables["trials"].astype(object).where(tables["trials"].notna(), None).to_dict("records")
        return {str(name): value for name, value in row.items()}

    def _seal_diverged(
        self,
        work: Work,
        content: PassContent,
        trajectory: Trajectory,
        before: Mapping[str, Any] | None,
        started: float,
    ) -> Sealed:
        """A level whose training diverged, at it or `before`. Its target is kept in any case, so that what is added
        later finds the training done.
        """
        trial = work.trial
        if work.train and before is None:
            row = self._trial_row(trial, len(trajectory.membership.train), trajectory, DIVERGED)
            content.add_training(row, history_rows(trial, trajectory.trainer, self._last_step_below(trial)))
            content.add_target(trajectory.trainer.target.state_dict())
        elif work.train and before is not None:
            content.add_training(row_of_a_later_level(self.design, trial, before))
            content.add_target(self.store.sealed_tensors(f"targets/{before['trial_id']}", before["trial_id"])[0])
        content.seal(without_target(trial, work.attacks), unmeasured(trial, work.measures), peak_bytes(self.device))
        return Sealed(trial, time.perf_counter() - started, {})

    def _run_again(self, work: Work, of: Trial, trajectory: Trajectory) -> Sealed:
        """The one pass of a control that attacks the target of a trial again, as it was trained just now or is kept.

        Where it is not kept, the state that its training ended with is taken up, and nothing is trained.
        """
        started = time.perf_counter()
        trial, membership = work.trial, self.design.membership(work.trial)
        content = self._content(work)
        diverged = self._diverged_before(of) is not None
        if work.train:
            flags = DIVERGED if diverged else None
            content.add_training(self._trial_row(trial, len(membership.train), flags=flags))
        if diverged:
            content.seal(without_target(trial, work.attacks))
            return Sealed(trial, time.perf_counter() - started, {})
        try:
            target = trajectory.target(of)
        except Damaged:
            trajectory.train(of)
            target = trajectory.target(of)
        attacked = self.adversary.attack(trial, work.attacks, self._snapshot(target, trial), membership)
        content.seal(attacked)
        return Sealed(trial, time.perf_counter() - started, attacked.failed)

    def _run_untrained(self, work: Work) -> Sealed:
        """The one pass of a trial that trains nothing and keeps no target: a release, or a control."""
        started = time.perf_counter()
        trial, membership = work.trial, self.design.membership(work.trial)
        content = self._content(work)
        if work.train:
            content.add_training(self._trial_row(trial, len(membership.train)))
        rows: Sequence[QualityRow] = ()
        if trial.role in (BLIND, BLIND_FILES):
            attacked = self.adversary.blind(trial, work.attacks, membership)
        else:
            model = self._given_or_copycat(trial, membership)
            measured = self.measuring.measure(trial, work.measures, model)
            rows = measured.rows
            if trial.role == RELEASE and work.train:
                content.add_samples(model, self.design.spec.quality.samples)
                content.add_names(self.design.pool)
            content.add_copies(measured.pairs)
            attacked = self.adversary.attack(trial, work.attacks, model, membership)
        content.seal(attacked, rows)
        return Sealed(trial, time.perf_counter() - started, attacked.failed)

    def _given_or_copycat(self, trial: Trial, membership: Membership) -> Model:
        """A copycat is the training records themselves."""
        if trial.role == COPYCAT:
            return Copycat(self.design.pool.images[membership.train], self._samples(trial), self.device)
        return self.design.given_model(trial, self.device)

    def _run_canaries(self, work: Work, trajectory: Trajectory) -> Sealed:
        """The one pass of a training with canaries. It keeps nothing but the canaries' scores."""
        started = time.perf_counter()
        trial = work.trial
        content = self._content(work)
        trajectory.train(trial)
        diverged = trajectory.diverged
        if work.train:
            flags = DIVERGED if diverged else None
            content.add_training(self._trial_row(trial, len(trajectory.trainer.images), trajectory, flags))
        content.seal(without_target(trial, work.attacks) if diverged else audit(self.design, trial, trajectory.trainer))
        return Sealed(trial, time.perf_counter() - started, {})

    def _snapshot(self, target: Target, trial: Trial) -> Snapshot:
        return Snapshot(target, self._samples(trial))

    def _samples(self, trial: Trial) -> Streams:
        return Streams("samples", self.design.spec.seed, trial.replicate)

    def _trial_row(
        self,
        trial: Trial,
        members: int,
        trajectory: Trajectory | None = None,
        flags: str | None = None,
        losses: Mapping[str, float | None] | None = None,
    ) -> TrialRow:
        trained, seconds = (trajectory.trainer, trajectory.seconds) if trajectory else (None, 0.0)
        return trial_row(self.design, trial, members, self.device, self.code, trained, seconds, flags, losses)

    def _last_step_below(self, trial: Trial) -> int:
        """Of the sealed levels below: a restart may be before it, and the history until there is sealed already."""
        levels = self.design.trajectories[trial.trajectory_id]
        below = {other.trial_id: other.steps for other in levels if other.steps < trial.steps}
        return max((below[name] for name, done in self.store.done(below).items() if done.train), default=0)
