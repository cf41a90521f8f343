"""How leakage scales: against n as a fitted curve, when it sets in, and epsilon as accounted against as audited."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.stats.baselines import UNAVAILABLE, audits
from analysis.stats.cells import Cells, cells
from analysis.stats.effects import means
from analysis.stats.inference import AUC
from analysis.study_data import ARM, VARIANT, StudyData
from mia_core.errors import Refused
from mia_core.metrics.two_way import MIN_REPLICATES

GRID = 100
"""Points between the first and the last level of training at which an interpolated path is looked at."""


def against_size(data: StudyData, attack: str, value: str = AUC) -> pd.DataFrame:
    """Slope of a value per doubling of n, a line fitted inside each replicate.

    Columns variant, arm, epochs (or steps), slope, low, high, p, sizes, lack_of_fit (p of the curvature that a line
    leaves; null with two sizes), replicates, descriptive.
    """
    rows = []
    found = cells(data, attack, value, data.cell)
    for cell, sizes, columns in _paths(data, found, "train_size"):
        slope, curvature = line_weights(sizes)
        line = found.effect(pd.Series(slope, columns))
        bent = None if curvature is None else found.effect(pd.Series(curvature, columns))["p"]
        own = {name: line[name] for name in ("low", "high", "p", "replicates", "descriptive")}
        rows.append({**cell, "slope": line["effect"], "sizes": len(sizes), "lack_of_fit": bent, **own})
    numbers = ["slope", "low", "high", "p", "sizes", "lack_of_fit"]
    return pd.DataFrame(rows, columns=[VARIANT, ARM, data.budget, *numbers, "replicates", "descriptive"])


def line_weights(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Weights of values at sizes [L]: the least-squares slope on log2 n, and the part that is quadratic in it."""
    powers = np.stack([np.log2(sizes) ** power for power in range(min(3, len(sizes)))], axis=1)
    basis = np.linalg.qr(powers)[0]
    return basis[:, 1] / (basis[:, 1] @ np.log2(sizes)), basis[:, 2] if len(sizes) > 2 else None


def size_curve(data: StudyData, attack: str, value: str = AUC, points: int = 50) -> pd.DataFrame:
    """The fitted curve from the smallest n to the largest, with a 95 % interval at each point by itself.

    Columns variant, arm, epochs (or steps), train_size (real), mean, low, high, replicates, in the value's units.
    """
    rows = []
    found = cells(data, attack, value, data.cell)
    for cell, sizes, columns in _paths(data, found, "train_size"):
        x = np.log2(sizes)
        grid = np.linspace(x[0], x[-1], points)
        # A fitted line at each point of the grid is a weighted sum of the values at the sizes.
        weights = np.vander(grid, 2) @ np.linalg.pinv(np.vander(x, 2))
        for at, fitted in zip(grid, found.sums(columns, weights), strict=True):
            numbers = {name: fitted[name] for name in ("low", "high", "replicates")}
            rows.append({**cell, "train_size": 2.0**at, "mean": fitted["effect"], **numbers})
    names = ["train_size", "mean", "low", "high"]
    table = pd.DataFrame(rows, columns=[VARIANT, ARM, data.budget, *names, "replicates"])
    return table.astype(dict.fromkeys(names, float))  # also where a study has one n, and no curve


def onset(data: StudyData, attack: str, over: float = 0.55) -> pd.DataFrame:
    """When leakage sets in, by n: from which level on AUC is shown over 0.5, and when it reaches `over`.

    first_level: the lower end of the cell's 95 % interval is over 0.5 there and at every later level; looked at from
    the last one backwards, so that many levels raise no more false onsets than one; null where the last is not. epochs
    (or steps): where the mean path, interpolated in their logarithm, reaches `over`; low, high: where its interval
    holds `over`. All three: 0 for at or before the first level, infinite for not within the last. ValueError unless 0.5
    < over < 1. Columns variant, arm, train_size, first_level, epochs (or steps), low, high, over, replicates,
    descriptive.
    """
    if not 0.5 < over < 1:
        raise Refused(f"onset: AUC to reach must be between 0.5 and 1, got {over}")
    rows = []
    found = cells(data, attack, AUC, data.cell)
    lowest = means(data, data.attack(attack).dropna(subset=[AUC]), AUC, data.cell).set_index(list(data.cell))["low"]
    for cell, levels, columns in _paths(data, found, data.budget):
        later = np.logical_and.accumulate((lowest[columns] > 0.5).to_numpy()[::-1])[::-1]
        first = int(levels[later.argmax()]) if later.any() else None
        count = int(found.complete(columns).sum())
        own = {"over": over, "replicates": count, "descriptive": count < MIN_REPLICATES}
        rows.append({**cell, "first_level": first, **_reaching(found, levels, columns, over), **own})
    numbers = ["first_level", "reached", "low", "high", "over", "replicates", "descriptive"]
    table = pd.DataFrame(rows, columns=[VARIANT, ARM, "train_size", *numbers]).astype({"first_level": "Int64"})
    return table.rename(columns={"reached": data.budget})


def _reaching(found: Cells, levels: np.ndarray, columns: pd.Index, over: float) -> dict[str, float]:
    """When the path over levels of training reaches a value."""
    times = np.geomspace(levels[0], levels[-1], GRID)
    shares = np.stack([np.interp(np.log(times), np.log(levels), own) for own in np.eye(len(levels))], axis=1)
    path = pd.DataFrame(found.sums(columns, shares))
    shown = np.logical_and.accumulate((path["low"] > over).to_numpy()[::-1])[::-1]
    return {
        "reached": _reached(times, (path["effect"] >= over).to_numpy()),
        "low": _reached(times, (path["high"] >= over).to_numpy()),
        "high": _reached(times, shown),
    }


def _reached(times: np.ndarray, yes: np.ndarray) -> float:
    """The first time at which it holds: 0 where that is the very first one, infinite where it never does."""
    if not yes.any():
        return float("inf")
    return float(times[yes.argmax()]) if not yes[0] else 0.0


def epsilons(data: StudyData) -> pd.DataFrame:
    """What arms with an epsilon claim, what an audit proves of them, and what it could have proved at most.

    Rows and columns of `mia-study audit` for arms that have an epsilon; no rows for a public copy, which has no scores.
    """
    table = audits(data)
    if "epsilon" not in table:
        found = pd.DataFrame(columns=["epsilon"])
        found.attrs["reason"] = UNAVAILABLE
        return found
    return table[table["epsilon"].notna()].reset_index(drop=True)


def _paths(data: StudyData, found: Cells, along: str) -> Iterator[tuple[dict[str, Any], np.ndarray, pd.Index]]:
    """Cells but for one factor, its levels [L] in order and their columns, where a replicate has all of them."""
    rest = [name for name in data.cell if name != along]
    for levels, rows in found.table.groupby(rest, sort=False):
        rows = rows.sort_values(along)
        columns = found.values.columns[rows.index]
        if len(rows) > 1 and found.complete(columns).any():
            yield dict(zip(rest, levels, strict=True)), rows[along].to_numpy(dtype=float), columns
