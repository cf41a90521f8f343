"""Effects with intervals: means of cells over replicates, and contrasts of levels inside replicates.

AUC is judged by scores (`analysis.stats.inference`): two-way intervals, which speak of records like these, and effects
in units of AUC. Other values (quality, accuracy) have t intervals over replicates, R - 1 degrees of freedom. Fewer than
5 replicates are `descriptive`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from analysis.stats.inference import AUC, TPR, USED, aucs_of, columns_of_estimate, mean_of, sums_of, tpr_of
from analysis.study_data import StudyData
from mia_core.errors import Refused
from mia_core.metrics.two_way import MIN_REPLICATES

ESTIMATE = ("mean", "low", "high", "replicates", "descriptive")


def t_interval(values: np.ndarray, level: float = 0.95) -> tuple[Any, Any, Any]:
    """Mean and its interval over independent values [R], or of each column of [R,K]; NaN bounds for a single one."""
    count = len(values)
    mean = np.mean(values, axis=0)
    if count < 2:
        return mean, mean * np.nan, mean * np.nan
    half = t.ppf((1 + level) / 2, count - 1) * np.std(values, axis=0, ddof=1) / count**0.5
    return mean, mean - half, mean + half


def p_value(values: np.ndarray) -> Any:
    """Two-sided, of a zero mean of values [R], or of each column of [R,K]; NaN for a single value or equal ones."""
    count = len(values)
    if count < 2:
        return np.mean(values, axis=0) * np.nan
    error = np.where(np.ptp(values, axis=0) > 0, np.std(values, axis=0, ddof=1) / count**0.5, np.nan)
    return 2 * t.sf(np.abs(np.mean(values, axis=0) / error), count - 1)[()]


def effect_of(values: np.ndarray, level: float = 0.95) -> dict[str, Any]:
    """From its value in each replicate: effect, low, high, p, sd (of one replicate), sd_records (0), replicates,
    descriptive.
    """
    effect, low, high = t_interval(values, level)
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    count = len(values)
    return {
        "effect": effect,
        "low": low,
        "high": high,
        "p": p_value(values),
        "sd": sd,
        "sd_records": 0.0,
        "replicates": count,
        "descriptive": count < MIN_REPLICATES,
    }


def mean_columns(data: StudyData, rows: pd.DataFrame, value: str, level: float = 0.95) -> dict[str, Any] | None:
    """The columns ESTIMATE of one cell, rows of one attack with a value in each replicate; None where there is none.

    TPR at 1 % FPR is one number of all replicates, where the study has scores.
    """
    if value == AUC:
        return columns_of_estimate(mean_of(data, rows), level)
    if value == TPR and not data.public:
        found = tpr_of(data, rows)
        return None if found is None else columns_of_estimate(found, level)
    mean, low, high = t_interval(rows[value].to_numpy(float), level)
    count = len(rows)
    return {"mean": mean, "low": low, "high": high, "replicates": count, "descriptive": count < MIN_REPLICATES}


def measured(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """The rows that have a value. TPR at 1 % FPR is one of replicates together: every row with an AUC has it."""
    has = rows[AUC if value == TPR else value].notna()
    return rows if has.all() else rows[has]


def means(data: StudyData, rows: pd.DataFrame, value: str, by: Sequence[str]) -> pd.DataFrame:
    """Mean of `value` over replicates in every cell of `by`, with columns ESTIMATE.

    ValueError when a cell has a replicate twice: then `by` leaves out a factor, or the rows mix attacks.
    """
    records = []
    used = [name for name in rows if name in {*by, value, *USED}]  # few, for every column of a group is copied
    for cell, group in measured(rows[used], value).groupby(list(by), sort=True):
        _refuse_repeated(group, by)
        found = mean_columns(data, group, value)
        if found is not None:
            records.append({**dict(zip(by, cell, strict=True)), **found})
    return pd.DataFrame(records, columns=[*by, *ESTIMATE])


def contrasts(
    data: StudyData, rows: pd.DataFrame, value: str, factor: str, baseline: Any, by: Sequence[str]
) -> pd.DataFrame:
    """Level minus baseline of `factor` inside each replicate, in every cell of the other factors `by`.

    One row a cell and level: effect with low and high in the value's own units, two-sided p, replicates, descriptive.
    Unpaired replicates are left out. ValueError when the baseline is not a level.
    """
    if baseline not in set(rows[factor]):
        raise Refused(f"contrasts: {baseline!r} is not a level of {factor}: {sorted(set(rows[factor]))}")
    numbers = ["effect", "low", "high", "p", "replicates", "descriptive"]
    records = []
    for cell, group in rows.dropna(subset=[value]).groupby(list(by), sort=True):
        _refuse_repeated(group, [factor])
        levels = {level: own.set_index("replicate", drop=False) for level, own in group.groupby(factor, sort=True)}
        if baseline not in levels:
            continue
        for level in levels:
            both = levels[level].index.intersection(levels[baseline].index)
            if level == baseline or both.empty:
                continue
            found = difference(data, levels[level].loc[both], levels[baseline].loc[both], value)
            records.append({**dict(zip(by, cell, strict=True)), factor: level, **found})
    return pd.DataFrame(records, columns=[*by, factor, *numbers])


def difference(
    data: StudyData, ours: pd.DataFrame, theirs: pd.DataFrame, value: str, level: float = 0.95
) -> dict[str, Any]:
    """Columns of `effect_of` of a cell less another one, rows of the same replicates in the same order."""
    if value == AUC:
        return sums_of([aucs_of(data, ours), aucs_of(data, theirs)], np.array([[1.0, -1.0]]), level)[0]
    return effect_of(ours[value].to_numpy(float) - theirs[value].to_numpy(float), level)


def _refuse_repeated(group: pd.DataFrame, by: Sequence[str]) -> None:
    repeated = group.duplicated([*by, "replicate"])
    if repeated.any():
        raise Refused(f"a replicate appears twice in one cell of {', '.join(by)}: choose one attack, name all factors")
