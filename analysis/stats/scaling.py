"""How leakage scales: against n as a fitted curve, when it sets in, and epsilon as accounted against as audited."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from analysis.stats.baselines import UNAVAILABLE, audits
from analysis.stats.cells import cells
from analysis.stats.effects import AUC, MIN_REPLICATES, effect_of, p_value, t_interval
from analysis.study_data import ARM, VARIANT, StudyData
from mia_core.errors import Refused

GRID = 400
"""Points between the first and the last level of training at which an interpolated path is looked at."""


def against_size(data: StudyData, attack: str, value: str = AUC) -> pd.DataFrame:
    """Slope of leakage per doubling of n (AUC in log odds), a line fitted inside each replicate.

    Columns variant, arm, epochs (or steps), slope, low, high, p, sizes, lack_of_fit (p of the curvature that a line
    leaves; null with two sizes), replicates, descriptive.
    """
    rows = []
    for cell, sizes, values in _paths(data, attack, value, "train_size"):
        rows.append({**cell, **_line(sizes, values)})
    numbers = ["slope", "low", "high", "p", "sizes", "lack_of_fit"]
    return pd.DataFrame(rows, columns=[VARIANT, ARM, data.budget, *numbers, "replicates", "descriptive"])


def size_curve(data: StudyData, attack: str, value: str = AUC, points: int = 50) -> pd.DataFrame:
    """The fitted curve from the smallest n to the largest, with a 95 % t interval at each point by itself.

    Columns variant, arm, epochs (or steps), train_size (real), mean, low, high, replicates, in the value's units.
    """
    rows = []
    for cell, sizes, values in _paths(data, attack, value, "train_size"):
        x = np.log2(sizes)
        grid = np.linspace(x[0], x[-1], points)
        lines = np.polynomial.polynomial.polyfit(x, values.T, 1)
        for at, fitted in zip(grid, np.outer(np.ones(points), lines[0]) + np.outer(grid, lines[1]), strict=True):
            bounds = np.array(t_interval(fitted))
            mean, low, high = expit(bounds) if value == AUC else bounds
            own = {"train_size": 2.0**at, "mean": mean, "low": low, "high": high, "replicates": len(values)}
            rows.append({**cell, **own})
    numbers = ["train_size", "mean", "low", "high"]
    found = pd.DataFrame(rows, columns=[VARIANT, ARM, data.budget, *numbers, "replicates"])
    return found.astype(dict.fromkeys(numbers, float))  # also where a study has one n, and no curve


def onset(data: StudyData, attack: str, over: float = 0.55) -> pd.DataFrame:
    """When leakage sets in, by n: from which level on AUC is shown over 0.5, and when it reaches `over`.

    first_level: AUC's 95 % lower bound is over 0.5 there and at every later level; looked at from the last one
    backwards, so that many levels raise no more false onsets than one; null where the last is not. epochs (or steps):
    where the mean path, interpolated in their logarithm, reaches `over`; low, high: where its interval holds `over`.
    All three: 0 for at or before the first level, infinite for not within the last. ValueError unless 0.5 < over < 1.
    Columns variant, arm, train_size, first_level, epochs (or steps), low, high, over, replicates, descriptive.
    """
    if not 0.5 < over < 1:
        raise Refused(f"onset: AUC to reach must be between 0.5 and 1, got {over}")
    rows = []
    for cell, levels, values in _paths(data, attack, AUC, data.budget):
        count = len(values)
        own = {"over": over, "replicates": count, "descriptive": count < MIN_REPLICATES}
        rows.append({**cell, **_onset(levels, values, float(logit(over))), **own})
    numbers = ["first_level", "reached", "low", "high", "over", "replicates", "descriptive"]
    table = pd.DataFrame(rows, columns=[VARIANT, ARM, "train_size", *numbers]).astype({"first_level": "Int64"})
    return table.rename(columns={"reached": data.budget})


def _line(sizes: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """Slope of values [R,L] on log2 n, and p of the part of them that is quadratic in it."""
    powers = np.stack([np.log2(sizes) ** power for power in range(min(3, len(sizes)))], axis=1)
    basis = np.linalg.qr(powers)[0]
    found = effect_of(values @ basis[:, 1] / (basis[:, 1] @ np.log2(sizes)))
    curvature = p_value(values @ basis[:, 2]) if len(sizes) > 2 else None
    own = {name: found[name] for name in ("low", "high", "p", "replicates", "descriptive")}
    return {"slope": found["effect"], "sizes": len(sizes), "lack_of_fit": curvature, **own}


def _onset(levels: np.ndarray, values: np.ndarray, over: float) -> dict[str, Any]:
    """Of log odds [R,L] at levels of training."""
    _, lowest, _ = t_interval(values)
    later = np.logical_and.accumulate((lowest > 0)[::-1])[::-1]
    times = np.geomspace(levels[0], levels[-1], GRID)
    mean, low, high = t_interval(np.array([np.interp(np.log(times), np.log(levels), row) for row in values]))
    shown = np.logical_and.accumulate((low > over)[::-1])[::-1]
    return {
        "first_level": int(levels[later.argmax()]) if later.any() else None,
        "reached": _reached(times, mean >= over),
        "low": _reached(times, high >= over),
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


def _paths(
    data: StudyData, attack: str, value: str, along: str
) -> Iterator[tuple[dict[str, Any], np.ndarray, np.ndarray]]:
    """Cells but for one factor, its levels [L] and values [R,L] of the replicates that have all of them."""
    found = cells(data, attack, value, data.cell).scale
    rest = [name for name in data.cell if name != along]
    table = found.columns.to_frame(index=False)
    for levels, rows in table.groupby(rest, sort=False):
        rows = rows.sort_values(along)
        values = found[found.columns[rows.index]].dropna().to_numpy()
        if len(rows) > 1 and len(values):
            yield dict(zip(rest, levels, strict=True)), rows[along].to_numpy(dtype=float), values
