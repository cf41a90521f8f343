"""What privacy costs: leakage at equal quality, the Pareto front with its uncertainty, and the best cell under a limit.

Quality is judged by one measure; every comparison is paired inside replicates. Leakage by AUC is compared in log odds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import t

from analysis.stats.cells import cells
from analysis.stats.effects import AUC, MIN_REPLICATES, effect_of, t_interval
from analysis.study_data import VARIANT, StudyData, lower_is_better
from mia_core.errors import Refused
from mia_core.streams import Streams
from study.spec.factors import Budget
from study.verdicts.controls import ALPHA

DRAWS = 20_000


@dataclass(frozen=True)
class Plane:
    """leakage, loss: [replicates, cells], lower is better in both; columns are levels of `names`.

    leakage is in log odds for AUC. loss is the measure of quality, with its sign turned where higher is better.
    """

    names: tuple[str, ...]
    value: str
    quality: str
    leakage: pd.DataFrame
    loss: pd.DataFrame

    def groups(self, by: Sequence[str]) -> Iterator[tuple[Any, list[Any], pd.Index]]:
        """Levels of `by`, the cells that have them, and the replicates that have all of these."""
        table = self.leakage.columns.to_frame(index=False)
        for levels, rows in table.groupby(list(by), sort=True) if by else [((), table)]:
            own = self.leakage.columns[rows.index].tolist()
            whole = self.leakage[own].notna().all(axis=1) & self.loss[own].notna().all(axis=1)
            yield levels, own, self.leakage.index[whole]

    def shown(self, leakage: Sequence[float], loss: Sequence[float]) -> dict[str, float]:
        """Mean, low and high of both, as they are read: AUC, and the measure of quality in its own sign."""
        read = [float(expit(x)) if self.value == AUC else float(x) for x in leakage]
        mean, low, high = (float(x) for x in loss)
        if not lower_is_better(self.quality):
            mean, low, high = -mean, -high, -low
        names = ("leakage", "leakage_low", "leakage_high", "quality", "quality_low", "quality_high")
        return dict(zip(names, [*read, mean, low, high], strict=True))


def plane(data: StudyData, attack: str, quality: str | None = None, value: str = AUC) -> Plane:
    """Both values of every cell; ValueError where the study has no measure of quality, or no value of the attack."""
    measure = quality or data.quality
    if measure is None:
        raise Refused(f"study {data.name} has no measure of quality, which the trade-off needs")
    leakage, loss = (cells(data, attack, name, data.cell).scale for name in (value, measure))
    common = leakage.columns.intersection(loss.columns)
    sign = 1 if lower_is_better(measure) else -1
    loss = sign * loss.loc[leakage.index.intersection(loss.index), common]
    return Plane(data.cell, value, measure, leakage[common], loss)


def equal_quality(data: StudyData, attack: str, quality: str | None = None, value: str = AUC) -> pd.DataFrame:
    """Each arm's leakage less that of training without defense, stopped where it has the same mean quality.

    The undefended path is interpolated between the two levels of training at which its mean quality passes that of the
    arm, first. What an error of quality does to the comparison is carried into every replicate's value (the delta
    method), so that the t interval over all replicates holds for quality too. Nothing is extrapolated.
    Columns of `data.cell`, quality, at_epochs (or at_steps), effect, low, high, p, sd, replicates, descriptive, reason
    (why not, or null).
    """
    found = plane(data, attack, quality, value)
    base = data.arms[0]
    rows = []
    all_cells: list[Any] = found.leakage.columns.tolist()
    for cell in all_cells:
        variant, arm, size, _ = cell
        path = [c for c in all_cells if c[:3] == (variant, base, size)]
        if arm == base or len(path) < 2:
            continue
        own = [cell, *path]
        whole = found.leakage[own].notna().all(axis=1) & found.loss.reindex(found.leakage.index)[own].notna().all(
            axis=1
        )
        leakage, loss = (frame.loc[whole[whole].index, own].to_numpy() for frame in (found.leakage, found.loss))
        named = {
            **dict(zip(data.cell, cell, strict=True)),
            "quality": found.shown([0] * 3, [loss[:, 0].mean()] * 3)["quality"],
        }
        rows.append({**named, **_early_stopping(leakage, loss, [c[3] for c in path], data.budget)})
    numbers = ["quality", f"at_{data.budget}", "effect", "low", "high", "p", "sd", "replicates", "descriptive"]
    return pd.DataFrame(rows, columns=[*data.cell, *numbers, "reason"])


def _early_stopping(leakage: np.ndarray, loss: np.ndarray, levels: Sequence[int], budget: Budget) -> dict[str, Any]:
    """leakage, loss: [R, 1 + L], of an arm and of the undefended path at its levels of training."""
    if not len(leakage):
        return {"replicates": 0, "descriptive": True, "reason": "no replicate has all of these cells"}
    target, path = loss[:, 0].mean(), loss[:, 1:].mean(0)
    passed = np.flatnonzero((path[:-1] >= target) & (target >= path[1:]))
    if path[0] < target:
        return _not_comparable(len(leakage), f"without defense quality is better already after {levels[0]} {budget}")
    if not len(passed):
        return _not_comparable(len(leakage), "training without defense never has quality as good")
    k = int(passed[0])
    run = path[k + 1] - path[k]
    share = (target - path[k]) / run if run else 0.0
    slope = (leakage[:, 2 + k].mean() - leakage[:, 1 + k].mean()) / run if run else 0.0

    def between(both: np.ndarray) -> np.ndarray:
        return (1 - share) * both[:, 1 + k] + share * both[:, 2 + k]

    values = leakage[:, 0] - between(leakage) - slope * (loss[:, 0] - between(loss))
    at = float(levels[k] ** (1 - share) * levels[k + 1] ** share)
    return {f"at_{budget}": at, **effect_of(values), "reason": None}


def _not_comparable(replicates: int, reason: str) -> dict[str, Any]:
    return {"replicates": replicates, "descriptive": replicates < MIN_REPLICATES, "reason": reason}


def front(
    data: StudyData,
    attack: str,
    quality: str | None = None,
    value: str = AUC,
    within: Sequence[str] = (VARIANT, "train_size"),
) -> pd.DataFrame:
    """Every cell's leakage and quality, and with what probability another cell of `within` is better in both.

    Means of all cells are drawn from a multivariate t around the paired values of the replicates, so that every
    difference of two cells has its own paired t distribution: a cell that truly is on the front is told to be dominated
    by a given other one with 95 % in at most 5 % of studies, at any number of replicates. (Resampling 5 replicates
    instead makes intervals too narrow by half.)
    Columns of `data.cell`, leakage, quality (both with _low and _high), on_front (by means), dominated (by any cell),
    dominated_by (the likeliest), dominated_by_probability, excluded (dominated, after Bonferroni over the rivals),
    rivals, replicates, descriptive.
    """
    found = plane(data, attack, quality, value)
    rows = []
    for _, own, replicates in found.groups(within):
        if not len(replicates):
            continue
        values = [frame.loc[replicates, own].to_numpy() for frame in (found.leakage, found.loss)]
        dominated, by = _dominance(*values)
        leakage, loss = (np.array([t_interval(column) for column in part.T]) for part in values)
        better = (leakage[:, None, 0] < leakage[:, 0]) & (loss[:, None, 0] < loss[:, 0])
        for number, cell in enumerate(own):
            rival = int(by[:, number].argmax())
            sure = by[rival, number]
            rows.append(
                {
                    **dict(zip(data.cell, cell, strict=True)),
                    **found.shown(leakage[number], loss[number]),
                    "on_front": not better[:, number].any(),
                    "dominated": dominated[number],
                    "dominated_by": _words(data, own[rival], within) if sure > 0 else None,
                    "dominated_by_probability": sure,
                    "excluded": bool(sure >= 1 - ALPHA / max(1, len(own) - 1)),
                    "rivals": len(own) - 1,
                    "replicates": len(replicates),
                    "descriptive": len(replicates) < MIN_REPLICATES,
                }
            )
    return pd.DataFrame(rows)


def _dominance(leakage: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From values [R,K] of each: the chance that any cell dominates each [K], and that i dominates j [K,K]."""
    count, size = leakage.shape
    if count < 2:
        return np.full(size, np.nan), np.full((size, size), np.nan)
    random = Streams("front").numpy("draws", count, size)
    spread = random.normal(size=(DRAWS, count)) / (count * (count - 1)) ** 0.5
    spread *= ((count - 1) / random.chisquare(count - 1, (DRAWS, 1))) ** 0.5
    one, other = (values.mean(0) + spread @ (values - values.mean(0)) for values in (leakage, loss))
    better = np.empty((size, size))
    dominated = np.empty(size)
    for number in range(size):
        beats = (one < one[:, [number]]) & (other < other[:, [number]])
        better[:, number], dominated[number] = beats.mean(0), beats.any(1).mean()
    return dominated, better


