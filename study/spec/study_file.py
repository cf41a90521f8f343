"""A study as one YAML file: read, checked, with every default filled in."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import entry_points
from itertools import chain, product
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import Strict, field_validator

from mia_core.attacks import ATTACKS, Attack
from mia_core.canaries import Kind
from mia_core.data import SOURCES, SPLITS, Source, Split
from mia_core.errors import Refused, shorten
from mia_core.metrics import COPIES, MEASURES, ExtractorConfig
from mia_core.metrics.copies import ALPHA, NEIGHBORS
from mia_core.paths import expanded_text
from mia_core.settings import Choice, added_later, nearest, plain, settings, validate
from mia_core.training import TrainingConfig
from study.spec import bounds, documents
from study.spec.bounds import (
    MOST_ATTACK_LEVELS,
    MOST_POINTS,
    MOST_ROWS,
    MOST_STEPS,
    require_at_most,
    require_trials,
)
from study.spec.factors import OWN_FACTORS, Budget, Cell, Factors, Range, read_factors
from study.spec.family import check_contrasts
from study.spec.objectives import EXTRACTOR, PIXELS, SearchSpec, check_objectives
from study.spec.sampling import DesignSpec, Drawn, cells_of, check_drawn, draw
from study.spec.target_levels import require_taken_beta1
from study.spec.values import listed, unique, values_of
from study.store.names import is_word, quoted

LEVEL = re.compile(r"_steps\d+$", re.ASCII)
SQLITE = "sqlite:///"
SERVERS = ("http", "https", "databricks", "databricks-uc", "uc")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
TRACKING = f"{SQLITE}mlflow.db"
"""Where MLflow is, unless a study file or a command says otherwise."""

Word = Annotated[str, MinLen(1)]


def _distinct(words: tuple[str, ...], known: Sequence[str]) -> tuple[str, ...]:
    for word in words:
        if word not in known:
            raise Refused(f"unknown word {shorten(repr(word))}{nearest(word, known)}")
    return tuple(dict.fromkeys(words))


@settings
class CopiesSpec:
    """How samples that copy a member are told. alpha: the false-copy rate, the chance of one more unseen person that a
    record of theirs is called a copy, at most. neighbors: members that the nearest one is compared with. extractors:
    `pixels`, `domain`.
    """

    alpha: Annotated[float, Gt(0), Lt(1)] = ALPHA
    neighbors: Annotated[int, Gt(0)] = NEIGHBORS
    extractors: Annotated[tuple[str, ...], Strict(False)] = (PIXELS, EXTRACTOR)

    @field_validator("extractors")
    @classmethod
    def _known(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        return _distinct(words, (PIXELS, EXTRACTOR))


@settings
class QualitySpec:
    """measures: of `kid fid precision recall density coverage`, and `copies members_copied persons_copied`, which need
    enough unseen records. against: `members`, `unseen`; copies are of members always.

    samples: generated samples, and at most so many reference records, the same in every trial.
    """

    measures: Annotated[tuple[str, ...], Strict(False)] = (*MEASURES, *COPIES)
    against: Annotated[tuple[str, ...], Strict(False)] = ("unseen", "members")
    samples: Annotated[int, Gt(0)] = 300
    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)
    copies: CopiesSpec = field(default_factory=CopiesSpec)

    @field_validator("extractor", "copies", mode="before")
    @classmethod
    def _build(cls, values: Any, info: Any) -> Any:
        model = ExtractorConfig if info.field_name == "extractor" else CopiesSpec
        return validate(model, values, "") if isinstance(values, Mapping) else values

    @field_validator("measures", "against")
    @classmethod
    def _known(cls, words: tuple[str, ...], info: Any) -> tuple[str, ...]:
        return _distinct(words, (*MEASURES, *COPIES) if info.field_name == "measures" else ("unseen", "members"))

    @property
    def of_samples(self) -> tuple[str, ...]:
        """The measures that compare samples with records as a whole."""
        return tuple(name for name in self.measures if name in MEASURES)

    @property
    def of_copies(self) -> tuple[str, ...]:
        """The measures of copies."""
        return tuple(name for name in self.measures if name in COPIES)

    @property
    def labels(self) -> list[str]:
        """Of all measures, as a design names them."""
        told = [f"{name}_{against}" for name in self.of_samples for against in self.against]
        words = {PIXELS: f"{PIXELS}_", EXTRACTOR: ""}
        return told + [f"{name}_{words[of]}members" for of in self.copies.extractors for name in self.of_copies]

    def to_dict(self) -> dict[str, Any]:
        """The form a resolved spec has; without copies what it had before there were any."""
        values = asdict(self)
        if not self.of_copies:
            del values["copies"]
        return values


@settings
class ControlsSpec:
    """Controls, on in every study; false or 0 leaves one out, and the plan and the summary say so.

    blind: a classifier that sees no target. nulls: replicates that get a target trained without the queries. copycat: a
    generator that replays its training set. member_only: in as many replicates, attacks that are fitted on members
    against non-members are fitted on two halves of the known members, and judged by two halves of the members among the
    judged records, which nothing can tell apart. permutations: of labels, the finest p is 1 / (1 + permutations).
    """

    blind: bool = True
    nulls: Annotated[int, Ge(0)] = 1
    copycat: bool = True
    member_only: bool = added_later(True)
    permutations: Annotated[int, Ge(99), Le(100_000)] = 999

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
    count: Annotated[int, Ge(10), Le(100_000)] = 200
    trainings: Annotated[int, Gt(0), Le(1000)] = 1


@settings
class ComputeSpec:
    """Where trials run; changes no result but by floating-point differences between devices.

    gpus_per_trial: share of a GPU, used when the machine or cluster has any; auto for what measured trials leave room
    for. concurrent: trials at once, null for as many as fit. retries: attempts after a failure. checkpoint_seconds:
    between checkpoints inside a trajectory. usd_per_hour, usd_per_gpu_hour: what the machine costs, each
    node of a cluster, and each GPU in use besides; they add up.
    """

    gpus_per_trial: Annotated[float, Ge(0), Le(1)] | Literal["auto"] = "auto"
    concurrent: Annotated[int, Gt(0)] | None = None
    retries: Annotated[int, Ge(0)] = 3
    checkpoint_seconds: Annotated[float, Gt(0)] = 60.0
    usd_per_hour: Annotated[float, Ge(0)] | None = None
    usd_per_gpu_hour: Annotated[float, Ge(0)] | None = None


@settings
class Sections:
    """The top level of a study file; sections that name something are resolved by `Spec`."""

    study: Annotated[str, MinLen(1), MaxLen(100)]
    data: dict[str, Any] | str
    split: dict[str, Any]
    factors: dict[str, Any]
    attacks: list[Any]
    target: dict[str, Any] | str | None = None
    seed: int = 0
    replicates: Annotated[int, Gt(0)] = 5
    design: dict[str, Any] = field(default_factory=dict)
    search: dict[str, Any] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)
    controls: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    contrasts: list[Any] | None = None
    keep_targets: Literal["all", "none"] = "all"
    results: Word = "results"
    tracking: str | None = TRACKING
    experiment: Word | None = None
    compute: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AttackEntry:
    """One item of `attacks:`. label: unique in the study. at: levels of the budget it is limited to, None for all."""

    label: str
    choice: Choice[Attack]
    at: tuple[int, ...] | Literal["last"] | None = None
    budget: Budget = "epochs"

    @property
    def labels(self) -> list[str]:
        """Of its rows, one a level: of steps; numbers of samples are settings of entries of their own."""
        attack = self.choice.build()
        return [f"{self.label}_steps{level}" if attack.nested == "steps" else self.label for level in attack.levels]

    def to_dict(self) -> dict[str, Any]:
        """The form a spec has."""
        at = {} if self.at is None else {"at": {self.budget: self.at if self.at == "last" else list(self.at)}}
        return {**self.choice.to_dict(), "label": self.label, **at}


@dataclass(frozen=True)
class Spec:
    """A checked study.

    train_sizes: of its cells, and the ends of a range, ascending. budget: what `levels`, all of its cells, count.
    points: of a design that draws, or a search: each point's cell, by its number, and level; drawn: them as columns.
    experiment: of MLflow, None for one of the study's name. resolved: all that determines results, defaults filled in,
    as plain values to read again.
    """

    study: str
    seed: int
    data: Choice[Source]
    split: Choice[Split]
    train_sizes: tuple[int, ...]
    budget: Budget
    levels: tuple[int, ...]
    cells: tuple[Cell, ...]
    points: tuple[tuple[int, int], ...]
    design: DesignSpec
    search: SearchSpec | None
    factors: Factors
    drawn: Drawn
    replicates: int
    attacks: tuple[AttackEntry, ...]
    quality: QualitySpec
    controls: ControlsSpec
    audit: AuditSpec
    keep_targets: bool
    results: str
    tracking: str | None
    experiment: str | None
    compute: ComputeSpec
    resolved: dict[str, Any]


def read(path: str | Path, overrides: Sequence[str] = (), preset: str | None = None) -> Spec:
    """Read a study file, apply a preset, then `key=value` overrides, and check all that needs no data.

    A preset is an item of the file's `presets:`, a name with dotted settings; it is no part of the study itself.
    ValueError in one line.
    """
    document = documents.load(path)
    presets = document.pop("presets", {})
    if not isinstance(presets, dict) or not all(isinstance(settings, dict) for settings in presets.values()):
        raise Refused("presets: expected names, each with dotted keys and values")
    if preset is not None:
        if preset not in presets:
            raise Refused(f"--preset {preset}: unknown preset{nearest(preset, presets)}")
        for key, value in presets[preset].items():
            _set(document, key, value, f"presets.{preset}.{key}")
    for setting in overrides:
        override(document, setting)
    spec = parse(document)
    require_taken_beta1(spec.factors.targets, spec.factors.training, "training.beta1" in spec.factors.levels)
    return spec


def override(document: dict[str, Any], setting: str) -> None:
    """Set one dotted key; items of a list are found by label, name or number, e.g. `attacks.local_gan.steps=[100]`."""
    key, sign, text = setting.partition("=")
    if not sign or not key:
        raise Refused(f"--set {setting}: expected key=value")
    _set(document, key, documents.parse(text, f"--set {key}"), f"--set {setting}")


def _set(document: dict[str, Any], key: str, value: Any, where: str) -> None:
    if key in OWN_FACTORS and key != "target":
        raise Refused(f"{where}: unknown key; did you mean 'factors.{key}'?")
    section, _, rest = key.partition(".")
    parts = key.split(".")
    if section == "factors" and rest and not _names_a_target(document, rest):
        parts = [section, rest]
    place: Any = document
    for part in parts[:-1]:
        place = _enter(place, part, where)
    place[_position(place, parts[-1], where) if isinstance(place, list) else parts[-1]] = value


def _names_a_target(document: Mapping[str, Any], factor: str) -> bool:
    """Whether this is a setting of one target of several, and not the name of a dotted factor."""
    factors = document.get("factors")
    targets = factors.get("target") if isinstance(factors, dict) else None
    word = factor.removeprefix("target.").partition(".")[0]
    if not factor.startswith("target.") or not isinstance(targets, list):
        return False
    if word in _item_names(targets) or (word.isdigit() and int(word) < len(targets)):
        return True
    if factor.count(".") > 1:
        raise Refused(f"factors.target: no target {shorten(repr(word))}{nearest(word, map(str, _item_names(targets)))}")
    return False


def _enter(place: Any, part: str, where: str) -> Any:
    position: Any = part
    if isinstance(place, list):
        position = _position(place, part, where)
    else:
        place.setdefault(part, {})
    if isinstance(place[position], str):
        place[position] = {"name": place[position]}
    if not isinstance(place[position], (dict, list)):
        raise Refused(f"{where}: {part} is not a section")
    return place[position]


def _position(items: list[Any], part: str, where: str) -> int:
    names = _item_names(items)
    if part in names:
        return names.index(part)
    if part.isdigit() and int(part) < len(items):
        return int(part)
    raise Refused(f"{where}: no item {shorten(repr(part))}{nearest(part, map(str, names))}")


def _item_names(items: list[Any]) -> list[Any]:
    return [item.get("label", item.get("name")) if isinstance(item, dict) else item for item in items]


def parse(document: Mapping[str, Any]) -> Spec:
    """A study from plain values."""
    sections = validate(Sections, document, "")
    if not sections.study.replace("-", "").replace("_", "").isalnum():
        raise Refused(f"study: {shorten(repr(sections.study))} must be a name of letters, digits, - and _")
    design = validate(DesignSpec, sections.design, "design")
    search = _search(sections.search, design)
    ranged = design.draws or search is not None
    factors = read_factors(sections.factors, sections.target, sections.training, ranged)
    _require_few(design, search, factors, sections.replicates)
    drawn = _drawn(design, search, factors, sections.seed)
    cells, points = cells_of(drawn, factors) if ranged else (factors.factorial(), ())
    _require_steps(cells, factors.budget)
    attacks = tuple(
        attack
        for number, item in enumerate(sections.attacks)
        for attack in _attacks(item, f"attacks[{number}]", factors, ranged)
    )
    unique([attack.label for attack in attacks], "attacks: label", "give each its own `label:`")
    _require_attacks(attacks, sum(len(cell.levels) for cell in cells) * sections.replicates)
    _require_told_apart(attacks)
    data = SOURCES.choose(sections.data, "data")
    split = SPLITS.choose({"name": "panel", **sections.split}, "split")
    quality = validate(QualitySpec, sections.quality, "quality")
    if search:
        check_objectives(search, *_columns(attacks, quality))
    controls = validate(ControlsSpec, sections.controls, "controls")
    declared = _contrasts(sections.contrasts, factors, ranged)
    audit = _audit(validate(AuditSpec, sections.audit, "audit"), attacks)
    resolved = {
        "study": sections.study,
        "seed": sections.seed,
        "data": data.to_dict(),
        "split": split.to_dict(),
        "training": validate(TrainingConfig, sections.training, "training").to_dict(),
        "factors": factors.resolved(),
        **({"design": design.to_dict(drawn)} if design.draws else {}),
        **({"search": search.to_dict(drawn)} if search else {}),
        "replicates": sections.replicates,
        "attacks": [attack.to_dict() for attack in attacks],
        "quality": quality.to_dict(),
        "controls": plain(controls),
        "audit": asdict(audit),
        **({"contrasts": declared} if declared is not None else {}),
        "keep_targets": sections.keep_targets,
    }
    return Spec(
        study=sections.study,
        seed=sections.seed,
        data=data,
        split=split,
        train_sizes=tuple(sorted({*factors.bounds("train_size"), *(cell.train_size for cell in cells)})),
        budget=factors.budget,
        levels=tuple(sorted(set(chain.from_iterable(cell.levels for cell in cells)))),
        cells=cells,
        points=points,
        design=design,
        search=search,
        factors=factors,
        drawn=drawn,
        replicates=sections.replicates,
        attacks=attacks,
        quality=quality,
        controls=controls,
        audit=audit,
        keep_targets=sections.keep_targets == "all",
        results=_results(sections.results),
        tracking=tracking_uri(sections.tracking),
        experiment=sections.experiment,
        compute=validate(ComputeSpec, sections.compute, "compute"),
        resolved=resolved,
    )


def _results(given: str) -> str:
    try:
        return expanded_text(given)
    except Refused as error:
        raise Refused(f"results: {error}") from None


def tracking_uri(given: str | None) -> str | None:
    """A URI that MLflow takes; `~` and variables are for the path of an SQLite file alone. Refused for any other."""
    if given is None:
        return None
    if given.startswith(SQLITE):
        try:
            return SQLITE + expanded_text(given.removeprefix(SQLITE))
        except Refused as error:
            raise Refused(f"tracking: {error}") from None
    scheme = urlsplit(given).scheme if "://" in given else ""
    if scheme in ("", "file") and given.partition(":")[0] not in SERVERS:
        raise Refused(
            f"tracking: {shorten(given)}: MLflow keeps runs in a database or on a server, and not in a folder; "
            "sqlite:///mlflow.db or http://host:5000 will do, and null for none (a shell makes ~ the home folder)"
        )
    known = {*SERVERS, *DATABASES, *(point.name for point in entry_points(group="mlflow.tracking_store"))}
    kind = (scheme or given).partition(":")[0].partition("+")[0]
    if kind not in known:
        raise Refused(f"tracking: {kind}:// is nothing that MLflow keeps runs in{nearest(kind, known)}")
    if kind == "sqlite":
        raise Refused(
            "tracking: a database in a file begins with sqlite:/// and then its path, e.g. sqlite:///mlflow.db"
        )
    return given


def _require_few(design: DesignSpec, search: SearchSpec | None, factors: Factors, replicates: int) -> None:
    """Refused for more trials or points than a study may have; counted, and nothing is built."""
    if search:
        require_at_most(search.points, MOST_POINTS, "search.points", "points", "give fewer points")
        require_trials(search.points, 1, replicates)
    elif design.draws:
        require_trials(1, min(design.points or 1, MOST_POINTS), replicates)
    else:
        counts = {name: 1 if isinstance(levels, Range) else len(levels) for name, levels in factors.levels.items()}
        levels = counts.pop(factors.budget)
        require_trials(bounds.product(counts.values()), levels, replicates)


def _require_steps(cells: Sequence[Cell], budget: Budget) -> None:
    """Refused for a trajectory that no machine ends."""
    for cell in cells:
        level = max(cell.levels, default=0)
        steps = level if budget == "steps" else cell.steps_of(level)
        what = f"updates of one target (n={bounds.words(cell.train_size)}, batches of {cell.training.batch_size})"
        require_at_most(steps, MOST_STEPS, f"factors.{budget}", what, "train for less")


def _require_attacks(attacks: Sequence[AttackEntry], trials: int) -> None:
    """Refused for more rows of attacks than a study may have. trials: in all replicates."""
    levels = sum(len(attack.choice.build().levels) for attack in attacks)
    require_at_most(levels, MOST_ATTACK_LEVELS, "attacks", "attacks and levels of theirs", "ask fewer")
    what = f"results ({levels} attacks and levels of theirs in each of {trials} trials)"
    require_at_most(bounds.product((levels, trials)), MOST_ROWS, "attacks", what, "ask fewer, or train fewer trials")


def _contrasts(given: list[Any] | None, factors: Factors, ranged: bool) -> list[dict[str, Any]] | None:
    if given is not None and ranged:
        raise Refused("contrasts: levels that are drawn or chosen by a search have none; leave it out")
    return None if given is None else check_contrasts(given, factors)


def _search(given: Mapping[str, Any] | None, design: DesignSpec) -> SearchSpec | None:
    if given is None:
        return None
    if design.draws:
        raise Refused("search: chooses its own points; leave `design` out")
    return validate(SearchSpec, given, "search")


def _drawn(design: DesignSpec, search: SearchSpec | None, factors: Factors, seed: int) -> Drawn:
    """The points that a resolved spec has, else new ones; none of a factorial, nor of a search that has not begun."""
    where, given = ("search.drawn", search.drawn) if search else ("design.drawn", design.drawn)
    if given is not None:
        check_drawn(given, factors, where)
        return given
    if search and not factors.varied:
        raise Refused("search: needs a factor with a range or several levels")
    return draw(design, factors, seed) if design.draws else {}


def _require_told_apart(attacks: Sequence[AttackEntry]) -> None:
    """Refused for a label that reads as one of the levels of another attack, which are named `<label>_steps<level>`."""
    labels = {attack.label for attack in attacks}
    for label in sorted(labels):
        stem = LEVEL.sub("", label)
        if stem != label and stem in labels:
            raise Refused(f"attacks: the label {label!r} reads as a level of {stem!r}; give it another `label:`")


def _columns(attacks: Sequence[AttackEntry], quality: QualitySpec) -> tuple[list[str], list[str]]:
    """Labels of attacks, with their levels of steps, and of measures, as a design has them."""
    labels = [label for attack in attacks for label in attack.labels]
    return labels, quality.labels


def _attacks(item: Any, where: str, factors: Factors, ranged: bool) -> list[AttackEntry]:
    """One item of `attacks:`; settings may be lists, e.g. `known: [10, 20, 30]`: one attack for each combination."""
    if not isinstance(item, Mapping):
        item = {"name": item}
    values = dict(item)
    label = values.pop("label", values.get("name"))
    at = _at(values.pop("at", None), f"{where}.at", factors, ranged)
    if not is_word(label):
        raise Refused(f"{where}.label: {quoted(label)} must be made of letters (a to z), digits, - and _")
    cls = ATTACKS.find(values.get("name"))
    whole = "steps" if cls and cls.nested == "steps" else None
    for key, value in values.items():
        count = len(value) if isinstance(value, list) else 1
        require_at_most(count, MOST_ATTACK_LEVELS, f"{where}.{key}", "values", "give fewer")
    lists = [[value] if key == whole else listed(value, f"{where}.{key}") for key, value in values.items()]
    count = bounds.product(map(len, lists))
    require_at_most(count, MOST_ATTACK_LEVELS, where, "attacks", "give fewer values of its settings")
    choices = [ATTACKS.choose(dict(zip(values, one, strict=True)), where) for one in product(*lists)]
    named = "label" in item and len(choices) == 1
    labels = [label if named else label + choice.build().variant for choice in choices]
    alike = {
        word: [other.arguments() for other, own in zip(choices, labels, strict=True) if own == word] for word in labels
    }
    return [
        AttackEntry(word + _telling(choice.arguments(), alike[word]), choice, at, factors.budget)
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
        raise Refused(f"audit.attack: unknown attack{nearest(audit.attack, labels)}")
    kinds = tuple(dict.fromkeys(audit.canaries))
    return replace(audit, attack=audit.attack or (labels[0] if labels else None), canaries=kinds)


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
