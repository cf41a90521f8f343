"""A study as one YAML file: read, checked, with every default filled in."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import Strict, field_validator

from mia_core.attacks import ATTACKS, Attack
from mia_core.canaries import Kind
from mia_core.data import SOURCES, SPLITS, Source, Split
from mia_core.defenses import Arm
from mia_core.metrics import MEASURES, ExtractorConfig
from mia_core.settings import Choice, nearest, settings, validate
from mia_core.targets import TARGETS, Target
from mia_core.training import TrainingConfig
from study import yaml

OWN_FACTORS = ("train_size", "epochs", "defense", "target")
"""Factors with columns of their own; all others are dotted settings of these sections:"""
DOTTED_SECTIONS = ("target", "training")

TRACKING = "sqlite:///mlflow.db"
"""Where MLflow is, unless a study file or a command says otherwise."""

Word = Annotated[str, MinLen(1)]
Levels = Annotated[tuple[Annotated[int, Gt(0)], ...], MinLen(1), Strict(False)]


@settings
class QualitySpec:
    """measures: of `kid fid precision recall density coverage`. against: `members`, `unseen`.

    samples: generated samples, and at most so many reference records, the same in every trial.
    """

    measures: Annotated[tuple[str, ...], Strict(False)] = MEASURES
    against: Annotated[tuple[str, ...], Strict(False)] = ("unseen", "members")
    samples: Annotated[int, Gt(0)] = 300
    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)

    @field_validator("extractor", mode="before")
    @classmethod
    def _build(cls, values: Any) -> Any:
        return validate(ExtractorConfig, values, "") if isinstance(values, Mapping) else values

    @field_validator("measures", "against")
    @classmethod
    def _known(cls, words: tuple[str, ...], info: Any) -> tuple[str, ...]:
        known = MEASURES if info.field_name == "measures" else ("unseen", "members")
        for word in words:
            if word not in known:
                raise ValueError(f"unknown word {word!r}{nearest(word, known)}")
        return tuple(dict.fromkeys(words))


@settings
class ControlsSpec:
    """Controls, on in every study; false or 0 leaves one out, and the plan and the summary say so.

    blind: a classifier that sees no target. nulls: replicates that get a target trained without the queries. copycat: a
    generator that replays its training set. permutations: of labels, the finest p is 1 / (1 + permutations).
    """

    blind: bool = True
    nulls: Annotated[int, Ge(0)] = 1
    copycat: bool = True
    permutations: Annotated[int, Ge(99)] = 999

    @field_validator("nulls", mode="before")
    @classmethod
    def _switch(cls, value: Any) -> Any:
        return int(value) if isinstance(value, bool) else value


@settings
class AuditSpec:
    """How claims of privacy are checked. attack: the label whose guesses may contradict one, by default the first.

    canaries: kinds (`gradient`, `mislabelled`, `noise`) that every private arm is trained with once more at its last
    epochs, in so many trainings, each with `count` of them, of which a fair coin a canary trains on about half.
    """

    attack: Word | None = None
    canaries: Annotated[tuple[Kind, ...], Strict(False)] = ()
    count: Annotated[int, Ge(10)] = 200
    trainings: Annotated[int, Gt(0)] = 1


@settings
class ComputeSpec:
    """Where trials run; changes no result but by floating-point differences between devices.

    gpus_per_trial: share of a GPU, used when the machine or cluster has any; auto for what measured trials leave room
    for. concurrent: trials at once, null for as many as fit. retries: attempts after a failure. checkpoint_seconds:
    between checkpoints inside a trajectory.
    """

    gpus_per_trial: Annotated[float, Ge(0), Le(1)] | Literal["auto"] = "auto"
    concurrent: Annotated[int, Gt(0)] | None = None
    retries: Annotated[int, Ge(0)] = 3
    checkpoint_seconds: Annotated[float, Gt(0)] = 60.0


@settings
class _Sections:
    """The top level of a study file; sections that name something are resolved by `Spec`."""

    study: Annotated[str, MinLen(1), MaxLen(100)]
    data: dict[str, Any] | str
    split: dict[str, Any]
    factors: dict[str, Any]
    attacks: list[Any]
    target: dict[str, Any] | str | None = None
    seed: int = 0
    replicates: Annotated[int, Gt(0)] = 5
    training: dict[str, Any] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)
    controls: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    keep_targets: Literal["all", "none"] = "all"
    results: Word = "results"
    tracking: str | None = TRACKING
    compute: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AttackEntry:
    """One item of `attacks:`. label: unique in the study. at: epochs levels it is limited to, None for all."""

    label: str
    choice: Choice[Attack]
    at: tuple[int, ...] | Literal["last"] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The form a spec has."""
        at = {} if self.at is None else {"at": {"epochs": self.at if self.at == "last" else list(self.at)}}
        return {**self.choice.to_dict(), "label": self.label, **at}