def least_leakage(
    data: StudyData,
    attack: str,
    at_most: float,
    quality: str | None = None,
    value: str = AUC,
    by: Sequence[str] = ("train_size",),
) -> pd.DataFrame:
    """The cell of least leakage whose quality is at most a limit (at least, where higher is better), for each `by`.

    Chosen among cells of which it is shown that they keep to the limit: one-sided 95 %, by Bonferroni over all cells of
    the group. A second row has the cell chosen by means alone, where that is another one; it is the first where the
    limit is shown of no cell, and `reason` says so. Intervals are simultaneous over all cells of the group, so that
    having been chosen takes nothing from their 95 %.
    Columns of `data.cell` (null where no cell satisfies), leakage, quality (both with _low and _high), confidence (that
    this cell keeps to the limit, by itself), shown, candidates (cells to choose from), replicates, descriptive, reason.
    """
    found = plane(data, attack, quality, value)
    limit = at_most if lower_is_better(found.quality) else -at_most
    words = f"{found.quality} {'at most' if lower_is_better(found.quality) else 'at least'} {at_most:g}"
    return _chosen(found, found.loss, found.leakage, limit, words, by)


def best_quality(
    data: StudyData,
    attack: str,
    at_most: float,
    value: str = AUC,
    quality: str | None = None,
    by: Sequence[str] = ("train_size",),
) -> pd.DataFrame:
    """The cell of best quality whose leakage `value` is at most a limit, for each `by`; else as `least_leakage`."""
    found = plane(data, attack, quality, value)
    limit = float(np.log(at_most / (1 - at_most))) if value == AUC else at_most
    return _chosen(found, found.leakage, found.loss, limit, f"{value} at most {at_most:g}", by)


