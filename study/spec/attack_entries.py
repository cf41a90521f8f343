"""The section `attacks:`: its items, of which one with lists of settings stands for several attacks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from mia_core.attacks import ATTACKS, Attack
from mia_core.errors import Refused, shorten
from mia_core.settings import Choice, in_vain
from study.spec import bounds
from study.spec.bounds import MOST_ATTACK_LEVELS, MOST_ROWS, require_at_most
from study.spec.factors import Budget, Factors
from study.spec.values import listed, unique, values_of
from study.store.names import is_word, quoted

LEVEL = re.compile(r"_steps\d+$", re.ASCII)


@dataclass(frozen=True)
class AttackEntry:
    """One item of `attacks:`. label: unique in the study. at: levels of the budget it is limited to, None for all."""

    label: str
    choice: Choice[Attack]
    at: tuple[int, ...] | Literal["last"] | None = None
    budget: Budget = "epochs"

    @property
    def labels(self) -> list[str]:
        """Of its rows, one a level of steps; other levels are settings of entries of their own."""
        attack = self.choice.build()
        return [f"{self.label}_steps{level}" if attack.nested == "steps" else self.label for level in attack.levels]

    def to_dict(self) -> dict[str, Any]:
        """The form a spec has."""
        at = {} if self.at is None else {"at": {self.budget: self.at if self.at == "last" else list(self.at)}}
        return {**self.choice.to_dict(), "label": self.label, **at}


def attack_entries(items: Sequence[Any], factors: Factors, ranged: bool, trials: int) -> tuple[AttackEntry, ...]:
    """All attacks of a study. ranged: whether levels are drawn. trials: in all replicates.

    Refused for labels that are not unique or read as one another's, and for more rows than a study may have.
    """
    entries = tuple(
        entry for number, item in enumerate(items) for entry in _entries(item, f"attacks[{number}]", factors, ranged)
    )
    unique([entry.label for entry in entries], "attacks: label", "give each its own `label:`")
    _require_few_rows(entries, trials)
    _require_told_apart(entries)
    return entries


def _entries(item: Any, where: str, factors: Factors, ranged: bool) -> list[AttackEntry]:
    """One item of `attacks:`; settings may be lists, e.g. `known: [10, 20, 30]`: one attack for each combination."""
    if not isinstance(item, Mapping):
        item = {"name": item}
    values = dict(item)
    label = values.pop("label", values.get("name"))
    at = _at(values.pop("at", None), f"{where}.at", factors, ranged)
    if "name" not in values:
        raise Refused(f"{where}: expected a name or a mapping with a name, got {shorten(repr(item))}")
    if not is_word(label):
        raise Refused(f"{where}.label: {quoted(label)} must be made of letters (a to z), digits, - and _")
    choices = _choices(values, where)
    named = "label" in item and len(choices) == 1
    labels = [label if named else label + choice.build().variant for choice in choices]
    alike = {
        word: [other.arguments() for other, own in zip(choices, labels, strict=True) if own == word] for word in labels
    }
    return [
        AttackEntry(word + _telling(choice.arguments(), alike[word]), choice, at, factors.budget)
        for choice, word in zip(choices, labels, strict=True)
    ]


def _choices(values: Mapping[str, Any], where: str) -> list[Choice[Attack]]:
    """One for each combination of settings."""
    whole = "steps" if ATTACKS.fact(values.get("name"), "nested") == "steps" else None
    for key, value in values.items():
        count = len(value) if isinstance(value, list) else 1
        require_at_most(count, MOST_ATTACK_LEVELS, f"{where}.{key}", "values", "give fewer")
    lists = [[value] if key == whole else listed(value, f"{where}.{key}") for key, value in values.items()]
    count = bounds.product(map(len, lists))
    require_at_most(count, MOST_ATTACK_LEVELS, where, "attacks", "give fewer values of its settings")
    return [ATTACKS.choose(dict(zip(values, one, strict=True)), where) for one in product(*lists)]


def require_read_attacks(items: Sequence[Any]) -> None:
    """Refused for settings that mean nothing beside the others of their item of `attacks:`, which were given.

    Of an item that stands for several attacks, a setting may be for some of them alone; one that has several values
    would make the others several times. Specs of earlier versions are read all the same.
    """
    for number, item in enumerate(items):
        if not isinstance(item, Mapping):
            continue
        where = f"attacks[{number}]"
        values = {key: value for key, value in item.items() if key not in ("label", "at")}
        choices = _choices(values, where)
        vain = [in_vain(choice) for choice in choices]
        for choice, found in zip(choices, vain, strict=True):
            for name, reason in found.items():
                if all(name in other for other in vain):
                    raise Refused(f"{where}.{name}: {choice.name} {reason}; leave it out")
                if isinstance(values[name], list) and name != choice.cls.nested:
                    raise Refused(f"{where}.{name}: {choice.name} {reason}; give what takes it an item of its own")


def _telling(own: Mapping[str, Any], alike: Sequence[Mapping[str, Any]]) -> str:
    """The numbers that tell an attack's settings from others of its label, e.g. `_generated2000`, `_share0_5`."""
    numbers = {key: value for key, value in own.items() if isinstance(value, (int, float))}
    words = [f"_{key}{value}" for key, value in numbers.items() if any(other.get(key) != value for other in alike)]
    return "".join(words).replace(".", "_")


def _at(at: Any, where: str, factors: Factors, ranged: bool) -> tuple[int, ...] | Literal["last"] | None:
    """Levels an attack is limited to; every point that is drawn has one level, which is its last."""
    if at is None:
        return None
    budget = factors.budget
    if not isinstance(at, Mapping) or set(at) != {budget}:
        raise Refused(f"{where}: expected `{budget}: last` or `{budget}: [levels]`, got {shorten(repr(at))}")
    if at[budget] == "last":
        return None if ranged else "last"
    if ranged:
        raise Refused(f"{where}: a point that is drawn has one level of {budget}; leave `at` out, or say `last`")
    levels, known = values_of(at[budget], where), factors.bounds(budget)
    if missing := [level for level in levels if level not in known]:
        raise Refused(f"{where}: {shorten(repr(missing[0]))} is not a level of factors.{budget} {list(known)}")
    return tuple(sorted(levels))


def _require_few_rows(attacks: Sequence[AttackEntry], trials: int) -> None:
    """Refused for more rows of attacks than a study may have. trials: in all replicates."""
    levels = sum(len(attack.choice.build().levels) for attack in attacks)
    require_at_most(levels, MOST_ATTACK_LEVELS, "attacks", "attacks and levels of theirs", "ask fewer")
    what = f"results ({levels} attacks and levels of theirs in each of {trials} trials)"
    require_at_most(bounds.product((levels, trials)), MOST_ROWS, "attacks", what, "ask fewer, or train fewer trials")


def _require_told_apart(attacks: Sequence[AttackEntry]) -> None:
    """Refused for a label that reads as one of the levels of another attack, which are named `<label>_steps<level>`."""
    labels = {attack.label for attack in attacks}
    for label in sorted(labels):
        stem = LEVEL.sub("", label)
        if stem != label and stem in labels:
            raise Refused(f"attacks: the label {label!r} reads as a level of {stem!r}; give it another `label:`")
