"""What each factor changes: main effects, two-way interactions and slopes, averaged over the other factors' cells.

All of them are exploratory: what was declared beforehand is in `analysis.stats.declared`.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from analysis.stats.cells import EFFECT, Cells, cells
from analysis.stats.inference import AUC
from analysis.study_data import ARM, StudyData

LOGARITHMIC = ("train_size", "epochs", "steps")
"""Factors whose slope is per doubling; that of any other number is per unit."""


def main_effects(data: StudyData, attack: str, value: str = AUC) -> pd.DataFrame:
    """Each level of each factor against its first (arms: `none`), averaged over the cells of the other factors.

    Columns factor, level, baseline, then `cells.EFFECT`. A level without a cell to pair with has no row.
    """
    found = cells(data, attack, value)
    rows = []
    for factor, (baseline, *levels) in _levels(data, found).items():
        for level in levels:
            weights, contexts = found.weights({factor: {level: 1.0, baseline: -1.0}})
            if contexts:
                rows.append({"factor": factor, "level": level, "baseline": baseline, **found.effect(weights, contexts)})
    return _table(rows, ("factor", "level", "baseline"))


def interactions(data: StudyData, attack: str, value: str = AUC) -> pd.DataFrame:
    """Two factors at a time: how much a level of `by` changes what a level of `factor` changes.

    kind `levels`: a difference of differences against both first levels. kind `linear`, for two factors of numbers: the
    product of both slopes (per doubling of both for train_size and the budget of training), from all their levels.
    Columns factor, level, baseline, by, by_level, by_baseline, kind, then `cells.EFFECT`.
    """
    found = cells(data, attack, value)
    levels = _levels(data, found)
    rows = []
    for factor, by in combinations(levels, 2):
        named = {"factor": factor, "by": by}
        for level in levels[factor][1:]:
            for by_level in levels[by][1:]:
                own, other = levels[factor][0], levels[by][0]
                weights, contexts = found.weights({factor: {level: 1.0, own: -1.0}, by: {by_level: 1.0, other: -1.0}})
                if contexts:
                    words = {"level": level, "baseline": own, "by_level": by_level, "by_baseline": other}
                    rows.append({**named, **words, "kind": "levels", **found.effect(weights, contexts)})
        if _numeric(levels[factor]) and _numeric(levels[by]):
            weights, contexts = found.weights({name: _slope(name, levels[name]) for name in (factor, by)})
            if contexts:
                rows.append({**named, "kind": "linear", **found.effect(weights, contexts)})
    return _table(rows, ("factor", "level", "baseline", "by", "by_level", "by_baseline", "kind"))


def slopes(data: StudyData, attack: str, value: str = AUC) -> pd.DataFrame:
    """Slopes over the levels of each factor of numbers, and over the strengths of each defense by itself.

    x: what a unit of the slope is, `log2 train_size` (per doubling), `log2 epsilon` for arms that have an epsilon,
    `strength` for the other defenses, or the factor itself. Columns factor (`strength` within a defense), defense, x,
    levels, then `cells.EFFECT`.
    """
    found = cells(data, attack, value)
    rows = []
    for factor, levels in _levels(data, found).items():
        weights, contexts = found.weights({factor: _slope(factor, levels)}) if _numeric(levels) else (None, 0)
        if weights is not None and contexts:
            x = f"log2 {factor}" if factor in LOGARITHMIC else factor
            named = {"factor": factor, "defense": None, "x": x, "levels": len(levels)}
            rows.append({**named, **found.effect(weights, contexts)})
    if ARM in found.names:
        rows += list(_strengths(data, found))
    return _table(rows, ("factor", "defense", "x", "levels"))


def _strengths(data: StudyData, found: Cells) -> Iterator[dict[str, Any]]:
    """Slopes of defenses with two or more strengths; an epsilon depends on the cell, and is the x of that cell."""
    about = data.wide.groupby(list(found.names))[["strength", "epsilon"]].mean()
    about = about.join(data.wide.groupby(list(found.names))["defense"].first())
    about = about.loc[found.values.columns if len(found.names) > 1 else found.table[found.names[0]]].reset_index()
    rest = [name for name in found.names if name != ARM]
    for defense, own in about[about["defense"] != "none"].groupby("defense", sort=False):
        private = own["epsilon"].notna().any()
        x = np.log2(own["epsilon"].where(own["epsilon"] > 0)) if private else own["strength"]
        own = own.assign(x=x).dropna(subset=["x"])
        most = own.groupby(rest)[ARM].transform("count") if rest else pd.Series(len(own), index=own.index)
        own = own[(most == most.max()) & (most > 1)]
        centered = own["x"] - (own.groupby(rest)["x"].transform("mean") if rest else own["x"].mean())
        spread = (centered**2).groupby([own[name] for name in rest]).transform("sum") if rest else (centered**2).sum()
        weight = (centered / spread)[lambda each: np.isfinite(each)]
        if weight.empty:
            continue
        levels = own[ARM].nunique()
        contexts = len(own.loc[weight.index].drop_duplicates(rest)) if rest else 1
        weights = pd.Series(weight.to_numpy() / contexts, index=found.values.columns[weight.index])
        named = {"factor": "strength", "defense": defense, "x": "log2 epsilon" if private else "strength"}
        yield {**named, "levels": levels, **found.effect(weights, contexts)}


def _levels(data: StudyData, found: Cells) -> dict[str, list[Any]]:
    """Levels that a value was measured at, of factors that have several."""
    present = {name: set(found.table[name]) for name in found.names}
    levels = {name: [x for x in words if x in present[name]] for name, words in data.factors.items()}
    return {name: words for name, words in levels.items() if len(words) > 1}


def _numeric(levels: list[Any]) -> bool:
    return all(isinstance(level, (int, float, np.number)) and not isinstance(level, bool) for level in levels)


def _slope(factor: str, levels: list[Any]) -> dict[Any, float]:
    """Least-squares weights of levels."""
    x = np.array(levels, dtype=float)
    centered = (np.log2(x) if factor in LOGARITHMIC else x) - (np.log2(x) if factor in LOGARITHMIC else x).mean()
    return dict(zip(levels, centered / (centered**2).sum(), strict=True))


def _table(rows: list[dict[str, Any]], names: tuple[str, ...]) -> pd.DataFrame:
    levels = {name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names}
    return pd.DataFrame(levels).join(pd.DataFrame(rows, columns=list(EFFECT)))
