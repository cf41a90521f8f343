"""Making trials: from a cell, a replicate and a level to ids, attacks and measures."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mia_core.data import Pool, Split
from mia_core.defenses import Arm, labels_of
from mia_core.hashing import array_digest
from mia_core.settings import Choice, Nothing
from mia_core.targets import Target
from mia_core.training import TrainingConfig
from study.design import identity
from study.design.release_fitted import Released
from study.design.trials import Trial
from study.design.wanted import Attacks, Measures, WantedAttack
from study.spec.factors import Cell
from study.spec.study_file import Spec
from study.store.roles import MEMBER_ONLY, NULL, RELEASE, SHADOW, STUDIED, STUDY


class TrialMaker:
    """Makes the trials of one study. targets: by name and settings, for what they offer."""

    def __init__(
        self,
        spec: Spec,
        pool: Pool,
        split: Split,
        targets: Mapping[Choice[Target], Target],
        attacks: Attacks,
        measures: Measures,
    ) -> None:
        self.spec = spec
        self.pool = pool
        self.split = split
        self.targets = targets
        self.attacks = attacks
        self.measures = measures
        self._arms = labels_of(cell.arm for cell in spec.cells)

    def trained(
        self, cell: Cell, replicate: int, level: int, role: str = STUDY, canary: WantedAttack | None = None
    ) -> Trial:
        """A trial of a cell at a level of the budget. canary: the search for canaries, in place of attacks."""
        steps = cell.steps_of(level) if self.spec.budget == "epochs" else level
        besides: dict[str, Any] = {} if role == STUDY else {"role": role}
        if canary:
            besides["canary"] = canary.arguments
        if cell.arm.needs_horizon:
            besides["horizon"] = steps
        trajectory_id = identity.training_id(self.spec, self.pool, replicate, cell, **besides)
        target = self.targets[cell.target]
        queries = self._queries_digest(cell.train_size, replicate, role)
        return Trial(
            trial_id=identity.trial_id(trajectory_id, steps),
            trajectory_id=trajectory_id,
            cell=cell,
            replicate=replicate,
            steps=steps,
            attacks=(canary,) if canary else self._attacks(cell, level, target, queries, role),
            measures=self.measures.wanted if role in STUDIED else (),
            role=role,
            budget=self.spec.budget,
            arm=self._arms[cell.arm],
        )

    def _attacks(self, cell: Cell, level: int, target: Target, queries: str, role: str) -> tuple[WantedAttack, ...]:
        """All of a level; on a shadow those alone whose scores are the reference of derived attacks."""
        found = self.attacks.of(cell, level, target, queries)
        return found if role != SHADOW else tuple(item for item in found if item.label in self.spec.calibrating)

    def untrained(
        self,
        role: str,
        target: Choice[Target],
        train_size: int,
        replicate: int,
        wanted: tuple[WantedAttack, ...],
        made_of: Mapping[str, Any],
    ) -> Trial:
        """The trial of a control that trains nothing. made_of: what it judges or replays, for its id."""
        training = self.spec.cells[0].training if self.spec.cells else TrainingConfig()
        cell = Cell(train_size, Arm(), target, training, {})
        trajectory_id = identity.untrained_id(self.spec, self.pool, replicate, role, made_of)
        return Trial(identity.trial_id(trajectory_id, 0), trajectory_id, cell, replicate, 0, wanted, (), role)

    def released(self, given: Released) -> Trial:
        """The trial of a release: all attacks on it, and what it copies."""
        facts, queries = given.release.facts, self.split.queries_digest
        wanted = [item for entry in self.spec.attacks for item in self.attacks.levels(entry, facts, queries)]
        target: Choice[Target] = Choice(facts.name, Target, Nothing())  # type: ignore[type-abstract]
        made_of = {"release": given.release.identity}
        trial = self.untrained(RELEASE, target, self.split.smallest, 0, tuple(wanted), made_of)
        return replace(trial, measures=self.measures.wanted)

    def member_only(self, of: Trial, wanted: tuple[WantedAttack, ...]) -> Trial:
        """A trial's target, attacked again; see `Split.member_only`."""
        return replace(
            of,
            trial_id=identity.again_id(MEMBER_ONLY, of.trial_id),
            attacks=wanted,
            measures=(),
            role=MEMBER_ONLY,
            of=of,
        )

    def _queries_digest(self, train_size: int, replicate: int, role: str) -> str:
        if role != NULL:
            return self.split.queries_digest
        return array_digest(self.split.null(replicate, train_size).queries)[:16]