@dataclass(frozen=True)
class Cell:
    """One combination of levels, epochs left out: what one trajectory trains in each replicate.

    factors: the levels of the dotted factors, by name.
    """

    train_size: int
    arm: Arm
    target: Choice[Target]
    training: TrainingConfig
    factors: dict[str, Any]


@dataclass(frozen=True)
class Spec:
    """A checked study. resolved: all that determines results, defaults filled in, as plain values to read again."""

    study: str
    seed: int
    data: Choice[Source]
    split: Choice[Split]
    train_sizes: tuple[int, ...]
    epochs: tuple[int, ...]
    cells: tuple[Cell, ...]
    replicates: int
    attacks: tuple[AttackEntry, ...]
    quality: QualitySpec
    controls: ControlsSpec
    audit: AuditSpec
    keep_targets: bool
    results: str
    tracking: str | None
    compute: ComputeSpec
    resolved: dict[str, Any]


def read(path: str | Path, overrides: Sequence[str] = (), preset: str | None = None) -> Spec:
    """Read a study file, apply a preset, then `key=value` overrides, and check all that needs no data.

    A preset is an item of the file's `presets:`, a name with dotted settings; it is no part of the study itself.
    ValueError in one line.
    """
    document = yaml.load(path)
    presets = document.pop("presets", {})
    if not isinstance(presets, dict) or not all(isinstance(settings, dict) for settings in presets.values()):
        raise ValueError("presets: expected names, each with dotted keys and values")
    if preset is not None:
        if preset not in presets:
            raise ValueError(f"--preset {preset}: unknown preset{nearest(preset, presets)}")
        for key, value in presets[preset].items():
            _set(document, key, value, f"presets.{preset}.{key}")
    for setting in overrides:
        override(document, setting)
    return parse(document)


def override(document: dict[str, Any], setting: str) -> None:
    """Set one dotted key; items of a list are found by label, name or number, e.g. `attacks.local_gan.steps=[100]`."""
    key, sign, text = setting.partition("=")
    if not sign or not key:
        raise ValueError(f"--set {setting}: expected key=value")
    _set(document, key, yaml.parse(text, f"--set {key}"), f"--set {setting}")


def _set(document: dict[str, Any], key: str, value: Any, where: str) -> None:
    if key in OWN_FACTORS and key != "target":
        raise ValueError(f"{where}: unknown key; did you mean 'factors.{key}'?")
    section, _, rest = key.partition(".")
    parts = [section, rest] if section == "factors" and rest else key.split(".")
    place: Any = document
    for part in parts[:-1]:
        place = _enter(place, part, where)
    place[_position(place, parts[-1], where) if isinstance(place, list) else parts[-1]] = value


def _enter(place: Any, part: str, where: str) -> Any:
    position: Any = part
    if isinstance(place, list):
        position = _position(place, part, where)
    else:
        place.setdefault(part, {})
    if isinstance(place[position], str):
        place[position] = {"name": place[position]}
    if not isinstance(place[position], (dict, list)):
        raise ValueError(f"{where}: {part} is not a section")
    return place[position]


def _position(items: list[Any], part: str, where: str) -> int:
    names = [item.get("label", item.get("name")) if isinstance(item, dict) else item for item in items]
    if part in names:
        return names.index(part)
    if part.isdigit() and int(part) < len(items):
        return int(part)
    raise ValueError(f"{where}: no item {part!r}{nearest(part, map(str, names))}")


