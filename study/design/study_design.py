"""A study's design: its spec on its data, and all trials that follow from both."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from mia_core.data import Membership, Pool, Split
from mia_core.data.given_split import Given
from mia_core.defenses import accounting
from mia_core.hashing import array_digest
from mia_core.metrics.extractor import Recipe
from mia_core.models import Model, SampleFolder
from mia_core.persons import PERSON, nominal_persons
from study.design import identity
from study.design.control_trials import Controls
from study.design.making import TrialMaker
from study.design.refusals import refused_pairs, require_attacks, require_quality
from study.design.release_controls import ReleaseControls
from study.design.release_fitted import Released
from study.design.trials import Trial
from study.design.wanted import Attacks, Measures
from study.spec.factors import Cell
from study.spec.study_file import Spec
from study.store.roles import ADAPTIVE, FIRST_SHADOW, HELD_OUT, MEMBER_ONLY, NULL, SHADOW, STUDY


class Design:
    """A spec on its data: the split, the extractor's recipe and all trials. Refused when something does not fit.

    trials: those of the study, the only ones that effects are estimated from (unless a search chose them). shadows:
    trainings of the same cells, which derived attacks take as their reference. controls: the others. no_control: why a
    control is left out, by its name. refused: why arms do not fit targets, by the arm and the target's label. released:
    what was given, in a study of a release, whose spec here has the number of members as its one training-set size, and
    attacks by no more samples than there are.
    """

    def __init__(self, spec: Spec, pool: Pool) -> None:
        self.released = None if spec.release is None else Released.of(spec, pool)
        self._released_models: dict[str, Model] = {}
        if self.released is not None:
            spec = self.released.spec
        self.spec = spec
        self.pool = pool
        self.split: Split = spec.split.build(pool, spec.train_sizes, spec.seed)
        self.split.check_sizes(spec.replicates, spec.train_sizes)
        self.recipe = Recipe(
            config=spec.quality.extractor,
            data=pool.digest,
            reference=array_digest(self.split.reference),
            image_shape=pool.image_shape,
            classes=int(pool.labels.max()) + 1,
            seed=spec.seed,
        )
        self.attacks = Attacks(spec, self.split, self.recipe)
        self.measures = Measures(spec, self.split, self.recipe)
        require_quality(spec, self.split, self.recipe, self.measures)
        targets, self.refused = refused_pairs(spec, pool)
        require_attacks(spec, targets.values(), self.attacks)
        maker = TrialMaker(spec, pool, self.split, targets, self.attacks, self.measures)
        self.cells = tuple(cell for cell in spec.cells if (cell.arm, cell.label) not in self.refused)
        controls: Controls | ReleaseControls
        if self.released is not None:
            self.trials: tuple[Trial, ...] = (maker.released(self.released),)
            controls = ReleaseControls(spec, self.split, maker, self.trials[0], self.released.release.facts)
        else:
            self.trials = tuple(
                maker.trained(cell, replicate, level, ADAPTIVE if spec.search else STUDY)
                for replicate in range(spec.replicates)
                for cell in self.cells
                for level in cell.levels
            )
            controls = Controls(spec, self.split, maker, self.cells)
        self.shadows = tuple(
            maker.trained(cell, FIRST_SHADOW + number, level, SHADOW)
            for number in range(spec.shadows)
            for cell in self.cells
            for level in cell.levels
        )
        self.controls, self.no_control = controls.trials, controls.left_out

    @property
    def hash(self) -> str:
        """Names this design in the store: the spec, on these data (and of this release), under this format."""
        given = () if self.released is None else (self.released.release.identity,)
        return identity.design_id(self.spec, self.pool, self.measures.versions, *given)

    @property
    def every(self) -> tuple[Trial, ...]:
        """The trials of the study, then their shadows, then controls."""
        return self.trials + self.shadows + self.controls

    def membership(self, trial: Trial) -> Membership:
        """Training set and queries of a trial."""
        if trial.role == HELD_OUT:
            return self._given.held_out(trial.replicate)[1]
        of = {NULL: self.split.null, MEMBER_ONLY: self.split.member_only}.get(trial.role, self.split.membership)
        return of(trial.replicate, trial.cell.train_size)

    def given_model(self, trial: Trial, device: str = "cpu") -> Model:
        """What a trial of a release attacks: the release itself, or non-members in place of its samples.

        The release is one model for all trials, so that they share the samples that it drew.
        """
        assert self.released is not None
        if trial.role == HELD_OUT:
            stand_in, _ = self._given.held_out(trial.replicate)
            return SampleFolder(self.pool.images[stand_in], device)
        if device not in self._released_models:
            self._released_models[device] = self.released.release.model(device)
        return self._released_models[device]

    @property
    def _given(self) -> Given:
        assert isinstance(self.split, Given)
        return self.split

    @property
    def points(self) -> Iterator[tuple[int, Trial]]:
        """Of a design that draws, each point's number and trial, in every replicate; but for pairs that do not fit."""
        if not self.spec.points:
            return
        trials = {(id(trial.cell), trial.level, trial.replicate): trial for trial in self.trials}
        for replicate in range(self.spec.replicates):
            for number, (cell, level) in enumerate(self.spec.points):
                if trial := trials.get((id(self.spec.cells[cell]), level, replicate)):
                    yield number, trial

    @cached_property
    def trajectories(self) -> dict[str, tuple[Trial, ...]]:
        """Trials by the training run they share, levels ascending."""
        groups: dict[str, list[Trial]] = {}
        for trial in self.every:
            groups.setdefault(trial.trajectory_id, []).append(trial)
        return {name: tuple(trials) for name, trials in groups.items()}

    def persons(self, cell: Cell) -> int | None:
        """The nominal number of persons of a training set of a cell whose privacy unit they are; None of others."""
        return nominal_persons(self.pool.units, cell.train_size) if cell.arm.unit == PERSON else None

    def sampling_rate(self, cell: Cell) -> float:
        """Probability of a unit, a record or a person, in a step of private training."""
        return cell.arm.sampling_rate(cell.train_size, cell.training.batch_size, self.persons(cell))

    def epsilon(self, trial: Trial) -> float | None:
        """epsilon(delta) of a trial once it is trained; None for arms without a guarantee."""
        return trial.cell.arm.epsilon(self.sampling_rate(trial.cell), trial.steps, trial.steps)

    def sigma(self, trial: Trial) -> float | None:
        """The noise multiplier of a trial, by its steps where its arm has a target epsilon; None without noise."""
        return trial.cell.arm.sigma(self.sampling_rate(trial.cell), trial.steps)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "answers": dict(accounting.ANSWERS)}  # a plan's epsilons, which workers would repeat

    def __setstate__(self, state: dict[str, Any]) -> None:
        accounting.ANSWERS.update(state.pop("answers"))
        self.__dict__.update(state)
