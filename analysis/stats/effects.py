"""Effects with intervals: replicates are what is independent, levels are compared inside each of them.

Means and contrasts carry t intervals on R - 1 degrees of freedom; fewer than 5 replicates are `descriptive`. AUC is
averaged and compared as log odds, logit((U + 1/2) / (n m + 1)), whose spread does not shrink near 1.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import t

from mia_core.errors import Refused

MIN_REPLICATES = 5
AUC = "auc"


def log_odds_of_auc(rows: pd.DataFrame) -> pd.Series:
    """logit((U + 1/2) / (n m + 1)) per row; needs the columns auc, queries, baseline_top_n."""
    members = rows["queries"] * rows["baseline_top_n"]
    pairs = members * (rows["queries"] - members)
    return pd.Series(logit((rows[AUC] * pairs + 0.5) / (pairs + 1)), index=rows.index)


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


def effect_of(values: np.ndarray) -> dict[str, Any]:
    """From its value in each replicate: effect, low, high, p, sd (of one replicate), replicates, descriptive."""
    effect, low, high = t_interval(values)
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    count = len(values)
    return {
        "effect": effect,
        "low": low,
        "high": high,
        "p": p_value(values),
        "sd": sd,
        "replicates": count,
        "descriptive": count < MIN_REPLICATES,
    }


def on_scale(rows: pd.DataFrame, value: str) -> pd.Series:
    """The scale on which a value is averaged and compared: log odds for AUC, else its own units."""
    return log_odds_of_auc(rows) if value == AUC else rows[value].astype(float)


def means(rows: pd.DataFrame, value: str, by: Sequence[str]) -> pd.DataFrame:
    """Mean of `value` over replicates in every cell of `by`, with columns mean, low, high, replicates, descriptive.

    ValueError when a cell has a replicate twice: then `by` leaves out a factor, or the rows mix attacks.
    """
    scale = on_scale(rows, value)
    records = []
    for cell, group in rows.assign(scale=scale).dropna(subset=["scale"]).groupby(list(by), sort=True):
        _refuse_repeated(group, by)
        bounds = t_interval(group["scale"].to_numpy())
        records.append((*cell, *(expit(bounds) if value == AUC else bounds), len(group)))
    result = pd.DataFrame(records, columns=[*by, "mean", "low", "high", "replicates"])
    result["descriptive"] = result["replicates"] < MIN_REPLICATES
    return result


def contrasts(rows: pd.DataFrame, value: str, factor: str, baseline: Any, by: Sequence[str]) -> pd.DataFrame:
    """Level minus baseline of `factor` inside each replicate, in every cell of the other factors `by`.

    One row a cell and level: difference (mean, in the value's own units), effect with low and high and two-sided p
    (for AUC in log odds, else as difference), replicates, descriptive. Unpaired replicates are left out.
    ValueError when the baseline is not a level.
    """
    if baseline not in set(rows[factor]):
        raise Refused(f"contrasts: {baseline!r} is not a level of {factor}: {sorted(set(rows[factor]))}")
    rows = rows.assign(scale=on_scale(rows, value)).dropna(subset=["scale"])
    records = []
    for cell, group in rows.groupby(list(by), sort=True):
        _refuse_repeated(group, [factor])
        raw = group.pivot(index="replicate", columns=factor, values=value)
        scale = group.pivot(index="replicate", columns=factor, values="scale")
        if baseline not in scale:
            continue
        for level in scale.columns.drop(baseline):
            paired = (scale[level] - scale[baseline]).dropna().to_numpy()
            if not len(paired):
                continue
            effect, low, high = t_interval(paired)
            difference = float((raw[level] - raw[baseline]).mean())
            records.append((*cell, level, difference, effect, low, high, p_value(paired), len(paired)))
    columns = [*by, factor, "difference", "effect", "low", "high", "p", "replicates"]
    result = pd.DataFrame(records, columns=columns)
    result["descriptive"] = result["replicates"] < MIN_REPLICATES
    return result


def _refuse_repeated(group: pd.DataFrame, by: Sequence[str]) -> None:
    repeated = group.duplicated([*by, "replicate"])
    if repeated.any():
        raise Refused(f"a replicate appears twice in one cell of {', '.join(by)}: choose one attack, name all factors")
