"""How often intervals cover and tests are wrong in simulated studies: a few for `make test`, 4,000 for `make validate`.

Every function yields rows of a table, each with what it found in so many studies and the tolerance it has to be within.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.stats import t as student

from mia_core.metrics.control_variate import with_control_variate
from mia_core.metrics.influence import aucs
from mia_core.metrics.low_fpr import tpr_at_low_fpr
from mia_core.metrics.redraw import adjusted_mean_aucs, independent_coins, mean_aucs, redrawn
from mia_core.metrics.trial_interval import trial_intervals
from mia_core.metrics.two_way import FEWEST_ERRORS, contrast, mean_auc, weighted_sum
from mia_core.streams import Streams
from tests.mia_core.leaking_scores import Population

AT_ONCE = 50
"""Studies simulated together."""

TWO_WAY, CONSERVATIVE, EXACTLY_FALSE = (0.93, 0.97), (0.94, 1.0), (0.04, 0.06)
"""Tolerances of shares of 4,000 studies: in which an interval covers (CONSERVATIVE also where 0 is the truth of a
difference, so that 5 % at most are falsely shown, and a standard error or three), or an exact test at 5 % errs."""

Design = tuple[int, float]
"""Judged records, and the probability of each to be a member."""

COINS, RARE = (140, 0.5), (440, 70 / 440)


@dataclass(frozen=True)
class Row:
    """A share of `runs` studies, and within which limits the true one has to be.

    half_width: the median. over_replicates: what a t interval over replicates alone, which nobody offers, covers.
    """

    case: str
    method: str
    share: float
    tolerance: tuple[float, float]
    runs: int
    half_width: float | None = None
    over_replicates: float | None = None

    def good(self, deviations: float) -> bool:
        """Whether the share is within its tolerance, but for so many standard errors of it."""
        low, high = self.tolerance
        below, above = (deviations * (edge * (1 - edge) / self.runs) ** 0.5 for edge in self.tolerance)
        return low - below <= self.share <= high + above


def _chunks(runs: int, simulate: Callable[[int], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What simulate(count) found, arrays [count] or [2, count] by name, for so many studies in all."""
    found = [simulate(min(AT_ONCE, runs - start)) for start in range(0, runs, AT_ONCE)]
    return {name: np.concatenate([part[name] for part in found], axis=-1) for name in found[0]}


def _coverage(case: str, method: str, limits: np.ndarray, truth: float, tolerance: tuple[float, float]) -> Row:
    low, high = limits
    held = float(np.mean((low <= truth) & (truth <= high)))
    return Row(case, method, held, tolerance, limits.shape[-1], float(np.median(high - low)) / 2)


def t_limits(auc: np.ndarray) -> np.ndarray:
    """Of a t interval over replicates alone, [2, runs] from [runs, R]."""
    half = student.ppf(0.975, auc.shape[-1] - 1) * auc.std(-1, ddof=1) / auc.shape[-1] ** 0.5
    return np.stack([auc.mean(-1) - half, auc.mean(-1) + half])


def mean_aucs_covered(
    runs: int, population: Population, design: Design, replicates: tuple[int, ...], variate: tuple[int, ...] = ()
) -> Iterator[Row]:
    """The two-way interval at each number of replicates, and with the control variate at some."""
    random = Streams("coverage").numpy("mean", runs, str(population), *map(str, design))
    persons = population.persons(design[0]) if population.per_person > 1 else None

    def simulate(count: int) -> dict[str, np.ndarray]:
        scores, member = population.draw(random, count, max(replicates), *design)
        cell = aucs(scores, member, persons)
        found = {f"two-way {r}": np.stack(mean_auc(cell[:, :r]).interval()) for r in replicates}
        found |= {f"t {r}": t_limits(cell.auc[:, :r]) for r in replicates}
        for r in variate:
            adjusted = with_control_variate(scores[:, :r], member[:, :r], persons)
            found[f"variate {r}"] = np.stack(mean_auc(adjusted).interval())
        return found

    limits, truth = _chunks(runs, simulate), population.auc()
    case = f"{_words(population)}, AUC {truth:.3f}, {_of(design)}"
    for r in replicates:
        tolerance = TWO_WAY if design[0] * min(truth, 1 - truth) > 2 * FEWEST_ERRORS else CONSERVATIVE
        over_replicates = _coverage("", "", limits[f"t {r}"], truth, tolerance).share
        row = _coverage(f"{case}, R = {r}", "two-way", limits[f"two-way {r}"], truth, tolerance)
        yield replace(row, over_replicates=over_replicates)
        if r in variate:
            yield _coverage(f"{case}, R = {r}", "with variate", limits[f"variate {r}"], truth, tolerance)


