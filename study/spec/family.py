"""Contrasts that a study declares before any result: pairs of cells that differ in one factor.

All other comparisons are exploratory. A study that says nothing declares, for every target (and level of further
factors): each arm against `none` after the last level of training, at each training-set size; and without a defense the
largest training-set size against the smallest after the last level, and the last level against the first at each size.
Where it has several targets of one name, as DCGANs of two norms, each is compared with the published network of that
name (else the first), too: without a defense, after the last level of training, at each size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

from mia_core.defenses import Arm, labels
from mia_core.errors import Refused, shorten
from mia_core.offers import reading
from mia_core.settings import nearest, settings, validate
from study.spec.factors import NO_FACTORS, Factors, read_factors
from study.spec.of_packages import PACKAGED
from study.spec.values import listed


@settings
class ContrastSpec:
    """One item of `contrasts:`, for every target. factor: `defense`, `train_size`, `epochs` (`steps`), or `target`.

    level, baseline: of it, arms in words, targets by label; by default each arm and `none`, the largest and the
    smallest size, the last and the first level, each target and the published one of its name. at: levels of the other
    factors but the target, one contrast for each combination; by default the last level of training, the arm `none`,
    and every size.
    """

    factor: str
    level: str | int | None = None
    baseline: str | int | None = None
    at: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Contrast:
    """level less baseline of a factor (`defense`, whose levels are words, `train_size`, or the budget), at the levels
    of the other two, by name: the same for every target and level of further factors. Or of `target`, at the levels of
    these three.
    """

    factor: str
    level: str | int
    baseline: str | int
    at: Mapping[str, str | int]

    @property
    def ends(self) -> tuple[dict[str, str | int], dict[str, str | int]]:
        """The two cells: levels of all three factors, by name, and of `target` where that is the one."""
        return {**self.at, self.factor: self.level}, {**self.at, self.factor: self.baseline}


Levels = Mapping[str, Sequence[str | int]]
"""Levels of `defense` (words, what the others are compared with first), `train_size` and the budget, ascending; and of
`target`, where there are several."""

Kin = Mapping[str, str]
"""As of `Factors.kin`: a target's label, and that of the one it is compared with."""

TARGET = "target"


def check_contrasts(given: Sequence[Any], factors: Factors) -> list[dict[str, Any]]:
    """Items of `contrasts:` in the form a spec has; Refused in one line for what the factors do not have."""
    items = [{"factor": item} if isinstance(item, str) else item for item in given]
    specs = [validate(ContrastSpec, item, f"contrasts[{number}]") for number, item in enumerate(items)]
    for number, spec in enumerate(specs):
        if not list(_contrasts(spec, _levels(factors), factors.kin, f"contrasts[{number}]")):
            lacking = "no two targets of one name" if spec.factor == TARGET else "one level"
            raise Refused(f"contrasts[{number}]: factors.{spec.factor} has {lacking}, and a contrast needs two")
    return [asdict(spec) for spec in specs]


def contrasts(
    levels: Levels, items: Sequence[Mapping[str, Any]] | None = None, kin: Kin | None = None
) -> tuple[Contrast, ...]:
    """The declared ones, each once. items: of `contrasts:` as a spec has them; None for a study that says nothing."""
    if items is None:
        items = [{"factor": name} for name in levels]
    found: list[Contrast] = []
    for number, item in enumerate(items):
        where = f"contrasts[{number}]"
        spec = validate(ContrastSpec, item, where)
        found += [contrast for contrast in _contrasts(spec, levels, kin or {}, where) if contrast not in found]
    return tuple(found)


def contrasts_of(resolved: Mapping[str, Any]) -> tuple[Contrast, ...]:
    """The declared ones of a resolved spec; none where levels are drawn or chosen by a search."""
    if "design" in resolved or "search" in resolved or "release" in resolved:
        return ()
    factors = _factors(resolved)
    return contrasts(_levels(factors), resolved.get("contrasts"), factors.kin)


def arms_of(resolved: Mapping[str, Any]) -> dict[str, Arm]:
    """The arms of a resolved spec by the words that its contrasts have for them."""
    arms = _factors(resolved).arms
    return dict(zip(labels(arms), arms, strict=True))


def targets_of(resolved: Mapping[str, Any]) -> dict[str, str]:
    """What the labels of targets of a resolved spec stand for, as of `Factors.trained_targets`."""
    return _factors(resolved).trained_targets


def _factors(resolved: Mapping[str, Any]) -> Factors:
    if "release" in resolved:
        return NO_FACTORS
    ranged = "design" in resolved or "search" in resolved
    with reading(resolved.get(PACKAGED)):
        return read_factors(resolved["factors"], None, resolved["training"], ranged)


def _levels(factors: Factors) -> Levels:
    """Arms by strength, `none` first."""
    words = dict(zip(labels(factors.arms), factors.arms, strict=True))
    by_strength = sorted(words, key=lambda w: (bool(words[w].choices), words[w].defense, words[w].strength))
    sizes, lengths = factors.bounds("train_size"), factors.bounds(factors.budget)
    targets = {TARGET: factors.target_labels} if len(factors.target_labels) > 1 else {}
    return {"defense": by_strength, "train_size": sizes, factors.budget: lengths, **targets}


def _contrasts(spec: ContrastSpec, levels: Levels, kin: Kin, where: str) -> Iterator[Contrast]:
    if spec.factor not in levels:
        raise Refused(f"{where}.factor: unknown factor {shorten(repr(spec.factor))}{nearest(spec.factor, levels)}")
    pairs = _pairs(spec, levels[spec.factor], kin, where)
    rest = {name: known for name, known in levels.items() if name not in (spec.factor, TARGET)}
    for name in spec.at:
        if name not in rest:
            raise Refused(f"{where}.at: unknown factor {shorten(repr(name))}{nearest(name, rest)}")
    chosen = {name: _at(spec, name, known, where) for name, known in rest.items()}
    for combination in product(*chosen.values()):
        for level, baseline in pairs:
            if level != baseline:
                yield Contrast(spec.factor, level, baseline, dict(zip(chosen, combination, strict=True)))


def _pairs(spec: ContrastSpec, own: Sequence[str | int], kin: Kin, where: str) -> list[tuple[str | int, str | int]]:
    """Levels and their baselines."""
    baseline = None if spec.baseline is None else _known(spec.baseline, own, f"{where}.baseline")
    above = {"defense": own[1:], TARGET: list(own if baseline is not None else kin)}.get(spec.factor, own[-1:])
    wanted = above if spec.level is None else [_known(spec.level, own, f"{where}.level")]
    first = kin if spec.factor == TARGET else {}
    return [(level, first.get(str(level), own[0]) if baseline is None else baseline) for level in wanted]


def _at(spec: ContrastSpec, name: str, known: Sequence[str | int], where: str) -> Sequence[str | int]:
    """Levels of one of the other factors: as given, else the arm `none`, every size, the last level of training."""
    if name in spec.at:
        at = f"{where}.at.{name}"
        return [_known(level, known, at) for level in listed(spec.at[name], at)]
    return {"defense": known[:1], "train_size": known}.get(name, known[-1:])


def _known(level: Any, known: Sequence[str | int], where: str) -> str | int:
    if level not in known or isinstance(level, bool):
        raise Refused(f"{where}: unknown level {shorten(repr(level))}{nearest(str(level), map(str, known))}")
    return level
