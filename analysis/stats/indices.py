"""How much of a value's variance each factor explains, by the method that the study's design was drawn for.

Replicates are averaged at each point first, so that indices are of the design's factors, and what replicates still
differ by is a share of its own (`noise`). Trials that a search chose are in no design, and never in an index.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import optuna
import pandas as pd
from SALib.analyze import sobol

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
FORESTS, TREES, FEWER_TREES = 12, 64, 16
"""Times that importances are computed from points drawn again, with fewer trees: a forest takes about a second."""


def indices(data: StudyData, attack: str, value: str = AUC) -> pd.DataFrame:
    """Sobol indices of a Sobol design, fANOVA importances of another drawn one, shares of variance of a factorial.

    One row an index, with columns COLUMNS: `first`, `total` and `second` (sobol; other is the second factor),
    `importance` (fanova: shares of a forest's variance), `first` and `second` (anova), and `noise` of averaged
    replicates. low, high: 95 %. Without rows, and with `attrs["reason"]`, where points or cells lack results.
    ValueError for a search.
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
    interval over replicates would leave out the first.
    """
    mean = y.mean(0)  # a seed of 0 is none to SALib
    found = sobol.analyze(described, mean, calc_second_order=second_order, num_resamples=RESAMPLES, seed=1)
    names = described["names"]
    size = {"method": "sobol", "points": y.shape[1], "replicates": len(y)}
    for index, key in {"first": "S1", "total": "ST"}.items():
        for name, estimate, half in zip(names, found[key], found[f"{key}_conf"], strict=True):
            yield {**size, "factor": name, "index": index, **_around(estimate, half)}
    if second_order:
        for (i, one), (j, other) in combinations(enumerate(names), 2):
            around = _around(found["S2"][i, j], found["S2_conf"][i, j])
            yield {**size, "factor": one, "other": other, "index": "second", **around}
    yield from _noise(size, y)


def fanova_rows(x: pd.DataFrame, y: np.ndarray) -> Iterator[dict[str, Any]]:
    """Importances (Hutter et al. 2014) of factors, columns of x [P], for values [R,P], by Optuna's forest.

    The interval is that of a normal distribution with the spread of importances over points drawn again: approximate.
    """
    size = {"method": "fanova", "points": len(x), "replicates": len(y)}
    mean = y.mean(0)
    found = _importances(x, mean, TREES)
    random = Streams("indices").numpy("fanova", *y.shape)
    again = []
    for _ in range(FORESTS):
        drawn = random.integers(0, len(x), len(x))
        again.append(_importances(x.iloc[drawn], mean[drawn], FEWER_TREES))
    spread = pd.DataFrame(again).std(ddof=1)
    for name in x.columns.astype(str):
        yield {**size, "factor": name, "index": "importance", **_around(found[name], 1.96 * spread[name])}
    yield from _noise(size, y)


def _importances(x: pd.DataFrame, y: np.ndarray, trees: int) -> dict[str, float]:
    """By name; factors that are words are categories."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    distributions: dict[str, Any] = {}
    for name in x.columns.astype(str):
        column = x[name]
        if not pd.api.types.is_numeric_dtype(column):
            distributions[name] = optuna.distributions.CategoricalDistribution(sorted(set(column)))
        elif column.nunique() > 1:
            distributions[name] = optuna.distributions.FloatDistribution(float(column.min()), float(column.max()))
    for row, value in zip(x[list(distributions)].to_dict("records"), y, strict=True):
        params = {str(name): level if isinstance(level, str) else float(level) for name, level in row.items()}
        study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=float(value)))
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=trees, seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(found.get(name, 0.0)) for name in x.columns.astype(str)}


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
    """The share of the averages' variance over points that their replicates' differences explain."""
    if len(y) > 1:
        own = y - y.mean(1, keepdims=True)
        noise = own.var(0, ddof=1).mean() / len(y)
        yield {**size, "index": "noise", "estimate": min(1.0, noise / y.mean(0).var(ddof=1))}


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
    effects that are not there are 0 on average, and may come out below. The interval is a t interval over jackknife
    pseudo-values of replicates: approximate.
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
        named = {"factor": pair[0], "other": pair[1], "index": "second" if pair[1] else "first"}
        yield {**size, **named, "estimate": full[number], "low": low, "high": high}
    yield from _noise(size, y.reshape(len(y), -1))


def _shares(y: np.ndarray, terms: list[tuple[int, ...]]) -> np.ndarray:
    """Unbiased squared lengths of the effects' parts of the mean table, over that of all of them."""
    every = [part for order in range(1, y.ndim) for part in combinations(range(y.ndim - 1), order)]
    lengths = {term: _length(_part(y, term)) for term in every}
    total = sum(lengths.values())
    return np.array([lengths[term] / total if total > 0 else np.nan for term in terms])


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