def contrasts_covered(
    runs: int, population: Population, design: Design, replicates: tuple[int, ...], gains: tuple[float, ...]
) -> Iterator[Row]:
    """Differences of two cells, or a slope over more, that share records and coins; the truth is 0 for equal gains."""
    random = Streams("coverage").numpy("contrast", runs, str(population), str(gains), *map(str, design))
    weights = np.arange(len(gains)) - (len(gains) - 1) / 2
    weights = -weights / (weights**2).sum() if len(gains) > 2 else np.array([1.0, -1.0])

    def simulate(count: int) -> dict[str, np.ndarray]:
        scores, member = population.cells(random, count, max(replicates), *design, gains)
        cells = [aucs(values, member) for values in scores]
        return {
            str(r): np.stack(
                contrast(cells[0][:, :r], cells[1][:, :r]).interval()
                if len(cells) == 2
                else weighted_sum([cell[:, :r] for cell in cells], weights).interval()
            )
            for r in replicates
        }

    limits = _chunks(runs, simulate)
    truth = float(weights @ [population.auc(times) for times in gains])
    what = "no difference" if len(set(gains)) == 1 else f"{'slope' if len(gains) > 2 else 'difference'} {truth:+.3f}"
    tolerance = CONSERVATIVE if len(set(gains)) == 1 else TWO_WAY
    for r in replicates:
        case = f"{_words(population)}, {what}, {_of(design)}, R = {r}"
        yield _coverage(case, "contrast", limits[str(r)], truth, tolerance)


def rows_covered(runs: int, members: int, others: int, shift: float, per_person: int = 1, within: float = 0.0) -> Row:
    """The interval of one trial's AUC; the target is fixed, and records are new."""
    population = Population(shift=shift, per_person=per_person, within=within)
    random = Streams("coverage").numpy("row", members, others, str(shift), per_person, str(within))
    member = np.repeat([True, False], [members, others])
    persons = population.persons(members + others) if per_person > 1 else None

    def simulate(count: int) -> dict[str, np.ndarray]:
        scores = population.normal(random, count, 1, members + others)[:, 0] + shift * member
        return {"row": np.stack(trial_intervals(scores, np.tile(member, (count, 1)), persons)[1:])}

    truth = population.auc()
    sparse = min(members, others) / per_person * (1 - truth) < 3
    of = f", {per_person} a person (correlation {within:g})" if per_person > 1 else ""
    case = f"one trial, AUC {truth:.3f}, {members} members and {others} others{of}"
    return _coverage(case, "row", _chunks(runs, simulate)["row"], truth, CONSERVATIVE if sparse else TWO_WAY)


def low_fpr_covered(runs: int, population: Population, design: Design, replicates: int) -> Row:
    """TPR at 1 % FPR."""
    random = Streams("coverage").numpy("tpr", runs, str(population), replicates)
    truth = population.tpr_of_ranks(random, *design, 0.01)

    def simulate(count: int) -> dict[str, np.ndarray]:
        scores, member = population.draw(random, count, replicates, *design)
        found = [tpr_at_low_fpr(s, c, random) for s, c in zip(scores, member, strict=True)]
        return {"limits": np.array([tpr.interval() for tpr in found if tpr is not None]).T}

    case = f"{_words(population)}, TPR {truth:.3f} at 1 % FPR, {_of(design)}, R = {replicates}"
    return _coverage(case, "TPR at 1 % FPR", _chunks(runs, simulate)["limits"], truth, CONSERVATIVE)


