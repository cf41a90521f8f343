"""Contrasts that a study declares before any result: pairs of cells that differ in one factor.

All other comparisons are exploratory. A study that says nothing declares, for every target (and level of further
factors): each arm against `none` after the last level of training, at each training-set size; and without a defense the
largest training-set size against the smallest after the last level, and the last level against the first at each size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

from mia_core.defenses import Arm, labels
from mia_core.errors import Refused
from mia_core.settings import nearest, settings, validate
from study.spec.factors import Factors, listed, read_factors


@settings
class ContrastSpec:
    """One item of `contrasts:`, for every target. factor: `defense`, `train_size`, or `epochs` (`steps`).

    level, baseline: of it, arms in words; by default each arm and `none`, the largest and the smallest size, the last
    and the first level. at: levels of the other two factors, one contrast for each combination; by default the last
    level of training, the arm `none`, and every size.
    """

    factor: str
    level: str | int | None = None
    baseline: str | int | None = None
    at: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Contrast:
    """level less baseline of a factor (`defense`, whose levels are words, `train_size`, or the budget), at the levels
    of the other two, by name: the same for every target and level of further factors.
    """

    factor: str
    level: str | int
    baseline: str | int
    at: Mapping[str, str | int]

    @property
    def ends(self) -> tuple[dict[str, str | int], dict[str, str | int]]:
        """The two cells: levels of all three factors, by name."""
        return {**self.at, self.factor: self.level}, {**self.at, self.factor: self.baseline}


def check_contrasts(given: Sequence[Any], factors: Factors) -> list[dict[str, Any]]:
    """Items of `contrasts:` in the form a spec has; Refused in one line for what the factors do not have."""
    items = [{"factor": item} if isinstance(item, str) else item for item in given]
    specs = [validate(ContrastSpec, item, f"contrasts[{number}]") for number, item in enumerate(items)]
    for number, spec in enumerate(specs):
        if not list(_contrasts(spec, factors, f"contrasts[{number}]")):
            raise Refused(f"contrasts[{number}]: factors.{spec.factor} has one level, and a contrast needs two")
    return [asdict(spec) for spec in specs]


def contrasts(factors: Factors, items: Sequence[Mapping[str, Any]] | None = None) -> tuple[Contrast, ...]:
    """The declared ones of factors without ranges, each once. items: of `contrasts:` as a spec has them, if it does."""
    if items is None:
        items = [{"factor": name} for name in ("defense", "train_size", factors.budget)]
    found: list[Contrast] = []
    for number, item in enumerate(items):
        where = f"contrasts[{number}]"
        found += [c for c in _contrasts(validate(ContrastSpec, item, where), factors, where) if c not in found]
    return tuple(found)


def contrasts_of(resolved: Mapping[str, Any]) -> tuple[Contrast, ...]:
    """The declared ones of a resolved spec; none where levels are drawn or chosen by a search."""
    if "design" in resolved or "search" in resolved:
        return ()
    factors = read_factors(resolved["factors"], None, resolved["training"], ranged=False)
    return contrasts(factors, resolved.get("contrasts"))


def arm_words(arms: Sequence[Arm]) -> list[str]:
    """Arms in words, `none` first, then by strength: the first is what the others are compared with."""
    words = dict(zip(labels(arms), arms, strict=True))
    return sorted(words, key=lambda word: (bool(words[word].choices), words[word].defense, words[word].strength))


def _contrasts(spec: ContrastSpec, factors: Factors, where: str) -> Iterator[Contrast]:
    budget = factors.budget
    every: dict[str, Sequence[str | int]] = {
        "defense": arm_words(factors.arms),
        "train_size": factors.bounds("train_size"),
        budget: factors.bounds(budget),
    }
    if spec.factor not in every:
        raise Refused(f"{where}.factor: unknown factor {spec.factor!r}{nearest(spec.factor, every)}")
    own = every[spec.factor]
    baseline = own[0] if spec.baseline is None else _known(spec.baseline, own, f"{where}.baseline")
    above = own[1:] if spec.factor == "defense" else own[-1:]
    levels = above if spec.level is None else [_known(spec.level, own, f"{where}.level")]
    rest = {name: known for name, known in every.items() if name != spec.factor}
    defaults = {"defense": every["defense"][:1], "train_size": every["train_size"], budget: every[budget][-1:]}
    for name in spec.at:
        if name not in rest:
            raise Refused(f"{where}.at: unknown factor {name!r}{nearest(name, rest)}")
    chosen = {
        name: [_known(level, known, f"{where}.at.{name}") for level in listed(spec.at[name], f"{where}.at.{name}")]
        if name in spec.at
        else defaults[name]
        for name, known in rest.items()
    }
    for combination in product(*chosen.values()):
        for level in levels:
            if level != baseline:
                yield Contrast(spec.factor, level, baseline, dict(zip(chosen, combination, strict=True)))


def _known(level: Any, known: Sequence[str | int], where: str) -> str | int:
    if level not in known or isinstance(level, bool):
        raise Refused(f"{where}: unknown level {level!r}{nearest(str(level), map(str, known))}")
    return level