def parse(document: Mapping[str, Any]) -> Spec:
    """A study from plain values."""
    sections = validate(_Sections, document, "")
    if not sections.study.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"study: {sections.study!r} must be a name of letters, digits, - and _")
    factors = dict(sections.factors)
    for name in factors:
        if name not in OWN_FACTORS and name.split(".")[0] not in DOTTED_SECTIONS:
            raise ValueError(f"factors.{name}: unknown factor{nearest(name, OWN_FACTORS)}, or target.*, training.*")
    train_sizes = _levels(factors, "train_size")
    epochs = _levels(factors, "epochs")
    arms = _arms(factors.get("defense", ["none"]))
    dotted = {name: _values(levels, f"factors.{name}") for name, levels in factors.items() if name not in OWN_FACTORS}
    targets = _targets(sections, factors)
    cells = tuple(
        Cell(n, arm, *_settings(target, sections.training, combination), combination)
        for target in targets
        for values in product(*dotted.values())
        for combination in [dict(zip(dotted, values, strict=True))]
        for n in train_sizes
        for arm in arms
    )
    attacks = tuple(
        attack
        for number, item in enumerate(sections.attacks)
        for attack in _attacks(item, f"attacks[{number}]", epochs)
    )
    _unique([attack.label for attack in attacks], "attacks: label", "give each its own `label:`")
    data = SOURCES.choose(sections.data, "data")
    split = SPLITS.choose({"name": "panel", **sections.split}, "split")
    quality = validate(QualitySpec, sections.quality, "quality")
    settled = [(target, *_settings(target, sections.training, {})) for target in targets]
    controls = validate(ControlsSpec, sections.controls, "controls")
    audit = _audit(validate(AuditSpec, sections.audit, "audit"), attacks)
    resolved = {
        "study": sections.study,
        "seed": sections.seed,
        "data": data.to_dict(),
        "split": split.to_dict(),
        "training": asdict(validate(TrainingConfig, sections.training, "training")),
        "factors": {
            "train_size": list(train_sizes),
            "epochs": list(epochs),
            "defense": [arm.to_list() or "none" for arm in arms],
            "target": [
                {**choice.to_dict(), **({"training": asdict(training)} if "training" in target else {})}
                for target, choice, training in settled
            ],
            **{name: list(levels) for name, levels in dotted.items()},
        },
        "replicates": sections.replicates,
        "attacks": [attack.to_dict() for attack in attacks],
        "quality": asdict(quality),
        "controls": asdict(controls),
        "audit": asdict(audit),
        "keep_targets": sections.keep_targets,
    }
    return Spec(
        study=sections.study,
        seed=sections.seed,
        data=data,
        split=split,
        train_sizes=train_sizes,
        epochs=epochs,
        cells=cells,
        replicates=sections.replicates,
        attacks=attacks,
        quality=quality,
        controls=controls,
        audit=audit,
        keep_targets=sections.keep_targets == "all",
        results=sections.results,
        tracking=sections.tracking,
        compute=validate(ComputeSpec, sections.compute, "compute"),
        resolved=resolved,
    )


def _values(levels: Any, where: str) -> list[Any]:
    values = levels if isinstance(levels, list) else [levels]
    if not values:
        raise ValueError(f"{where}: needs at least one level")
    _unique([str(value) for value in values], where, "name each level once")
    return values


def _levels(factors: Mapping[str, Any], name: str) -> tuple[int, ...]:
    where = f"factors.{name}"
    if name not in factors:
        raise ValueError(f"{where}: required, and missing")
    values = _values(factors[name], where)
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{where}: levels must be whole numbers from 1, got {value!r}")
    return tuple(sorted(values))


def _arms(levels: Any) -> list[Arm]:
    where = "factors.defense"
    arms = [
        Arm.parse(spec, f"{where}[{number}]")
        for number, level in enumerate(_values(levels, where))
        for spec in _expand(level, f"{where}[{number}]")
    ]
    _unique([str(arm.to_list()) for arm in arms], where, "name each arm once")
    return arms


def _expand(level: Any, where: str) -> list[Any]:
    """An arm's settings may be lists, e.g. `sigma: [1, 2]`: one arm for each combination."""
    if isinstance(level, Mapping):
        lists = [_list(value, f"{where}.{key}") for key, value in level.items()]
        return [dict(zip(level, values, strict=True)) for values in product(*lists)]
    if isinstance(level, list):
        return [list(parts) for parts in product(*(_expand(part, where) for part in level))]
    return [level]


def _list(value: Any, where: str) -> list[Any]:
    """A setting's values; an empty list would silently leave out what it belongs to."""
    if value == []:
        raise ValueError(f"{where}: needs at least one value")
    return value if isinstance(value, list) else [value]


