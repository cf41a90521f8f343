"""The section `derived:`: attacks that are computed from sealed scores of the study's attacks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mia_core.derived import DERIVED, DerivedAttack
from mia_core.errors import Refused, shorten
from mia_core.settings import Choice, nearest
from study.spec.attack_entries import AttackEntry
from study.spec.bounds import MOST_ATTACK_LEVELS, require_at_most
from study.spec.values import unique
from study.store.names import is_word, quoted

BY_DEFAULT = "calibrated"
"""What is derived where a study file has no section `derived`: this, of the attack that audits claims."""
FEWEST_REPLICATES = 3
"""Of a study without shadows: each target then has two others as its reference."""


@dataclass(frozen=True)
class DerivedEntry:
    """One derived attack. label: unique in the study. bases: labels of the attacks' rows whose scores it takes."""

    label: str
    choice: Choice[DerivedAttack]
    bases: tuple[str, ...]

    def refusal(self, replicates: int, shadows: int, never_members: int) -> str | None:
        """Why it cannot be computed in a study with so many replicates, shadows and queries that are never members."""
        if never_members < (fewest := self.choice.build().fewest_never_members):
            return (
                f"{self.label} needs {fewest} queries that are never members, and the split has {never_members}; set "
                f"e.g. `split.extra_non_members: {2 * fewest}`"
            )
        if self.choice.cls.needs_shadows and not shadows:
            return f"{self.label} needs shadows, and the study trains none; set e.g. `shadows: 8`"
        if not self.choice.cls.needs_reference or shadows or replicates >= FEWEST_REPLICATES:
            return None
        return f"{self.label} needs {FEWEST_REPLICATES} replicates, or shadows, and replicates is {replicates}"

    def to_dict(self) -> dict[str, Any]:
        """The form a spec has."""
        return {**self.choice.to_dict(), "label": self.label, "base": list(self.bases)}


def derived_arguments(choice: Choice[DerivedAttack], bases: Sequence[str]) -> dict[str, Any]:
    """What a row says of a derived attack in `arguments`; its version where that is above 1."""
    version = choice.cls.version
    return {**choice.to_dict(), "bases": list(bases), **({"version": version} if version > 1 else {})}


def derived_of(arguments: str) -> tuple[Choice[DerivedAttack], int]:
    """The derived attack of a row's `arguments`, and the version that made the row. Refused for none that is known."""
    settings = json.loads(arguments)
    settings.pop("bases", None)
    version = settings.pop("version", 1)
    if type(version) is not int:
        raise Refused(f"derived attack: {shorten(repr(version))} is no version of one; the store's rows were changed")
    return DERIVED.choose(settings), version


def derived_entries(
    items: Sequence[Any] | None, attacks: Sequence[AttackEntry], primary: str | None
) -> tuple[DerivedEntry, ...]:
    """All derived attacks of a study; of None, the default one.

    An item is a name, or a mapping of a name, settings, `base` (one label or several; by default every attack after its
    last steps) and `label`. One that takes a single attack stands for as many as it has bases; one that combines takes
    the name of an attack for all of its settings. primary: the label of the attack that audits claims; the default is
    of it, or of the first attack where it is none of `attacks`. Refused for unknown bases, and for labels that are not
    unique.
    """
    if items is None:
        known = [attack.label for attack in attacks]
        items = [{"name": BY_DEFAULT, "base": primary if primary in known else known[0]}] if known else []
    found = [entry for number, item in enumerate(items) for entry in _entries(item, f"derived[{number}]", attacks)]
    require_at_most(len(found), MOST_ATTACK_LEVELS, "derived", "derived attacks", "ask fewer")
    labels = [label for attack in attacks for label in (attack.label, *attack.labels)]
    unique([entry.label for entry in found], "derived: label", "give each its own `label:`")
    for entry in found:
        if entry.label in labels:
            raise Refused(f"derived: the label {entry.label!r} is that of an attack; give it another `label:`")
    return tuple(found)


def _entries(item: Any, where: str, attacks: Sequence[AttackEntry]) -> list[DerivedEntry]:
    values = dict(item) if isinstance(item, Mapping) else {"name": item}
    label, base = values.pop("label", None), values.pop("base", None)
    choice = DERIVED.choose(values, where)
    bases = _bases(base, f"{where}.base", attacks, choice.cls.combines)
    if label is not None and not is_word(label):
        raise Refused(f"{where}.label: {quoted(label)} must be made of letters (a to z), digits, - and _")
    if choice.cls.combines:
        if len(bases) < 2:
            raise Refused(f"{where}.base: {choice.name} combines attacks, and needs at least two")
        several = isinstance(base, str)
        return [DerivedEntry(label or (f"{choice.name}_{base}" if several else choice.name), choice, bases)]
    if label is not None and len(bases) > 1:
        raise Refused(f"{where}.label: is for one attack, and there are {len(bases)} bases; name one `base:`")
    return [DerivedEntry(label or f"{choice.name}_{base}", choice, (base,)) for base in bases]


def _bases(given: Any, where: str, attacks: Sequence[AttackEntry], combined: bool) -> tuple[str, ...]:
    """Labels of rows: of an attack with levels of steps, its label stands for the last one.

    combined: whether the name of an attack, if no label, stands for all of its rows: `pia` for each of its times.
    """
    last = {attack.label: attack.labels[-1] for attack in attacks}
    rows = {label: label for attack in attacks for label in attack.labels}
    if given is None:
        found = tuple(last.values())
    else:
        words = [given] if isinstance(given, str) else given
        known: dict[str, tuple[str, ...]] = {label: (row,) for label, row in {**last, **rows}.items()}
        for attack in attacks if combined else ():
            own = tuple(label for other in attacks if other.choice.name == attack.choice.name for label in other.labels)
            known.setdefault(attack.choice.name, own)
        if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
            raise Refused(f"{where}: expected the label of an attack, or several, got {shorten(repr(given))}")
        if unknown := [word for word in words if word not in known]:
            raise Refused(f"{where}: unknown attack {shorten(repr(unknown[0]))}{nearest(unknown[0], known)}")
        found = tuple(dict.fromkeys(label for word in words for label in known[word]))
    if not found:
        raise Refused(f"{where}: the study has no attack whose scores could be taken; list one in `attacks`")
    return found
