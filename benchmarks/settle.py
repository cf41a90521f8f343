"""`python -m benchmarks settle STUDY`: how many core-hours the same answer would cost without our statistics.

A trial costs what it costs, so core-hours are as replicates, and replicates as the variance of one replicate. From the
scores of a finished study, over its cells after the last level, for its primary attack:
- a cell's mean AUC: the variance between replicates without the control variate, over that with it;
- an arm against the first one: the variance of two cells with coins of their own, over that inside replicates;
- a calibrated attack against its base: the squared ratio of (mean AUC - 1/2) to the standard deviation of a replicate.
Above 1, the study needs fewer core-hours by this factor. Limits are 95 %, by the jackknife over replicates, of logs.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from scipy.stats import t as student

from analysis.stats.derived_scores import base_labels, takes_replicates
from analysis.stats.inference import judged_scores
from analysis.study_data import ARM, StudyData, load
from mia_core.errors import Refused
from mia_core.metrics.control_variate import with_control_variate
from mia_core.metrics.influence import aucs

FEWEST = 4
"""Replicates: the jackknife leaves one out, and a variance takes two more."""

Cell = tuple[np.ndarray, np.ndarray, np.ndarray | None]
"""score and member [R,J] of one cell, and the person of each record."""
Ratio = Callable[[np.ndarray], float]
"""A ratio, from the replicates [R'] that are kept."""


def cells_of(data: StudyData, attack: str) -> dict[tuple[str, ...], Cell]:
    """Cells of an attack after the last level, by their levels as texts; replicates ascending."""
    found = {}
    rows = data.attack(attack)
    rows = rows[rows[data.budget] == rows[data.budget].max()]
    for levels, own in rows.groupby(list(data.cell), sort=False):
        scores = judged_scores(data, attack)
        found[tuple(map(str, levels))] = (*scores.of(list(own.sort_values("replicate")["trial_id"])), scores.persons)
    most = max(len(cell[0]) for cell in found.values())
    return {levels: cell for levels, cell in found.items() if len(cell[0]) == most}


def by_variate(cells: Sequence[Cell]) -> Ratio:
    """The first ratio of the head of this file."""

    def ratio(kept: np.ndarray) -> float:
        plain = sum(aucs(s[kept], c[kept], p).auc.var(ddof=1) for s, c, p in cells)
        adjusted = sum(with_control_variate(s[kept], c[kept], p).auc.var(ddof=1) for s, c, p in cells)
        return float(plain / adjusted)

    return ratio


def by_pairing(pairs: Sequence[tuple[Cell, Cell]]) -> Ratio:
    """The second ratio."""

    def ratio(kept: np.ndarray) -> float:
        values = [tuple(aucs(s[kept], c[kept], p).auc for s, c, p in pair) for pair in pairs]
        apart = sum(one.var(ddof=1) + other.var(ddof=1) for one, other in values)
        return float(apart / sum((one - other).var(ddof=1) for one, other in values))

    return ratio


def by_calibration(derived: Sequence[Cell], bases: Sequence[Cell]) -> Ratio:
    """The third ratio; of scores as they are sealed, whose references keep the replicates that are left out."""

    def signal(cells: Sequence[Cell], kept: np.ndarray) -> float:
        values = np.stack([aucs(s[kept], c[kept], p).auc for s, c, p in cells])
        return float((values.mean() - 0.5) ** 2 / values.var(1, ddof=1).mean())

    return lambda kept: signal(derived, kept) / signal(bases, kept)


def with_limits(ratio: Ratio, replicates: int) -> tuple[float, float, float]:
    """A ratio with 95 % limits, by the jackknife of its logarithm over replicates."""
    every = np.arange(replicates)
    logs = np.log([ratio(np.delete(every, left_out)) for left_out in every])
    error = ((replicates - 1) / replicates * ((logs - logs.mean()) ** 2).sum()) ** 0.5
    whole, half = np.log(ratio(every)), student.isf(0.025, replicates - 1) * error
    low, middle, high = np.exp([whole - half, whole, whole + half])
    return float(middle), float(low), float(high)


def rows(data: StudyData) -> Iterator[dict[str, object]]:
    """What can be compared in a study, a row each."""
    attack = data.primary
    cells = cells_of(data, attack)
    replicates = len(next(iter(cells.values()))[0])
    if replicates < FEWEST:
        raise Refused(f"{data.name}: has {replicates} replicates, and this needs {FEWEST}")
    if not takes_replicates(data.attack(attack)):
        yield _row("mean of a cell, control variate", attack, by_variate(list(cells.values())), replicates, len(cells))
    arm = data.cell.index(ARM)
    pairs = [
        (cell, cells[base])
        for levels, cell in cells.items()
        if levels[arm] != data.arms[0] and (base := (*levels[:arm], data.arms[0], *levels[arm + 1 :])) in cells
    ]
    if pairs:
        yield _row("arm against the first, inside replicates", attack, by_pairing(pairs), replicates, len(pairs))
    for label in data.attacks:
        bases = base_labels(data, label)
        if len(bases) == 1:
            derived, raw = cells_of(data, label), cells_of(data, bases[0])
            both = [levels for levels in derived if levels in raw]
            ratio = by_calibration([derived[levels] for levels in both], [raw[levels] for levels in both])
            yield _row(f"AUC above 1/2, against {bases[0]}", label, ratio, replicates, len(both))


def _row(what: str, attack: str, ratio: Ratio, replicates: int, cells: int) -> dict[str, object]:
    middle, low, high = with_limits(ratio, replicates)
    limits = f"{middle:.2f} [{low:.2f}, {high:.2f}]"
    return {"what": what, "attack": attack, "core-hours saved, times": limits, "cells": cells, "replicates": replicates}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks settle", description=__doc__.splitlines()[0])
    parser.add_argument("study", help="a finished study's folder, e.g. results/digits")
    table = pd.DataFrame(list(rows(load(parser.parse_args(arguments).study))))
    print(table.to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
