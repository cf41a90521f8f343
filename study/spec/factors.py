"""The factors of a study: what each may be, levels or a range, and the cell that a combination of them makes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Literal, Self

from pydantic import model_validator

from mia_core import offers
from mia_core.batches import epochs_of, steps_of
from mia_core.defenses import DEFENSES, Arm, labels
from mia_core.errors import Refused, shorten
from mia_core.hashing import canonical_json
from mia_core.settings import Choice, nearest, settings, validate
from mia_core.targets import Target
from mia_core.training import TrainingConfig
from study.spec import bounds
from study.spec.bounds import MOST_LEVELS, MOST_POINTS, require_at_most
from study.spec.target_levels import label_of, read_targets, settings_of
from study.spec.values import listed, unique, values_of
from study.store.names import is_column, quoted

Budget = Literal["epochs", "steps"]

OWN_FACTORS = ("train_size", "epochs", "steps", "defense", "target")
"""Factors with columns of their own; all others are dotted settings of these sections:"""
DOTTED_SECTIONS = ("target", "training", "defense")

WHOLE = ("train_size", "epochs", "steps")
DIGITS = 6
"""Significant digits of a drawn number: few enough to read, too many to make two points one."""


@settings
class Range:
    """All numbers from `low` to `high`, both included.

    scale: `log` gives each power of ten as much room as the next. kind: `integer` for whole numbers only.
    """

    low: float
    high: float
    scale: Literal["linear", "log"] = "linear"
    kind: Literal["real", "integer"] = "real"

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.low >= self.high:
            raise Refused(f"low {self.low:g} must be below high {self.high:g}")
        if self.scale == "log" and self.low <= 0:
            raise Refused(f"scale log needs a low above 0, got {self.low:g}")
        if self.kind == "integer" and not (self.low.is_integer() and self.high.is_integer()):
            raise Refused(f"kind integer needs whole bounds, got {self.low:g} and {self.high:g}")
        return self

    def __str__(self) -> str:
        words = [f"{self.low:g} to {self.high:g}", *(["log"] if self.scale == "log" else [])]
        return ", ".join([*words, *(["whole"] if self.kind == "integer" else [])])

    def level(self, unit: float) -> float | int:
        """The level at a share in [0, 1) of the range; every whole number has the same share of a linear one."""
        top = self.high + 1 if self.kind == "integer" else self.high
        value = self.low * (top / self.low) ** unit if self.scale == "log" else self.low + (top - self.low) * unit
        value = min(max(value, self.low), self.high)
        if self.kind == "integer":
            return int(value)
        return rounded(value, self)

    def to_dict(self) -> dict[str, Any]:
        """The form a spec has."""
        whole = {key: int(value) for key, value in asdict(self).items() if key in ("low", "high")}
        return {**asdict(self), **(whole if self.kind == "integer" else {})}


def rounded(value: float, of: Range) -> float:
    """To so many digits that a level can be read, and inside its range."""
    return min(max(float(f"{value:.{DIGITS}g}"), of.low), of.high)


@dataclass(frozen=True)
class Cell:
    """One combination of levels, the budget left out: what one trajectory trains in each replicate.

    factors: the levels of the dotted factors of target and training, by name. levels: of the budget, ascending, at each
    of which there is a trial. label: of the target, unique in a study; its name, unless the study gives another. It is
    no part of what is trained.
    """

    train_size: int
    arm: Arm
    target: Choice[Target]
    training: TrainingConfig
    factors: dict[str, Any]
    levels: tuple[int, ...] = ()
    label: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", self.label or self.target.name)

    def steps_of(self, epochs: int) -> int:
        """Discriminator updates after which so many epochs are over."""
        return steps_of(epochs, self.train_size, self.training.batch_size)

    def epochs_of(self, steps: int) -> int:
        """Whole epochs after so many discriminator updates."""
        return epochs_of(steps, self.train_size, self.training.batch_size)

    def to_dict(self) -> dict[str, Any]:
        """All that is trained, as plain values: for ids, and for the configs of trials."""
        return {
            "target": self.target.to_dict(),
            "training": self.training.to_dict(),
            "train_size": self.train_size,
            "defense": self.arm.to_list(),
        }


@dataclass(frozen=True)
class Factors:
    """`factors:` of a study file, checked.

    budget: which factor says how long is trained. levels: of each factor, by name: plain values, or a range; an arm's
    settings that a dotted factor gives are not in the arm; a target may have a `label`, and `arms` that it is limited
    to, in words. training: the study's, which a target's own goes before. at_hand: of factors that a store has, what it
    says of classes of packages.
    """

    budget: Budget
    levels: dict[str, list[Any] | Range]
    training: Mapping[str, Any]
    at_hand: Mapping[str, Any] | None = None

    @property
    def dotted(self) -> list[str]:
        """Names of the dotted factors."""
        return [name for name in self.levels if name not in OWN_FACTORS]

    @property
    def ranges(self) -> dict[str, Range]:
        """Factors that are ranges, by name."""
        return {name: levels for name, levels in self.levels.items() if isinstance(levels, Range)}

    @property
    def varied(self) -> list[str]:
        """Factors with more than one level, in alphabetical order."""
        return sorted(name for name, levels in self.levels.items() if isinstance(levels, Range) or len(levels) > 1)

    @property
    def arms(self) -> list[Arm]:
        """The arms; one with settings that dotted factors give, at the first levels of these."""
        return [self._arm(arm, self._firsts) for arm in self._listed("defense")]

    @property
    def arm_words(self) -> list[str]:
        """The arms in words: by their defenses where these tell them apart, as drawn settings are not the arms' own."""
        names = [arm.defense for arm in self.arms]
        return names if len(set(names)) == len(names) else labels(self.arms)

    @property
    def targets(self) -> list[Mapping[str, Any]]:
        """Levels of the factor `target`, as given: settings, and label, arms and training where there are any."""
        return self._listed("target")

    @property
    def target_choices(self) -> list[Choice[Target]]:
        """The targets, with settings that dotted factors give at the first levels of these."""
        return [self._settings_of(given, self._own_firsts)[0] for given in self.targets]

    @property
    def target_labels(self) -> list[str]:
        """The label of each target."""
        return [label_of(target) for target in self.targets]

    @property
    def trained_targets(self) -> dict[str, str]:
        """By label, one text per all settings of a target and its training but those that dotted factors give."""
        found = {}
        for given in self.targets:
            choice, training = self._settings_of(given, self._own_firsts)
            settings = {
                **{f"target.{key}": value for key, value in choice.to_dict().items()},
                **{f"training.{key}": value for key, value in training.to_dict().items()},
            }
            kept = {key: value for key, value in settings.items() if key not in self.levels}
            found[label_of(given)] = canonical_json(kept)
        return found

    @property
    def kin(self) -> dict[str, str]:
        """Labels of targets, and what each is compared with: the published network of its name, or the first one."""
        targets = self.targets
        first: dict[str, str] = {}
        for target in [*filter(self._is_published, targets), *targets]:
            first.setdefault(target["name"], label_of(target))
        named = {label_of(target): first[target["name"]] for target in targets}
        return {label: other for label, other in named.items() if label != other}

    def _is_published(self, target: Mapping[str, Any]) -> bool:
        choice, _ = self._settings_of(target, self._own_firsts)
        return choice.cls.is_published(choice.config)

    def takes(self, target: Mapping[str, Any], number: int) -> bool:
        """Whether a target is trained under an arm, by its number."""
        wanted = target.get("arms")
        return wanted is None or bool({self.arms[number].defense, labels(self.arms)[number]} & set(wanted))

    def inert(self, name: str) -> list[str]:
        """Arms for which a dotted factor of a defense means nothing, in words."""
        if not name.startswith("defense."):
            return []
        return [arm.label for arm in self.arms if name.split(".")[1] not in [choice.name for choice in arm.choices]]

    def bounds(self, name: str) -> tuple[int, ...]:
        """Levels of a factor of whole numbers, ascending; of a range, the ends."""
        levels = self.levels[name]
        return (int(levels.low), int(levels.high)) if isinstance(levels, Range) else tuple(sorted(levels))

    def factorial(self) -> tuple[Cell, ...]:
        """Every combination of levels; ValueError for a range, which has no levels of its own."""
        for name in self.ranges:
            raise Refused(
                f"factors.{name}: a range needs `design: {{name: random, points: 50}}` (or latin_hypercube, sobol), or "
                "a search; or give it levels as a list"
            )
        require_at_most(
            bounds.product(len(self._listed(name)) for name in self.levels if name != self.budget),
            MOST_POINTS,
            "factors",
            "combinations of levels",
            "give fewer levels, or draw some by `design: {name: random, points: 50}`",
        )
        outer = ["target", *self.dotted]
        taken = {label_of(target): self._arms_of(target) for target in self.targets}
        return tuple(
            self.cell(
                {**dict(zip(outer, values, strict=True)), "train_size": n, "defense": arm}, self.bounds(self.budget)
            )
            for values in product(*(self._listed(name) for name in outer))
            for n in self.bounds("train_size")
            for arm in taken[label_of(values[0])]
        )

    def cell(self, combination: Mapping[str, Any], levels: tuple[int, ...]) -> Cell:
        """The cell of one level of each factor but the budget; ValueError when settings refuse a level."""
        given = {name: combination[name] for name in self.dotted}
        own = {name: level for name, level in given.items() if not name.startswith("defense.")}
        target, training = self._settings_of(combination["target"], own)
        arm, label = self._arm(combination["defense"], given), label_of(combination["target"])
        return Cell(combination["train_size"], arm, target, training, own, levels, label)

    def resolved(self) -> dict[str, Any]:
        """The form a spec has, defaults filled in."""
        return {
            **{name: levels.to_dict() if isinstance(levels, Range) else levels for name, levels in self.levels.items()},
            "defense": [self._resolved_arm(arm) for arm in self.arms],
            "target": [self._resolved_target(target) for target in self.targets],
        }

    def _listed(self, name: str) -> list[Any]:
        levels = self.levels[name]
        assert not isinstance(levels, Range)
        return levels

    @property
    def _firsts(self) -> dict[str, Any]:
        """A level of each dotted factor."""
        return {name: _first(self.levels[name]) for name in self.dotted}

    @property
    def _own_firsts(self) -> dict[str, Any]:
        """A level of each dotted factor of target and training."""
        return {name: level for name, level in self._firsts.items() if not name.startswith("defense.")}

    def _arms_of(self, target: Mapping[str, Any]) -> list[Any]:
        return [arm for number, arm in enumerate(self._listed("defense")) if self.takes(target, number)]

    def _arm(self, given: Any, dotted: Mapping[str, Any]) -> Arm:
        own = {name.partition(".")[2]: level for name, level in dotted.items() if name.startswith("defense.")}
        with offers.within(self.at_hand):
            return Arm.parse(_with(given, own), "factors.defense")

    def _settings_of(self, target: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[Choice[Target], TrainingConfig]:
        """Target and training. own: levels of dotted factors."""
        with offers.within(self.at_hand):
            return settings_of(target, self.training, own)

    def _resolved_arm(self, arm: Arm) -> Any:
        """All settings of an arm but those that dotted factors give."""
        parts = [
            {key: value for key, value in part.items() if f"defense.{part['name']}.{key}" not in self.levels}
            for part in arm.to_list()
        ]
        return parts or "none"

    def _resolved_target(self, given: Mapping[str, Any]) -> dict[str, Any]:
        choice, training = self._settings_of(given, {})
        own = {key: given[key] for key in ("label", "arms") if key in given}
        return {**choice.to_dict(), **({"training": training.to_dict()} if "training" in given else {}), **own}


NO_FACTORS = Factors("epochs", {"train_size": [], "epochs": [0], "defense": ["none"], "target": []}, {})
"""Of a study that trains nothing."""


def read_factors(given: Mapping[str, Any], target: Any, training: Mapping[str, Any], ranged: bool) -> Factors:
    """`factors:` of a study file; target: the study's one, if it has one. ValueError in one line.

    ranged: whether a design or a search draws levels; else lists of a defense's settings make arms, one for each
    combination.
    """
    for name in given:
        if not is_column(name):
            raise Refused(f"factors: {quoted(name)} is no name of a factor")
        if name not in OWN_FACTORS and (name.split(".")[0] not in DOTTED_SECTIONS or "." not in name):
            sections = ", ".join(f"{section}.*" for section in DOTTED_SECTIONS)
            raise Refused(f"factors.{name}: unknown factor{nearest(name, OWN_FACTORS)}, or {sections}")
    budget = budget_of(given)
    dotted = {
        name: _range_or_values(levels, f"factors.{name}") for name, levels in given.items() if name not in OWN_FACTORS
    }
    arms = list(_arms(given, {name.partition(".")[2]: _first(levels) for name, levels in _of_defenses(dotted).items()}))
    for name in _of_defenses(dotted):
        _require_defense(name, arms)
    if not ranged:
        arms, dotted = _multiplied(arms, dotted)
    levels: dict[str, list[Any] | Range] = {
        "train_size": _whole(given, "train_size"),
        budget: _whole(given, budget),
        "defense": arms,
        "target": list(read_targets(target, given)),
        **dotted,
    }
    factors = Factors(budget, levels, training, offers.facts_at_hand())
    unique([str(arm.to_list()) for arm in factors.arms], "factors.defense", "name each arm once")
    _check_limits(factors, ranged)
    return factors


def in_words(levels: Sequence[Any] | Mapping[str, Any]) -> str:
    """Levels or a range of a resolved spec, in words."""
    return str(validate(Range, levels, "")) if isinstance(levels, Mapping) else ", ".join(map(str, levels))


def budget_of(given: Mapping[str, Any]) -> Budget:
    """What levels of training count, by the factors of a spec or the settings of a trial; ValueError for both."""
    if "epochs" in given and "steps" in given:
        raise Refused("factors.steps: give levels of epochs or of steps, one of them")
    return "steps" if "steps" in given else "epochs"


def _range_or_values(levels: Any, where: str) -> list[Any] | Range:
    return validate(Range, levels, where) if isinstance(levels, Mapping) else values_of(levels, where)


def _whole(given: Mapping[str, Any], name: str) -> list[int] | Range:
    where = f"factors.{name}"
    if name not in given:
        raise Refused(f"{where}: required, and missing")
    if isinstance(given[name], Mapping):
        found = validate(Range, {**given[name], "kind": "integer"}, where)
        if found.low < 1:
            raise Refused(f"{where}: levels must be whole numbers from 1, got {found.low:g}")
        return found
    values = values_of(given[name], where)
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise Refused(f"{where}: levels must be whole numbers from 1, got {shorten(repr(value))}")
    return sorted(values)


def _arms(given: Mapping[str, Any], dotted: Mapping[str, Any]) -> Iterator[Any]:
    """Arms as given, with one value for each of their settings; checked with a level of each dotted factor."""
    where = "factors.defense"
    levels = given.get("defense", ["none"])
    for number, level in enumerate(levels if isinstance(levels, list) else [levels]):
        if isinstance(level, Mapping):
            lists = (len(value) for value in level.values() if isinstance(value, list))
            _require_arms(lists, f"{where}[{number}]")
    for number, level in enumerate(values_of(levels, where)):
        for arm in _expand(level, f"{where}[{number}]"):
            Arm.parse(_with(arm, dotted), f"{where}[{number}]")
            yield arm


def _expand(level: Any, where: str) -> list[Any]:
    """An arm's settings may be lists, e.g. `sigma: [1, 2]`: one arm for each combination."""
    if isinstance(level, Mapping):
        lists = [listed(value, f"{where}.{key}") for key, value in level.items()]
        _require_arms(map(len, lists), where)
        return [dict(zip(level, values, strict=True)) for values in product(*lists)]
    if isinstance(level, list):
        expanded = [_expand(part, where) for part in level]
        _require_arms(map(len, expanded), where)
        return [list(parts) for parts in product(*expanded)]
    return [level]


def _require_arms(counts: Iterable[int], where: str) -> None:
    """Refused where settings in lists make too many arms. counts: of the lists."""
    require_at_most(bounds.product(counts), MOST_LEVELS, where, "arms", "give fewer values of its settings")


def _multiplied(
    arms: Sequence[Any], dotted: Mapping[str, list[Any] | Range]
) -> tuple[list[Any], dict[str, list[Any] | Range]]:
    """Arms with one value for each setting that a dotted factor lists, and the other dotted factors."""
    own = {name: levels for name, levels in _of_defenses(dotted).items() if isinstance(levels, list)}
    keys = [name.partition(".")[2] for name in own]
    _require_arms([len(arms), *map(len, own.values())], "factors.defense")
    several = [_with(arm, dict(zip(keys, values, strict=True))) for arm in arms for values in product(*own.values())]
    distinct = [arm for number, arm in enumerate(several) if arm not in several[:number]]
    return distinct, {name: levels for name, levels in dotted.items() if name not in own}


def _of_defenses(dotted: Mapping[str, Any]) -> dict[str, Any]:
    return {name: levels for name, levels in dotted.items() if name.startswith("defense.")}


def _first(levels: list[Any] | Range) -> Any:
    return levels.level(0) if isinstance(levels, Range) else levels[0]


def _with(given: Any, own: Mapping[str, Any]) -> Any:
    """An arm as given, with those of the settings (`dp_sgd.sigma`) that are its own."""
    if isinstance(given, list):
        return [_with(part, own) for part in given]
    values = given if isinstance(given, Mapping) else {"name": given}
    added = {
        key: x for (name, _, key), x in ((k.partition("."), x) for k, x in own.items()) if name == values.get("name")
    }
    return {**values, **added} if added else given


def _require_defense(name: str, arms: Sequence[Any]) -> None:
    """ValueError for a dotted factor of a defense that no arm has."""
    _, defense, *rest = name.split(".")
    if not DEFENSES.knows(defense) or not rest:
        known = [f"defense.{word}.*" for word in DEFENSES.names()]
        raise Refused(f"factors.{name}: unknown factor{nearest(name, known)}")
    parts = [part for arm in arms for part in (arm if isinstance(arm, list) else [arm])]
    if defense not in [part.get("name") if isinstance(part, Mapping) else part for part in parts]:
        raise Refused(f"factors.{name}: no arm of factors.defense has {defense}")


def _check_limits(factors: Factors, ranged: bool) -> None:
    """Refused for a target that is limited to arms which there are not, or an arm that no target is trained under."""
    targets, arms = factors.targets, factors.arms
    first: dict[str, str] = {}
    for label, trained in factors.trained_targets.items():
        if first.setdefault(trained, label) != label:
            raise Refused(f"factors.target: {first[trained]} and {label} are the same network, trained the same way")
    words = dict.fromkeys([*labels(arms), *(arm.defense for arm in arms)])
    for target in targets:
        if "arms" not in target:
            continue
        where = f"factors.target: {label_of(target)}.arms"
        if ranged:
            raise Refused(f"{where}: points that are drawn combine every target with every arm; leave it out")
        for word in values_of(target["arms"], where):
            if not isinstance(word, str) or word not in words:
                raise Refused(f"{where}: unknown arm {quoted(word)}{nearest(str(word), words)}")
    for number, word in enumerate(labels(arms)):
        if not any(factors.takes(target, number) for target in targets):
            raise Refused(f"factors.defense: no target is trained under {word}; name it in the `arms` of one")
