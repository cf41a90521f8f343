"""What a study takes of installed packages: the section `packaged` of a resolved spec, which users do not write."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mia_core.attacks import ATTACKS
from mia_core.data import SOURCES, Source
from mia_core.defenses import DEFENSES, Arm
from mia_core.errors import Refused
from mia_core.offers import facts_at_hand
from mia_core.settings import Choice
from mia_core.targets import TARGETS, Target
from study.spec.attack_entries import AttackEntry
from study.store.schema import SCHEMAS

PACKAGED = "packaged"
"""In a resolved spec, and in a trial's config."""


def packaged(
    data: Choice[Source],
    attacks: Sequence[AttackEntry],
    targets: Sequence[Choice[Target]] = (),
    arms: Sequence[Arm] = (),
) -> dict[str, Any]:
    """The section, by its name, with what a reader of the store has to know of classes of packages; else nothing."""
    if (known := facts_at_hand()) is not None:
        return {PACKAGED: dict(known)} if known else {}
    _require_columns(arms)
    found = {
        **SOURCES.facts([data]),
        **ATTACKS.facts(entry.choice for entry in attacks),
        **facts_of(targets, arms),
    }
    return {PACKAGED: found} if found else {}


def facts_of(targets: Iterable[Choice[Target]], arms: Iterable[Arm]) -> dict[str, Any]:
    """What is to be known of targets and defenses of packages, by kind and name."""
    return {**TARGETS.facts(targets), **DEFENSES.facts(choice for arm in arms for choice in arm.choices)}


def packages_of(choices: Iterable[Choice[Any]], kind: str) -> dict[str, str]:
    """The package, with its version, of each class that is of one, by kind and name."""
    return {f"{kind} {choice.name}": str(choice.package) for choice in choices if choice.package}


def _require_columns(arms: Sequence[Arm]) -> None:
    """Refused for a setting of a package's defense that would be a column of another meaning."""
    for choice in (choice for arm in arms for choice in arm.choices if choice.package):
        if taken := sorted(choice.arguments().keys() & SCHEMAS["trials"].keys() - {choice.cls.strength}):
            raise Refused(
                f"factors.defense: {choice.name} of the package {choice.package} has a setting {taken[0]}, which is "
                "the name of a column of trials; the package has to rename it"
            )


def packages_used(resolved: Mapping[str, Any]) -> list[str]:
    """Names of the packages whose classes a resolved spec has, sorted."""
    return sorted({facts["package"] for facts in resolved.get(PACKAGED, {}).values()})