def _targets(sections: _Sections, factors: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Levels of the factor `target`, or the one target of the study."""
    where = "factors.target"
    if ("target" in factors) == (sections.target is not None):
        raise ValueError("target: required, as one target or as levels of factors.target, and not as both")
    levels = _values(factors.get("target", sections.target), where)
    targets = [dict(level) if isinstance(level, Mapping) else {"name": level} for level in levels]
    _unique([str(target.get("name")) for target in targets], where, "vary its settings by factors.target.*")
    return targets


def _settings(
    target: Mapping[str, Any], training: Mapping[str, Any], factors: Mapping[str, Any]
) -> tuple[Choice[Target], TrainingConfig]:
    """Target and training; a target's own `training:` goes before the study's, a dotted factor before both."""
    target = dict(target)
    own = target.pop("training", {})
    validate(TrainingConfig, own, "target.training")
    values = {"target": target, "training": {**training, **own}}
    for name, level in factors.items():
        section, _, key = name.partition(".")
        values[section][key] = level
    return TARGETS.choose(values["target"], "target"), validate(TrainingConfig, values["training"], "training")


def _attacks(item: Any, where: str, epochs: Sequence[int]) -> list[AttackEntry]:
    """One item of `attacks:`; settings may be lists, e.g. `known: [10, 20, 30]`: one attack for each combination."""
    if not isinstance(item, Mapping):
        item = {"name": item}
    values = dict(item)
    label, at = values.pop("label", values.get("name")), _at(values.pop("at", None), f"{where}.at", epochs)
    if not isinstance(label, str) or not label.replace("_", "").replace("-", "").isalnum():
        raise ValueError(f"{where}.label: {label!r} must be made of letters, digits, - and _")
    cls = ATTACKS.find(values.get("name"))
    whole = cls.nested if cls else None
    lists = [[value] if key == whole else _list(value, f"{where}.{key}") for key, value in values.items()]
    choices = [ATTACKS.choose(dict(zip(values, one, strict=True)), where) for one in product(*lists)]
    named = "label" in item and len(choices) == 1
    labels = [label if named else label + choice.build().variant for choice in choices]
    alike = {
        word: [other.arguments() for other, own in zip(choices, labels, strict=True) if own == word] for word in labels
    }
    return [
        AttackEntry(word + _telling(choice.arguments(), alike[word]), choice, at)
        for choice, word in zip(choices, labels, strict=True)
    ]


def _telling(own: Mapping[str, Any], alike: Sequence[Mapping[str, Any]]) -> str:
    """The numbers that tell an attack's settings from others of its label, e.g. `_generated2000`, `_share0_5`."""
    numbers = {key: value for key, value in own.items() if isinstance(value, (int, float))}
    words = [f"_{key}{value}" for key, value in numbers.items() if any(other[key] != value for other in alike)]
    return "".join(words).replace(".", "_")


def _audit(audit: AuditSpec, attacks: Sequence[AttackEntry]) -> AuditSpec:
    """With the attack filled in, and only kinds of canaries that are told once."""
    labels = [attack.label for attack in attacks]
    if audit.attack is not None and audit.attack not in labels:
        raise ValueError(f"audit.attack: unknown attack{nearest(audit.attack, labels)}")
    kinds = tuple(dict.fromkeys(audit.canaries))
    return replace(audit, attack=audit.attack or (labels[0] if labels else None), canaries=kinds)


def _at(at: Any, where: str, epochs: Sequence[int]) -> tuple[int, ...] | Literal["last"] | None:
    if at is None:
        return None
    if not isinstance(at, Mapping) or set(at) != {"epochs"}:
        raise ValueError(f"{where}: expected `epochs: last` or `epochs: [levels]`, got {at!r}")
    if at["epochs"] == "last":
        return "last"
    levels = _values(at["epochs"], where)
    if missing := [level for level in levels if level not in epochs]:
        raise ValueError(f"{where}: {missing[0]!r} is not a level of factors.epochs {list(epochs)}")
    return tuple(sorted(levels))


def _unique(words: Sequence[str], where: str, way_out: str) -> None:
    for word in words:
        if words.count(word) > 1:
            raise ValueError(f"{where}: {word!r} is there twice; {way_out}")
