"""Levels of the factor `target`: what a study calls them, which settings and training each has."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from mia_core.errors import Refused
from mia_core.settings import Choice, in_vain, plain, validate
from mia_core.targets import TARGETS, Target
from mia_core.training import TrainingConfig
from study.spec.values import unique, values_of
from study.store.names import is_word, quoted
from study.store.roles import ROLES


def read_targets(target: Any, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Levels of the factor `target`, or the one target of the study."""
    where = "factors.target"
    if ("target" in given) == (target is not None):
        raise Refused("target: required, as one target or as levels of factors.target, and not as both")
    levels = values_of(given.get("target", target), where)
    targets = [dict(level) if isinstance(level, Mapping) else {"name": level} for level in levels]
    if "target" not in given and "arms" in targets[0]:
        raise Refused("target.arms: a single target is trained under every arm; leave it out")
    for target in targets:
        if isinstance(target.get("arms"), str):
            target["arms"] = [target["arms"]]
    for target in targets:
        label, name = target.get("label"), target.get("name")
        if "label" in target and (not is_word(label) or label in _taken(name) or label.isdigit()):
            raise Refused(
                f"{where}: label {quoted(label)} must be a word of letters, digits, - and _, and no other target's "
                "name, no setting's, no control's, and no number"
            )
    unique(
        [str(label_of(target)) for target in targets],
        where,
        "give each its own `label:`, or vary its settings by factors.target.*",
    )
    return targets


def label_of(target: Mapping[str, Any]) -> str:
    """Of a level of the factor `target`: what a study calls it."""
    label: str = target.get("label", target.get("name", ""))
    return label


def settings_of(
    target: Mapping[str, Any], training: Mapping[str, Any], factors: Mapping[str, Any]
) -> tuple[Choice[Target], TrainingConfig]:
    """Target and training; a target's own `training:` goes before the study's, a dotted factor before both."""
    target = {key: value for key, value in target.items() if key not in ("label", "arms")}
    own = target.pop("training", {})
    validate(TrainingConfig, own, "target.training")
    values = {"target": target, "training": {**training, **own}}
    for name, level in factors.items():
        section, _, key = name.partition(".")
        values[section][key] = level
    choice = TARGETS.choose(values["target"], "target")
    config = validate(TrainingConfig, values["training"], "training")
    # A study's settings are for those of its targets that read them; for the others they have their defaults.
    return choice, replace(config, **{name: DEFAULT[name] for name in choice.cls.unread_training()}).of(choice.cls)


def require_read_training(
    targets: Sequence[Mapping[str, Any]], training: Mapping[str, Any], varied: Collection[str]
) -> None:
    """Refused where a study gives a setting of a training that no target reads, or gives it to a target, or as a
    factor, in vain.

    training: the study's. varied: names of its factors. Specs of earlier versions are read all the same.
    """
    unread = {target["name"]: TARGETS.choose(target["name"]).cls.unread_training() for target in targets}
    for setting in dict.fromkeys(name for reasons in unread.values() for name in reasons):
        without = [name for name in unread if setting in unread[name]]
        reason = ", ".join(f"{name} {unread[name][setting]}" for name in without)
        if f"training.{setting}" in varied:
            raise Refused(f"factors.training.{setting}: {reason}; leave the factor out, or that target")
        for target in targets:
            name = target["name"]
            if name in without and _given(target.get("training", {}), setting):
                raise Refused(f"target.training.{setting}: {name} {unread[name][setting]}; leave it out")
        if len(without) == len(unread) and _given(training, setting):
            raise Refused(f"training.{setting}: {reason}; leave it out")


def require_read_targets(targets: Iterable[tuple[str, Choice[Target]]], *facts: Any) -> None:
    """Refused for settings of targets that mean nothing beside the others, which were given.

    targets: of the cells, each with its label. facts: as of `in_vain`. Where other levels of a dotted factor read such
    a setting, no level of the factor can leave it out, and the way out is a target of its own for each combination.
    """
    distinct = list(dict.fromkeys(targets))
    for label, choice in distinct:
        for name, reason in in_vain(choice, *facts).items():
            if all(name in in_vain(other, *facts) for of, other in distinct if of == label):
                raise Refused(f"target.{name}: {choice.name} {reason}; leave it out")
            raise Refused(
                f"target.{name}: {choice.name} {reason}, and other levels of factors.target.* read it; in place "
                "of these factors, list targets in factors.target, each with a `label` and the settings that it reads"
            )


DEFAULT = plain(TrainingConfig())


def _given(training: Mapping[str, Any], setting: str) -> bool:
    return training.get(setting, DEFAULT[setting]) != DEFAULT[setting]


def _taken(name: object) -> set[str]:
    """Words that mean something else where a target's label stands."""
    settings = {
        field.name
        for other in TARGETS.names()
        for field in fields(TARGETS.find(other).Config)  # type: ignore[union-attr]
    }
    return ({*TARGETS.names(), *ROLES, "none", "training", "label", "arms", "name"} | settings) - {name}