def _chosen(
    found: Plane, limited: pd.DataFrame, wanted: pd.DataFrame, limit: float, words: str, by: Sequence[str]
) -> pd.DataFrame:
    rows = []
    for levels, own, replicates in found.groups(by):
        values, objective = (frame.loc[replicates, own].to_numpy() for frame in (limited, wanted))
        count, candidates = len(replicates), len(own)
        row: dict[str, Any] = dict(zip(by, levels, strict=True))
        row |= {"candidates": candidates, "replicates": count, "descriptive": count < MIN_REPLICATES, "shown": False}
        ways, confidence, shown = _choice(values, objective, limit)
        if not ways:
            rows.append({**row, "reason": f"no cell has {words} by its mean"})
        for number in ways:
            both = [frame.loc[replicates, own[number]].to_numpy() for frame in (found.leakage, found.loss)]
            bounds = [t_interval(part, 1 - ALPHA / candidates) for part in both]
            reason = None if shown[number] else f"chosen by its mean: not shown to have {words}"
            chosen = {"confidence": confidence[number], "shown": bool(shown[number]), "reason": reason}
            rows.append({**row, **dict(zip(found.names, own[number], strict=True)), **found.shown(*bounds), **chosen})
    numbers = ["leakage", "leakage_low", "leakage_high", "quality", "quality_low", "quality_high", "confidence"]
    columns = [*found.names, *numbers, "shown", "candidates", "replicates", "descriptive", "reason"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(found.names[2:], "Int64"))


def _choice(limited: np.ndarray, wanted: np.ndarray, limit: float) -> tuple[list[int], np.ndarray, np.ndarray]:
    """The cells chosen of [R,K], the one that is shown to keep to the limit first; confidence and shown [K] of all."""
    if not len(limited):
        return [], np.empty(0), np.empty(0)
    within, objective = limited.mean(0) <= limit, wanted.mean(0)
    confidence = _confidence(limited, limit)
    shown = confidence >= 1 - ALPHA / limited.shape[1]
    ways = [int(np.where(which, objective, np.inf).argmin()) for which in (shown, within) if which.any()]
    return list(dict.fromkeys(ways)), confidence, shown


def _confidence(values: np.ndarray, limit: float) -> np.ndarray:
    """One-sided confidence [K] that means of values [R,K] are at most a limit; NaN for a single replicate."""
    count = len(values)
    if count < 2:
        return np.full(values.shape[1], np.nan)
    error = values.std(0, ddof=1) / count**0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error > 0, t.cdf((limit - values.mean(0)) / error, count - 1), values.mean(0) <= limit)


def _words(data: StudyData, cell: Sequence[Any], within: Sequence[str]) -> str:
    return ", ".join(data.words(name, x) for name, x in zip(data.cell, cell, strict=True) if name not in within)
