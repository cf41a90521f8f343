"""How much of a value's variance each factor explains, by the method that the study's design was drawn for.

Replicates are averaged at each point first, so that indices are of the design's factors, and what replicates still
differ by is a share of its own (`noise`). Trials that a search chose are in no design, and never in an index.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from SALib.analyze import sobol
from scipy.stats import f as f_distribution
from scipy.stats import t

from analysis.stats.cells import cells
from analysis.stats.effects import t_interval
from analysis.stats.inference import AUC, aucs_of
from analysis.study_data import StudyData
from mia_core.streams import Streams
from study.design.points import points, problem

COLUMNS = ("method", "factor", "other", "index", "estimate", "low", "high", "points", "replicates")
RESAMPLES = 1000
LEAST_BASE_POINTS, LEAST_POINTS = 4, 8
"""Fewer are drawn again as the same one too often for an interval."""
HALVES, TREES, FEWER_TREES = 12, 64, 32
"""Times that importances are computed from a random half of the points, with fewer trees."""
BACKGROUND, FEWER, LEVELS = 1024, 64, 16
"""Places where a forest's variance is taken; of them those over which a level's mean is, and levels of a factor."""


def indices(data: StudyData, attack: str, value: str = AUC) -> pd.DataFrame:
    """Sobol indices of a Sobol design, fANOVA importances of another drawn one, shares of variance of a factorial.

    One row an index, with columns COLUMNS: `first`, `total` and `second` (sobol; other is the second factor),
    `importance` (fanova) with `unpredicted`, `first` and `second` (anova), and `noise` of averaged replicates. All are
    shares of the variance of the averages over points, noise included, so that a factor without influence is at 0.
    low, high: 95 %. Without rows, and with `attrs["reason"]`, where points or cells lack results. ValueError for a
    search.
    """
    data.refuse_a_search()
    if not data.drawn:
        return _factorial(data, attack, value)
    drawn = data.resolved["design"]
    x, y, reason = _drawn(data, attack, value)
    if reason := reason or _too_little(drawn, y):
        return _table([], reason)
    if drawn["name"] == "sobol":
        return _table(sobol_rows(problem(data.resolved), y, bool(drawn["second_order"])))
    return _table(fanova_rows(x, y))


def sobol_rows(described: Mapping[str, Any], y: np.ndarray, second_order: bool) -> Iterator[dict[str, Any]]:
    """Indices (Saltelli 2010; Jansen's total) of values [R,P] at a Sobol design's points in their order, by SALib.

    The interval is SALib's bootstrap over base points of the averages of replicates: what is uncertain is which points
    were drawn as well as the noise of each, and both are in their values; replicates share the points, so that an
    interval over replicates would leave out the first. Noise adds its own share to every total index, from which it is
    taken away again where replicates show it.
    """
    mean = y.mean(0)  # a seed of 0 is none to SALib
    found = sobol.analyze(described, mean, calc_second_order=second_order, num_resamples=RESAMPLES, seed=1)
    names = described["names"]
    size = {"method": "sobol", "points": y.shape[1], "replicates": len(y)}
    for index, key in {"first": "S1", "total": "ST"}.items():
        noise = _noise_share(y) if index == "total" and len(y) > 1 else 0.0
        for name, estimate, half in zip(names, found[key], found[f"{key}_conf"], strict=True):
            yield {**size, "factor": name, "index": index, **_around(estimate - noise, half)}
    if second_order:
        for (i, one), (j, other) in combinations(enumerate(names), 2):
            around = _around(found["S2"][i, j], found["S2_conf"][i, j])
            yield {**size, "factor": one, "other": other, "index": "second", **around}
    yield from _noise(size, y)


def fanova_rows(x: pd.DataFrame, y: np.ndarray) -> Iterator[dict[str, Any]]:
    """Importances (Hutter et al. 2014) of factors, columns of x [P], for values [R,P].

    A factor's share of a forest's variance says nothing where the forest fits noise. So it is multiplied by the
    forest's out-of-bag R2 (Breiman 2001), the share of the points' variance that it predicts of points left out; the
    rest is `unpredicted`: noise, and what so few points cannot show. The interval has the spread of the same product
    over random halves of the points, which is that of all points: approximate. What is below 0 of an estimate or
    upper limit is 0.
    """
    size = {"method": "fanova", "points": len(x), "replicates": len(y)}
    mean = y.mean(0)
    random = Streams("indices").numpy("fanova", *y.shape)
    shares, predicted = forest_shares(x, mean, TREES, random)
    again = []
    for _ in range(HALVES):
        half = random.permutation(len(x))[: len(x) // 2]
        if np.ptp(mean[half]):
            again.append(np.multiply(*forest_shares(x.iloc[half], mean[half], FEWER_TREES, random)))
    spread = np.std(again, axis=0, ddof=1) if len(again) > 1 else np.full(len(shares), np.nan)
    wide = t.isf(0.025, max(1, len(again) - 1)) * spread
    for name, estimate, half_width in zip(x.columns.astype(str), shares * predicted, wide, strict=True):
        around = _around(estimate, half_width)
        above = {end: max(0.0, around[end]) for end in ("estimate", "high")}
        yield {**size, "factor": name, "index": "importance", **around, **above}
    yield {**size, "index": "unpredicted", "estimate": 1 - max(0.0, predicted)}
    yield from _noise(size, y)


def forest_shares(x: pd.DataFrame, y: np.ndarray, trees: int, random: np.random.Generator) -> tuple[np.ndarray, float]:
    """Each factor's share [K] of the variance of a random forest fitted to values [P], and the forest's out-of-bag R2.

    The variance is over the points' own levels, independent of each other as a design draws them: of the mean
    prediction at a level of the factor, over that of all predictions. Words are categories. R2 is at most 1, and below
    0 where the mean predicts better; a point that every tree was fitted to counts as predicted by the mean.
    """
    from sklearn.tree import DecisionTreeRegressor  # slow to import, and only designs that draw points need it

    values = pd.concat([pd.get_dummies(x[[name]], dtype=float) for name in x.columns], axis=1).to_numpy()
    fitted, total, count = [], np.zeros(len(y)), np.zeros(len(y))
    for _ in range(trees):
        drawn = random.integers(0, len(y), len(y))
        tree = DecisionTreeRegressor(random_state=int(random.integers(2**31))).fit(values[drawn], y[drawn])
        left = np.setdiff1d(np.arange(len(y)), drawn)
        if len(left):
            total[left] += tree.predict(values[left])
            count[left] += 1
        fitted.append(tree)
    expected = np.divide(total, count, out=np.full(len(y), y.mean()), where=count > 0)
    predicted = float(1 - ((y - expected) ** 2).sum() / ((y - y.mean()) ** 2).sum())

    def predict(at: np.ndarray) -> np.ndarray:
        return np.mean([tree.predict(at) for tree in fitted], axis=0)

    owners = [pd.get_dummies(x[[name]]).shape[1] for name in x.columns]
    columns = np.split(np.arange(values.shape[1]), np.cumsum(owners)[:-1])
    everywhere = np.empty((BACKGROUND, values.shape[1]))
    for own in columns:
        everywhere[:, own] = values[random.permutation(np.resize(np.arange(len(y)), BACKGROUND))][:, own]
    whole = predict(everywhere).var()
    parts = np.zeros(len(columns))
    for number, own in enumerate(columns):
        order = np.lexsort(values[:, own].T)
        levels = values[order[np.linspace(0, len(y) - 1, min(len(y), LEVELS)).round().astype(int)]][:, own]
        at = np.repeat(everywhere[None, :FEWER], len(levels), axis=0)
        at[:, :, own] = levels[:, None]
        parts[number] = predict(at.reshape(-1, values.shape[1])).reshape(len(levels), -1).mean(1).var()
    return (parts / whole if whole > 0 else parts), predicted


def _drawn(data: StudyData, attack: str, value: str) -> tuple[pd.DataFrame, np.ndarray, str | None]:
    """Factors [P] and values [R,P] at every point, of replicates that have them all; or why not."""
    rows = data.attack(attack).dropna(subset=[value])
    found = points(data.store.root, data.name)
    own = aucs_of(data, rows).auc if value == AUC else rows[value].to_numpy(float)
    scale = pd.Series(own, index=rows["trial_id"])
    table = found.assign(y=found["trial_id"].map(scale)).pivot(index="replicate", columns="point", values="y")
    whole = table.dropna()
    if whole.empty:
        return found, whole.to_numpy(), f"no replicate has {attack} at all {table.shape[1]} points"
    x = found.drop_duplicates("point").sort_values("point").drop(columns=["point", "replicate", "trial_id"])
    return x.reset_index(drop=True), whole.to_numpy(), None


def _too_little(drawn: Mapping[str, Any], y: np.ndarray) -> str | None:
    """Why values [R,P] say nothing of factors."""
    least = LEAST_BASE_POINTS if drawn["name"] == "sobol" else LEAST_POINTS
    if drawn["points"] < least:
        return (
            f"indices take {least} {'base ' if drawn['name'] == 'sobol' else ''}points or more, not {drawn['points']}"
        )
    return "all points have the same value" if np.ptp(y.mean(0)) == 0 else None


def _noise(size: Mapping[str, Any], y: np.ndarray) -> Iterator[dict[str, Any]]:
    """The share of noise, where replicates show it."""
    if len(y) > 1:
        yield {**size, "index": "noise", "estimate": _noise_share(y)}


def _noise_share(y: np.ndarray) -> float:
    """Of the variance of the averages [P] of values [R,P], the share that their replicates' differences explain.

    Few replicates may put it above 1, which it cannot be.
    """
    own = y - y.mean(1, keepdims=True)
    return min(1.0, float(own.var(0, ddof=1).sum() / len(y) / (y.mean(0).var(ddof=1) * (y.shape[1] - 1))))


def _factorial(data: StudyData, attack: str, value: str) -> pd.DataFrame:
    """Shares of a complete factorial; where cells lack results there are none."""
    if not data.factors:
        return _table([], "every factor has one level")
    found = cells(data, attack, value)
    levels = [sorted(set(found.table[name]), key=list(data.factors.get(name, [])).index) for name in found.names]
    shape = [len(words) for words in levels]
    wanted = pd.MultiIndex.from_product(levels, names=found.names)
    whole = found.values.reindex(columns=wanted).dropna()
    if whole.empty:
        return _table([], f"no replicate has {attack} in all {len(wanted)} cells of a full factorial")
    if len(whole) < 2:
        return _table([], "shares of variance are told apart from noise with two replicates or more")
    return _table(anova_rows(list(found.names), whole.to_numpy().reshape(len(whole), *shape)))


def anova_rows(names: list[str], y: np.ndarray) -> Iterator[dict[str, Any]]:
    """Shares of variance of values [R, levels, levels, ...] over the cells: of each factor, and of each pair beyond.

    Each is freed of what noise adds to it (the mean of n noisy effects is larger than none), so that the shares of
    effects that are not there are about 0, and may come out below; with the share of noise, and of what three and more
    factors do together, they sum to 1. The interval is a t interval over jackknife pseudo-values of replicates, and
    approximate; it reaches 0 unless an F test against the term's differences between replicates rejects at 5 %.
    """
    size = {"method": "anova", "points": int(np.prod(y.shape[1:])), "replicates": len(y)}
    terms = [part for order in (1, 2) for part in combinations(range(len(names)), order)]
    full = _shares(y, terms)
    rest = np.array([_shares(np.delete(y, r, 0), terms) for r in range(len(y))]) if len(y) > 2 else None
    for number, term in enumerate(terms):
        pair = (names[term[0]], names[term[1]] if len(term) > 1 else None)
        low = high = float("nan")
        if rest is not None:
            _, low, high = t_interval(len(y) * full[number] - (len(y) - 1) * rest[:, number])
            low = low if _is_shown(y, term) else min(low, 0.0)
        named = {"factor": pair[0], "other": pair[1], "index": "second" if pair[1] else "first"}
        yield {**size, **named, "estimate": full[number], "low": low, "high": high}
    yield from _noise(size, y.reshape(len(y), -1))


def _shares(y: np.ndarray, terms: list[tuple[int, ...]]) -> np.ndarray:
    """Unbiased squared lengths of the effects' parts of the mean table, over that of all of it, noise included."""
    mean = y.mean(0)
    total = float(((mean - mean.mean()) ** 2).sum())
    return np.array([_length(_part(y, term)) / total if total > 0 else np.nan for term in terms])


def _is_shown(y: np.ndarray, term: tuple[int, ...]) -> bool:
    """Whether an effect's part of the mean table is larger than its differences between replicates explain."""
    part = _part(y, term)
    freedom = int(np.prod([y.shape[axis + 1] - 1 for axis in term]))
    noise = part.var(0, ddof=1).sum()
    ratio = len(y) * (part.mean(0) ** 2).sum() / noise if noise > 0 else np.inf
    return bool(f_distribution.sf(ratio, freedom, freedom * (len(y) - 1)) < 0.05)


def _part(y: np.ndarray, term: tuple[int, ...]) -> np.ndarray:
    """What a term adds to the table of each replicate: centered along its factors, averaged along the others."""
    for axis in range(y.ndim - 1):
        mean = y.mean(axis + 1, keepdims=True)
        y = y - mean if axis in term else np.broadcast_to(mean, y.shape)
    return y.reshape(len(y), -1)


def _length(part: np.ndarray) -> float:
    """Of the true mean, squared, from rows that are that mean and noise."""
    mean = part.mean(0)
    return float((mean**2).sum() - part.var(0, ddof=1).sum() / len(part))


def _around(estimate: float, half: float) -> dict[str, float]:
    return {"estimate": float(estimate), "low": float(estimate - half), "high": float(estimate + half)}


def _table(rows: Any, reason: str | None = None) -> pd.DataFrame:
    table = pd.DataFrame(list(rows), columns=list(COLUMNS))
    table.attrs["reason"] = reason
    return table
