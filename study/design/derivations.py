"""What can be derived from scores that are sealed: each derived attack in each cell, with the ids of its rows.

Scores are taken from a whole cell: of all of its trials (and shadows) but those whose training diverged. While one is
missing nothing is derived there. An id has the seals of the scores used: where each replicate has all others as its
reference, a cell with more replicates has other rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from study.design import identity
from study.design.study_design import Design
from study.design.trials import Trial
from study.design.wanted import WantedAttack
from study.spec.derived_entries import FEWEST_REPLICATES, DerivedEntry

Marker = Mapping[str, Any]


@dataclass(frozen=True)
class Derivation:
    """A derived attack in one cell, at one level of its budget.

    trials: targets that it attacks. shadows: their reference; without any, the other trials are, if it takes one.
    bases: what a target was attacked with whose scores are taken. ids: of its rows, by trial id.
    """

    entry: DerivedEntry
    trials: tuple[Trial, ...]
    shadows: tuple[Trial, ...]
    bases: tuple[WantedAttack, ...]
    ids: Mapping[str, str]

    def reference(self, trial: Trial) -> tuple[Trial, ...]:
        """Whose scores and coins are the reference of one of the trials."""
        return self.shadows or tuple(reference_of(self.entry, self.trials)[self.trials.index(trial)])

    @property
    def trainings(self) -> tuple[Trial, ...]:
        """All whose scores it takes."""
        return self.trials + self.shadows

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Trials and attacks, by id, whose scores it takes."""
        return [(trial.trial_id, base.attack_id) for trial in self.trainings for base in self.bases]


class Derivations:
    """All of a design that can be derived from what some markers seal. markers: by pass, that count."""

    def __init__(self, design: Design, markers: Mapping[str, Marker]) -> None:
        self.design = design
        self.seals: dict[tuple[str, str], str] = {}
        self.diverged: set[str] = set()
        for marker in markers.values():
            if marker.get("flags"):
                self.diverged.add(marker["trial_id"])
            found = [seal["sha256"] for file, seal in marker["files"].items() if file.startswith("scores/")]
            for attack_id in marker["work"]["attacks"] if found else ():
                self.seals.setdefault((marker["trial_id"], attack_id), found[0])

    @cached_property
    def found(self) -> tuple[Derivation, ...]:
        """In the order of the design's trials, and of the entries of the spec."""
        return tuple(
            derivation
            for key, trials in self._levels(self.design.trials).items()
            for entry in self.design.spec.derived
            if (derivation := self._derivation(entry, trials, self._shadows.get(key, ())))
        )

    @cached_property
    def _shadows(self) -> dict[tuple[int, int], list[Trial]]:
        return self._levels(self.design.shadows)

    @staticmethod
    def _levels(trials: Iterable[Trial]) -> dict[tuple[int, int], list[Trial]]:
        """Trials by cell and level, replicates ascending."""
        found: dict[tuple[int, int], list[Trial]] = {}
        for trial in trials:
            found.setdefault((id(trial.cell), trial.steps), []).append(trial)
        return found

    @cached_property
    def _has_persons(self) -> bool:
        split = self.design.split
        units = split.units[split.judged]
        return len(np.unique(units)) < len(units)

    def _derivation(self, entry: DerivedEntry, trials: Sequence[Trial], shadows: Sequence[Trial]) -> Derivation | None:
        """None where it does not fit, or scores are missing."""
        cls, never_members = entry.choice.cls, len(self.design.split.never_members)
        trials, shadows = ([one for one in some if one.trial_id not in self.diverged] for some in (trials, shadows))
        shadows = shadows if cls.needs_reference else []
        bases = (
            tuple(wanted for label in entry.bases for wanted in trials[0].attacks if wanted.label == label)
            if trials
            else ()
        )
        if len(bases) < len(entry.bases) or any(base.skipped for base in bases):
            return None
        if cls.needs_persons and not self._has_persons:
            return None
        if cls.needs_reference and not shadows and (self.design.spec.shadows or len(trials) < FEWEST_REPLICATES):
            return None
        if cls.needs_shadows and not shadows:
            return None
        if never_members < entry.choice.build().fewest_never_members:
            return None
        seals = {
            trial.trial_id: [
                f"{trial.trial_id} {self.seals.get((trial.trial_id, base.attack_id), '')}" for base in bases
            ]
            for trial in (*trials, *shadows)
        }
        if any(seal.endswith(" ") for own in seals.values() for seal in own):
            return None
        names = [base.attack_id for base in bases]
        ids = {
            one.trial_id: identity.derived_id(entry.choice, names, [seal for by in used for seal in seals[by.trial_id]])
            for one, used in zip(trials, _used(entry, trials, shadows), strict=True)
        }
        return Derivation(entry, tuple(trials), tuple(shadows), bases, ids)


def reference_of(entry: DerivedEntry, trials: Sequence[Trial]) -> list[list[Trial]]:
    """Of each trial, by replicate, the others that are its reference, where there are no shadows."""
    if not entry.choice.cls.needs_reference:
        return [[] for _ in trials]
    return [[trials[place] for place in np.flatnonzero(row).tolist()] for row in entry.choice.cls.uses(len(trials))]


def _used(entry: DerivedEntry, trials: Sequence[Trial], shadows: Sequence[Trial]) -> list[list[Trial]]:
    """Of each trial, all whose scores its own are derived from, in an order that is the same for equal sets."""
    if shadows:
        return [[trial, *shadows] for trial in trials]
    if entry.choice.cls.needs_reference and not entry.choice.cls.learns_direction:
        return [list(trials)] * len(trials)
    return [[trial, *found] for trial, found in zip(trials, reference_of(entry, trials), strict=True)]
