"""The settings of one trial, as the column `config` of its row keeps them: written and parsed here alone."""

import json
import math
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mia_core.defenses import Arm
from mia_core.errors import Refused
from mia_core.hashing import canonical_json
from mia_core.offers import reading
from mia_core.persons import PERSON
from mia_core.settings import Choice, validate
from mia_core.targets import TARGETS, Target
from mia_core.training import TrainingConfig
from study.design.identity import LOOP, versions
from study.design.release_fitted import about_records
from study.design.study_design import Design
from study.design.trials import Trial
from study.spec.factors import Budget, budget_of
from study.spec.of_packages import PACKAGED, facts_of
from study.store.names import quoted
from study.store.roles import RELEASE


@dataclass(frozen=True)
class TrialConfig:
    """Plain values by name. Properties raise ValueError for what is of another version, and no setting of ours."""

    values: Mapping[str, Any]

    @classmethod
    def of(cls, design: Design, trial: Trial) -> "TrialConfig":
        """What a trial is to be trained with."""
        spec, persons = design.spec, design.persons(trial.cell)
        facts = facts_of([trial.cell.target], [trial.cell.arm])
        return cls(
            {
                "data": spec.data.to_dict(),
                "data_digest": design.pool.digest,
                "split": spec.split.to_dict(),
                **trial.cell.to_dict(),
                **({} if persons is None else {"persons": persons}),
                **_of_release(design, trial),
                "versions": versions(spec, trial.cell),
                trial.budget: trial.level,
                "replicate": trial.replicate,
                "seed": spec.seed,
                **({PACKAGED: facts} if facts else {}),
            }
        )

    @classmethod
    def parse(cls, text: str) -> "TrialConfig":
        """From JSON, as of `to_json`. ValueError for what is no mapping, such as a null."""
        values = json.loads(text) if isinstance(text, str) else None
        if not isinstance(values, dict):
            raise Refused(f"a trial's config is no mapping: {quoted(text)}")
        return cls(values)

    def to_json(self) -> str:
        """Canonical JSON."""
        return canonical_json(self.values)

    @cached_property
    def arm(self) -> Arm:
        """Level of the factor `defense`."""
        with self._reading():
            return Arm.parse(self.value("defense", (list, type(None))) or "none")

    @cached_property
    def target(self) -> Choice[Target]:
        """Level of the factor `target`, with its settings."""
        with self._reading():
            return TARGETS.choose(self.value("target", dict))

    def _reading(self) -> AbstractContextManager[None]:
        """Classes of packages are stand-ins, by what the trial says of them."""
        return reading(self.values.get(PACKAGED))

    @cached_property
    def training(self) -> TrainingConfig:
        """Of the target's training."""
        return validate(TrainingConfig, self.value("training", dict), "training")

    @property
    def train_size(self) -> int:
        """The nominal number of training records."""
        size: int = self.value("train_size", int)
        if size < 1:
            raise Refused(f"a trial's config has the train_size {size}")
        return size

    @property
    def persons(self) -> int | None:
        """The nominal number of persons trained on, where they are the privacy unit; None where records are."""
        if self.arm.unit != PERSON:
            return None
        persons: int = self.value("persons", int)
        if persons < 1:
            raise Refused(f"a trial's config has {persons} persons")
        return persons

    @property
    def budget(self) -> Budget:
        """What the level of training counts."""
        return budget_of(self.values)

    @property
    def versions(self) -> Mapping[str, int]:
        """Of what determines the trained target, where they are above 1."""
        found = self.value("versions", dict) if "versions" in self.values else {}
        return {name: number for name, number in found.items() if isinstance(number, int)}

    @property
    def sampling_rate(self) -> float:
        """Probability of a unit, a record or a person, in a step of private training.

        That of version 1 of the training loop went by steps of an epoch. ValueError for one that no study has.
        """
        train_size, batch_size = self.train_size, self.training.batch_size
        if self.versions.get(LOOP, 1) == 1:
            return 1 / math.ceil(train_size / batch_size)
        rate = self.arm.sampling_rate(train_size, batch_size, self.persons)
        if self.arm.poisson and rate > 1:
            raise Refused(f"a trial's config has a sampling rate above 1: {rate:g}")
        return rate

    @property
    def cell(self) -> str:
        """One text per cell: all settings but those that replicates and levels of the budget differ in."""
        apart = ("replicate", "epochs", "steps")
        return canonical_json({name: value for name, value in self.values.items() if name not in apart})

    @property
    def recipe(self) -> str:
        """One text per all that seconds a step depend on, besides the training-set size and the device."""
        return canonical_json([self.value(name, object) for name in ("data", "target", "training", "defense")])

    def value(self, name: str, kind: type | tuple[type, ...]) -> Any:
        """One of the values; ValueError where it is not there, or of another kind."""
        found = self.values.get(name, self)
        if found is self or not isinstance(found, kind) or isinstance(found, bool):
            raise Refused(f"a trial's config has no {name} of ours: {quoted(self.values.get(name))}")
        return found


def _of_release(design: Design, trial: Trial) -> dict[str, Any]:
    """What was given, and the records it is judged by, in words and counts without names."""
    if trial.role != RELEASE or design.released is None:
        return {}
    return {"release": design.released.about(), "given": about_records(design.pool, design.split)}


def parsed(texts: Iterable[str]) -> dict[str, TrialConfig]:
    """Configs by their texts, each parsed once."""
    return {text: TrialConfig.parse(text) for text in dict.fromkeys(texts)}
