"""What is known of one release: what is released, attacks with their scores, controls, copies, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mia_core.access import CAPABILITIES
from mia_core.metrics.copies import rank_of


@dataclass(frozen=True)
class Scored:
    """One attack on the release. family: equal for one attack at several numbers of samples.

    uses: capabilities of the model. released: samples seen, 0 for none. score, member, unit [Q]: unit numbers persons.
    """

    label: str
    family: str
    access: str
    knowledge: str
    uses: frozenset[str]
    released: int
    score: np.ndarray
    member: np.ndarray
    unit: np.ndarray

    @property
    def fitted(self) -> bool:
        """Whether it learns from known members or non-members."""
        return "known_" in self.knowledge

    @property
    def persons(self) -> np.ndarray | None:
        """`unit`, or None where every record is a person of its own."""
        return self.unit if len(np.unique(self.unit)) < len(self.unit) else None


@dataclass(frozen=True)
class Control:
    """One verdict. standing: shown, inconclusive, failed, or None where it was not run, for the reason in `words`.

    auc, error: the AUC with its standard error where nothing differs. smallest: the AUC that blind would have found
    with probability .8; None of other controls.
    """

    name: str
    attack: str
    standing: str | None
    words: str
    auc: float | None = None
    error: float | None = None
    p: float | None = None
    smallest: float | None = None


@dataclass(frozen=True)
class CopiesFound:
    """Of `samples` samples: called, how many are called copies, None where too few unseen records tell what a copy is;
    equal: how many equal a member; alpha, unseen, several: as of `false_copies`. members, persons: shares that are
    copied.
    """

    samples: int
    called: int | None
    equal: int
    alpha: float | None = None
    unseen: int | None = None
    members: float | None = None
    persons: float | None = None
    several: bool = False

    @property
    def by_chance(self) -> float | None:
        """The expected false-copy rate."""
        if self.called is None or self.alpha is None or self.unseen is None:
            return None
        return rank_of(self.alpha, self.unseen) / (self.unseen + 1)


@dataclass(frozen=True)
class Guarantee:
    """Differential privacy as the user states it, for adding or removing one `unit`."""

    epsilon: float
    delta: float
    unit: str


@dataclass(frozen=True)
class Evidence:
    """All that a release is judged by.

    released: name, words, sha256, offers, count, recipient, notes. given: numbers of records and persons, holdout,
    left_out, notes. skipped: attacks that could not be tried, with reasons. about: data description; digest: of the
    records. versions: of the programs. pairs: copied records by file name, private.
    """

    released: Mapping[str, Any]
    given: Mapping[str, Any]
    attacks: Sequence[Scored]
    controls: Sequence[Control]
    copies: CopiesFound | None
    guarantee: Guarantee | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    versions: Mapping[str, Any] = field(default_factory=dict)
    pairs: Sequence[Mapping[str, Any]] = ()

    @property
    def offers(self) -> tuple[str, ...]:
        """Capabilities that the release gives away, from least to most access."""
        return tuple(name for name in CAPABILITIES if name in self.released["offers"])

    @property
    def full(self) -> list[Scored]:
        """Of each family of attacks the one that saw the most samples; these are what limits are compared with."""
        most: dict[str, Scored] = {}
        for attack in self.attacks:
            if attack.family not in most or attack.released > most[attack.family].released:
                most[attack.family] = attack
        return list(most.values())

    @property
    def uncovered(self) -> list[str]:
        """Capabilities that are given away and that no attack used."""
        used = frozenset[str]().union(*(attack.uses for attack in self.attacks))
        return [name for name in self.offers if name not in used]

    def control(self, name: str) -> list[Control]:
        """All verdicts of one control."""
        return [control for control in self.controls if control.name == name]