def falsely_shown(
    runs: int, population: Population, design: Design, replicates: int, attacks: int, variate: bool = False
) -> Row:
    """Studies of several attacks without any gain in which one is shown; attacks share half of their difficulty."""
    random = Streams("coverage").numpy("shown", runs, str(population), replicates, attacks)
    law = independent_coins(design[1], replicates, design[0])
    statistic = adjusted_mean_aucs if variate else mean_aucs
    false = 0
    for _ in range(runs):
        common, member = population.draw(random, 1, replicates, *design)
        own = [population.draw(random, 1, replicates, *design)[0][0] for _ in range(attacks)]
        scores = [common[0] + values for values in own] if attacks > 1 else own
        false += redrawn(scores, member[0], law, random, 99, statistic).of().p_strongest <= 0.05
    case = f"{_words(population)}, {attacks} attacks at chance, {_of(design)}, R = {replicates}"
    return Row(case, "redraw with variate" if variate else "redraw", false / runs, EXACTLY_FALSE, runs)


def full_table(runs: int) -> Iterator[Row]:
    """All cases that are offered, each in so many studies."""
    for design, share in product((COINS, RARE), (0.0, 0.5, 0.8)):
        for unequal in (0.0, 0.8):
            yield from mean_aucs_covered(runs, Population(share, unequal), design, (5, 10, 20), (5,))
    for share, shift in ((0.0, 2.0), (0.8, 2.0), (0.8, 3.3)):
        yield from mean_aucs_covered(runs, Population(share, shift=shift), COINS, (5, 10))
    persons = Population(0.5, unequal=0.8, per_person=4, within=0.9)
    yield from mean_aucs_covered(runs, persons, (240, 0.5), (5, 10, 20), (5,))
    for share, common in ((0.0, 0.0), (0.5, 0.5), (0.8, 0.5)):
        yield from contrasts_covered(runs, Population(share, 0.8, common_noise=common), COINS, (5, 10), (1.0, 1.0))
    yield from contrasts_covered(runs, Population(0.5, 0.8, common_noise=0.5), RARE, (5, 10), (1.0, 1.0))
    for gains in ((1.0, 0.5), (1.0, 0.7, 0.3)):
        yield from contrasts_covered(runs, Population(0.5, 0.8, common_noise=0.5), COINS, (5, 10, 20), gains)
    for share, variate in ((0.0, False), (0.8, False), (0.8, True)):
        yield falsely_shown(runs, Population(share), (40, 0.5), 5, 1 if variate else 10, variate)
    for share, unequal, replicates in ((0.0, 0.8, 5), (0.8, 0.8, 5), (0.5, 0.0, 5), (0.5, 0.8, 10)):
        yield low_fpr_covered(runs, Population(share, unequal), RARE, replicates)
    for members, others, shift in ((70, 70, 0.0), (70, 370, 1.5), (70, 70, 2.5), (70, 370, 3.0)):
        yield rows_covered(runs, members, others, shift)
    yield rows_covered(runs, 120, 120, 1.0, 4, 0.9)


def _words(population: Population) -> str:
    words = f"record share {population.share:g}"
    if population.common_noise:
        words += f", {population.common_noise:.0%} of the noise in common"
    if population.per_person > 1:
        words += f", {population.per_person} a person (correlation {population.within:g})"
    return words


def _of(design: Design) -> str:
    return f"{design[0]} at {design[1]:.3g}"


def table(rows: Sequence[Row], deviations: float) -> str:
    """As Markdown; what is outside its tolerance by more than so many standard errors is marked."""
    names = ("studies", "method", "found", "tolerance", "half-width", "t over replicates", "")
    lines = [f"| {' | '.join(names)} |", "| --- " * len(names) + "|"]
    for row in rows:
        width = f"{row.half_width:.3f}" if row.half_width is not None else ""
        limits = f"{row.tolerance[0]:.0%} to {row.tolerance[1]:.0%}"
        compared = f"{row.over_replicates:.1%}" if row.over_replicates is not None else ""
        mark = "" if row.good(deviations) else "**outside**"
        lines.append(f"| {row.case} | {row.method} | {row.share:.1%} | {limits} | {width} | {compared} | {mark} |")
    return "\n".join(lines)
