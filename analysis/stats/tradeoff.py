"""What privacy costs: leakage at equal quality, the Pareto front with its uncertainty, and the best cell under a limit.

Quality is judged by one measure, by t intervals over replicates; leakage by two-way intervals of AUC, which speak of
records like these. Every comparison is paired inside replicates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from analysis.stats.cells import Cells, cells
from analysis.stats.effects import mean_columns, p_value, t_interval
from analysis.stats.inference import AUC, columns_of_sum, mean_of
from analysis.study_data import VARIANT, StudyData, lower_is_better
from mia_core.errors import Refused
from mia_core.metrics.influence import Aucs
from mia_core.metrics.two_way import MIN_REPLICATES, CellSum, contrast, mean_auc, two_way_variance
from study.spec.factors import Budget
from study.verdicts.controls import ALPHA, holm


@dataclass(frozen=True)
class Plane:
    """leakage: the AUCs of an attack in every cell. loss: [replicates, cells], the measure of quality with its sign
    turned where higher is better, so that lower is better in both. Columns are levels of `names`.
    """

    names: tuple[str, ...]
    quality: str
    leakage: Cells
    loss: pd.DataFrame

    @property
    def columns(self) -> pd.Index:
        """The cells that have both."""
        return self.loss.columns

    def whole(self, own: Sequence[Any]) -> pd.Index:
        """The replicates that have both of all these cells."""
        there = self.leakage.values[list(own)].notna().all(axis=1)
        both = there & self.loss[list(own)].notna().all(axis=1).reindex(there.index, fill_value=False)
        return there.index[both]

    def groups(self, by: Sequence[str]) -> Iterator[tuple[Any, list[Any], pd.Index]]:
        """Levels of `by`, the cells that have them, and the replicates that have all of these."""
        table = self.columns.to_frame(index=False)
        for levels, rows in table.groupby(list(by), sort=True) if by else [((), table)]:
            own = self.columns[rows.index].tolist()
            yield levels, own, self.whole(own)

    def shown(self, name: str, estimate: tuple[float, float, float]) -> dict[str, float]:
        """Mean, low and high as they are read: quality in its own sign, its ends in order."""
        mean, low, high = (float(x) for x in estimate)
        if name == "quality" and not lower_is_better(self.quality):
            mean, low, high = -mean, -high, -low
        return {name: mean, f"{name}_low": low, f"{name}_high": high}


def plane(data: StudyData, attack: str, quality: str | None = None) -> Plane:
    """AUC and quality of every cell; ValueError where the study has no measure of quality, or none of the attack."""
    measure = quality or data.quality
    if measure is None:
        raise Refused(f"study {data.name} has no measure of quality, which the trade-off needs")
    leakage, loss = (cells(data, attack, name, data.cell) for name in (AUC, measure))
    common = leakage.values.columns.intersection(loss.values.columns)
    sign = 1 if lower_is_better(measure) else -1
    return Plane(data.cell, measure, leakage, sign * loss.values[common])


def equal_quality(data: StudyData, attack: str, quality: str | None = None) -> pd.DataFrame:
    """Each arm's AUC less that of training without defense, stopped where it has the same mean quality.

    The undefended path is interpolated between the two levels of training at which its mean quality passes that of the
    arm, first. What an error of quality does to the comparison is carried into every replicate's value (the delta
    method), so that the two-way interval holds for quality too. Nothing is extrapolated, and nothing is compared where
    the path's quality is not shown to differ between the two levels: any point between them would do as well.
    Columns of `data.cell`, quality, at_epochs (or at_steps), effect, low, high, p, sd, sd_records, replicates,
    descriptive, reason (why not, or null), p_holm (over all rows that are compared).
    """
    found = plane(data, attack, quality)
    base = data.arms[0]
    rows = []
    all_cells: list[Any] = found.columns.tolist()
    for cell in all_cells:
        variant, arm, size, _ = cell
        path = [c for c in all_cells if c[:3] == (variant, base, size)]
        if arm == base or len(path) < 2:
            continue
        own = [cell, *path]
        quality_of = found.loss.loc[found.whole(own), own].to_numpy()
        named = dict(zip(data.cell, cell, strict=True))
        named |= found.shown("quality", (quality_of[:, 0].mean() if len(quality_of) else np.nan,) * 3)
        rows.append({**named, **_early_stopping(found, own, data.budget)})
    numbers = ["quality", f"at_{data.budget}", "effect", "low", "high", "p", "sd", "sd_records", "replicates"]
    table = pd.DataFrame(rows, columns=[*data.cell, *numbers, "descriptive", "reason"])
    compared = table["p"].notna()
    table["p_holm"] = np.nan
    table.loc[compared, "p_holm"] = holm(table.loc[compared, "p"].to_numpy(float))
    return table


def _early_stopping(found: Plane, own: list[Any], budget: Budget) -> dict[str, Any]:
    """own: an arm's cell, then the undefended path's by level of training."""
    replicates = found.whole(own)
    if not len(replicates):
        return {"replicates": 0, "descriptive": True, "reason": "no replicate has all of these cells"}
    loss, levels = found.loss.loc[replicates, own].to_numpy(), [cell[3] for cell in own[1:]]
    target, path = loss[:, 0].mean(), loss[:, 1:].mean(0)
    passed = np.flatnonzero((path[:-1] >= target) & (target >= path[1:]))
    if path[0] < target:
        return _not_comparable(
            len(replicates), f"without defense mean quality is better already after {levels[0]} {budget}"
        )
    if not len(passed):
        return _not_comparable(len(replicates), "training without defense never has quality as good")
    k = int(passed[0])
    apart = p_value(loss[:, 1 + k] - loss[:, 2 + k])
    if not apart < ALPHA and len(replicates) > 1 and np.ptp(loss[:, 1 + k] - loss[:, 2 + k]) > 0:
        return _not_comparable(
            len(replicates),
            f"without defense quality is not shown to differ between {levels[k]} and {levels[k + 1]} {budget}",
        )
    run = path[k + 1] - path[k]
    share = (target - path[k]) / run if run else 0.0
    cell, one, other = (part_of(found.leakage, replicates, own[place]) for place in (0, 1 + k, 2 + k))
    slope = (other.auc.mean() - one.auc.mean()) / run if run else 0.0
    between = (1 - share) * loss[:, 1 + k] + share * loss[:, 2 + k]
    weights = (1.0, share - 1, -share)
    values = cell.auc + weights[1] * one.auc + weights[2] * other.auc - slope * (loss[:, 0] - between)
    influence = cell.influence + weights[1] * one.influence + weights[2] * other.influence
    means = tuple(mean_auc(part) for part in (cell, one, other))
    total = CellSum(values.mean(), two_way_variance(values, influence), len(values), weights, means)
    at = float(levels[k] ** (1 - share) * levels[k + 1] ** share)
    return {f"at_{budget}": at, **columns_of_sum(total, values), "reason": None}


def part_of(found: Cells, replicates: pd.Index, cell: Any) -> Aucs:
    """AUCs of one cell in those replicates."""
    assert found.aucs is not None
    return found.aucs[found.row.loc[replicates, cell].to_numpy(int)]


def _not_comparable(replicates: int, reason: str) -> dict[str, Any]:
    return {"replicates": replicates, "descriptive": replicates < MIN_REPLICATES, "reason": reason}


def front(
    data: StudyData,
    attack: str,
    quality: str | None = None,
    within: Sequence[str] = (VARIANT, "train_size"),
) -> pd.DataFrame:
    """Every cell's leakage and quality, and how surely another cell of `within` is better in both.

    That a given cell is better in both is shown with confidence 1 - max(p of leakage, p of quality), one-sided tests of
    paired differences (intersection-union). A cell has many rivals, of which some look better by chance:
    `dominated` is the confidence that is left after correction for all of them (Bonferroni), so that equal cells do not
    look beaten, however many there are.
    Columns of `data.cell`, leakage, quality (both with _low and _high), on_front (by means), dominated, dominated_by
    (the likeliest rival; null where none is better by its means), excluded (dominated with 95 %), rivals, replicates,
    descriptive.
    """
    found = plane(data, attack, quality)
    estimates = _estimates(data, attack, found)
    rows = []
    for _, own, replicates in found.groups(within):
        if not len(replicates):
            continue
        sure = _better(found, own, replicates)
        for number, cell in enumerate(own):
            mine = estimates[cell]
            beaten = [all(estimates[other][name][0] < mine[name][0] for name in ("leakage", "loss")) for other in own]
            rival, rivals = int(np.nan_to_num(sure[:, number]).argmax()), len(own) - 1
            dominated = max(0.0, 1 - max(1, rivals) * (1 - sure[rival, number]))
            rows.append(
                {
                    **dict(zip(data.cell, cell, strict=True)),
                    **found.shown("leakage", mine["leakage"]),
                    **found.shown("quality", mine["loss"]),
                    "on_front": not any(beaten),
                    "dominated": dominated if len(replicates) > 1 else np.nan,
                    "dominated_by": _words(data, own[rival], within) if beaten[rival] else None,
                    "excluded": bool(dominated >= 1 - ALPHA) and len(replicates) > 1,
                    "rivals": rivals,
                    "replicates": len(replicates),
                    "descriptive": len(replicates) < MIN_REPLICATES,
                }
            )
    return pd.DataFrame(rows)


def _estimates(data: StudyData, attack: str, found: Plane) -> dict[Any, dict[str, tuple[float, float, float]]]:
    """Of each cell, over its own replicates: mean, low and high of `leakage`, as everywhere, and of `loss`."""
    rows = dict(iter(data.attack(attack).dropna(subset=[AUC]).groupby(list(data.cell))))
    estimates = {}
    for cell in found.columns.tolist():
        leakage = mean_columns(data, rows[cell], AUC)
        assert leakage is not None
        loss = t_interval(found.loss[cell].dropna().to_numpy())
        estimates[cell] = {"leakage": (leakage["mean"], leakage["low"], leakage["high"]), "loss": loss}
    return estimates


def _better(found: Plane, own: list[Any], replicates: pd.Index) -> np.ndarray:
    """[K,K]: the confidence that cell i is better than j in both; NaN for a single replicate."""
    loss = found.loss.loc[replicates, own].to_numpy()
    assert found.leakage.aucs is not None
    leakage = found.leakage.aucs[found.leakage.row.loc[replicates, own].to_numpy(int).T]
    sure = np.zeros((len(own), len(own)))
    for j in range(len(own)):
        others = np.flatnonzero(np.arange(len(own)) != j)
        if len(others):
            leaks = contrast(leakage[others], leakage[np.full(len(others), j)])
            costs = loss[:, others] - loss[:, [j]]
            unsure = (one_sided(leaks.estimate, leaks.p_value()), one_sided(costs.mean(0), p_value(costs)))
            sure[others, j] = 1 - np.maximum(*unsure)
    return sure


def one_sided(difference: np.ndarray, p: np.ndarray) -> np.ndarray:
    """p of a difference of at least 0, from a two-sided one. Without a p (values that do not vary) its sign decides."""
    known = np.where(difference < 0, p / 2, 1 - p / 2)
    return np.where(np.isnan(p), np.where(difference < 0, 0.0, 1.0), known)


def least_leakage(
    data: StudyData,
    attack: str,
    at_most: float,
    quality: str | None = None,
    by: Sequence[str] = ("train_size",),
) -> pd.DataFrame:
    """The cell of least AUC whose quality is at most a limit (at least, where higher is better), for each `by`.

    Chosen among cells of which it is shown that they keep to the limit: in MIN_REPLICATES replicates or more, their
    interval, simultaneous over all cells of the group, does not reach beyond it. A second row has the cell chosen by
    means alone, where that is another one; it is the first where the limit is shown of no cell, and `reason` says so.
    Having been chosen takes nothing from an interval's 95 %.
    Columns of `data.cell` (null where no cell satisfies), leakage, quality (both with _low and _high), confidence (that
    this cell keeps to the limit, by itself), shown, candidates (cells to choose from), replicates, descriptive, reason.
    """
    found = plane(data, attack, quality)
    limit = at_most if lower_is_better(found.quality) else -at_most
    words = f"{found.quality} {'at most' if lower_is_better(found.quality) else 'at least'} {at_most:g}"
    return _chosen(data, attack, found, ("loss", limit, words), by)


def best_quality(
    data: StudyData,
    attack: str,
    at_most: float,
    quality: str | None = None,
    by: Sequence[str] = ("train_size",),
) -> pd.DataFrame:
    """The cell of best quality whose AUC is at most a limit, for each `by`; else as `least_leakage`."""
    found = plane(data, attack, quality)
    return _chosen(data, attack, found, ("leakage", at_most, f"AUC at most {at_most:g}"), by)


def _chosen(
    data: StudyData, attack: str, found: Plane, limited: tuple[str, float, str], by: Sequence[str]
) -> pd.DataFrame:
    """limited: what, at most how much, and that in words."""
    what, limit, words = limited
    rows = []
    for levels, own, replicates in found.groups(by):
        count, candidates = len(replicates), len(own)
        row: dict[str, Any] = dict(zip(by, levels, strict=True))
        row |= {"candidates": candidates, "replicates": count, "descriptive": count < MIN_REPLICATES, "shown": False}
        loss = found.loss.loc[replicates, own].to_numpy()
        rows_of = _rows_of(data, attack, own, replicates) if count else []
        leakage = np.array([float(mean_of(data, part).estimate) for part in rows_of])
        if what == "loss":
            means, objective = loss.mean(0) if count else leakage, leakage
            confidence = confidence_of_loss(loss, limit) if count else leakage
        else:
            means, objective = leakage, loss.mean(0) if count else leakage
            confidence = np.array([float(mean_of(data, part).p_greater(limit)) for part in rows_of])
        few = count < MIN_REPLICATES
        ways, shown = choice(means <= limit, objective, np.zeros(candidates) if few else confidence)
        why = f"it takes {MIN_REPLICATES} replicates, and there are {count}" if few else f"not shown to have {words}"
        if not ways:
            rows.append({**row, "reason": f"no cell has {words} by its mean"})
        level = 1 - ALPHA / candidates
        for number in ways:
            auc = mean_columns(data, rows_of[number], AUC, level)
            assert auc is not None
            reason = None if shown[number] else f"chosen by its mean: {why}"
            rows.append(
                {
                    **row,
                    **dict(zip(found.names, own[number], strict=True)),
                    **found.shown("leakage", (auc["mean"], auc["low"], auc["high"])),
                    **found.shown("quality", t_interval(loss[:, number], level)),
                    "confidence": confidence[number],
                    "shown": bool(shown[number]),
                    "reason": reason,
                }
            )
    numbers = ["leakage", "leakage_low", "leakage_high", "quality", "quality_low", "quality_high", "confidence"]
    columns = [*found.names, *numbers, "shown", "candidates", "replicates", "descriptive", "reason"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(found.names[2:], "Int64"))


def _rows_of(data: StudyData, attack: str, own: list[Any], replicates: pd.Index) -> list[pd.DataFrame]:
    """The rows of each cell in those replicates."""
    rows = data.once(
        ("rows", attack), lambda: dict(iter(data.attack(attack).sort_values("replicate").groupby(list(data.cell))))
    )
    return [part[part["replicate"].isin(replicates)] for part in (rows[cell] for cell in own)]


def choice(within: np.ndarray, objective: np.ndarray, confidence: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Of K cells the chosen ones, the one that is shown to keep to the limit first; and of which [K] that is shown.

    within [K]: whether the mean keeps to it. objective [K]: lower is better. confidence [K]: one-sided, of each alone;
    that of the end of a two-sided interval, simultaneous over the cells, is 1 - ALPHA / 2K.
    """
    shown = confidence >= 1 - ALPHA / (2 * max(1, len(confidence)))
    ways = [int(np.where(which, objective, np.inf).argmin()) for which in (shown, within) if which.any()]
    return list(dict.fromkeys(ways)), shown


def confidence_of_loss(values: np.ndarray, limit: float) -> np.ndarray:
    """One-sided confidence [K] that means of values [R,K] are at most a limit; NaN for a single replicate."""
    count = len(values)
    if count < 2:
        return np.full(values.shape[1], np.nan)
    error = values.std(0, ddof=1) / count**0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error > 0, t.cdf((limit - values.mean(0)) / error, count - 1), values.mean(0) <= limit)


def _words(data: StudyData, cell: Sequence[Any], within: Sequence[str]) -> str:
    return ", ".join(data.words(name, x) for name, x in zip(data.cell, cell, strict=True) if name not in within)
