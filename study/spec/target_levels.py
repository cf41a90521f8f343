"""Levels of the factor `target`: what a study calls them, which settings and training each has."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from mia_core.errors import Refused
from mia_core.settings import Choice, validate
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
    # A study's beta1 is for those of its targets that have one; what nobody takes is refused by `require_taken_beta1`.
    return choice, (replace(config, beta1=None) if choice.cls.beta1 is None else config).of(choice.cls)


def require_taken_beta1(targets: Sequence[Mapping[str, Any]], training: Mapping[str, Any], varied: bool) -> None:
    """Refused where a study gives a beta1 that no target takes, or gives one to a target, or as a factor, in vain.

    training: the study's. varied: whether it is a factor. Specs of earlier versions give it everywhere; they are read
    all the same.
    """
    classes = [TARGETS.find(target["name"]) for target in targets]
    without = list(dict.fromkeys(cls.name for cls in classes if cls and cls.beta1 is None))
    reason = f"{' and '.join(without)} trains without Adam and has no beta1"
    if without and varied:
        raise Refused(f"factors.training.beta1: {reason}; leave the factor out, or that target")
    for target in targets:
        if target["name"] in without and target.get("training", {}).get("beta1") is not None:
            raise Refused(f"target.training.beta1: {target['name']} trains without Adam and has no beta1; leave it out")
    if all(cls and cls.beta1 is None for cls in classes) and training.get("beta1") is not None:
        raise Refused(f"training.beta1: {reason}; leave it out")


def _taken(name: object) -> set[str]:
    """Words that mean something else where a target's label stands."""
    settings = {
        field.name
        for other in TARGETS.names()
        for field in fields(TARGETS.find(other).Config)  # type: ignore[union-attr]
    }
    return ({*TARGETS.names(), *ROLES, "none", "training", "label", "arms", "name"} | settings) - {name}
