"""The contrasts that every study declares beforehand, corrected by Holm, and how many replicates would settle them.

For the primary attack: every arm against `none` after the last level of training at each n; and without a defense, the
largest n against the smallest after the last level, and the last level against the first at each n. All else is
exploratory.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2, norm, t

from analysis.stats.cells import DECLARED, EFFECT, cells
from analysis.stats.inference import AUC
from analysis.study_data import ARM, VARIANT, StudyData
from mia_core.errors import Refused
from study.verdicts.controls import ALPHA, holm

MOST_REPLICATES = 10_000
"""More are not named as a number: no study would run them."""
QUANTILES = (np.arange(1000) + 0.5) / 1000


def declared(data: StudyData, attack: str | None = None, value: str = AUC) -> pd.DataFrame:
    """The declared contrasts of the primary attack, or of another one, which makes them exploratory.

    Columns contrast (in words), factor, level, baseline, those of `data.cell` (null for the factor contrasted), then
    `cells.EFFECT`, p_holm over all rows, settled: whether p_holm is below 0.05.
    """
    label = attack or data.primary
    status = DECLARED if label == data.primary else "exploratory"
    found = cells(data, label, value, data.cell)
    rows = []
    for contrast in _contrasts(data, found.table):
        factor, level, baseline, cell = contrast
        weights = _pair(data.cell, factor, level, baseline, cell)
        where = ", ".join(data.words(name, x) for name, x in cell.items() if name != VARIANT or len(data.variants) > 1)
        words = f"{data.words(factor, level)} against {data.words(factor, baseline)} ({where})"
        named = {"contrast": words, "factor": factor, "level": level, "baseline": baseline, **cell}
        rows.append({**named, **found.effect(weights, status=status)})
    table = pd.DataFrame(rows, columns=["contrast", "factor", "level", "baseline", *data.cell, *EFFECT])
    told = table["p"].notna()
    table["p_holm"] = np.nan
    table.loc[told, "p_holm"] = holm(table.loc[told, "p"].to_numpy(float))
    table["settled"] = table["p_holm"] < ALPHA
    return table.astype({"train_size": "Int64", data.budget: "Int64"})


def _contrasts(data: StudyData, table: pd.DataFrame) -> Iterator[tuple[str, Any, Any, dict[str, Any]]]:
    """Factor, level, baseline, and the levels of the rest of `data.cell`; only what the study has."""
    present = set(table[list(data.cell)].itertuples(index=False, name=None))
    budget, base = data.budget, data.arms[0]
    sizes, lengths = sorted(set(table["train_size"])), sorted(set(table[budget]))

    def there(cell: dict[str, Any], factor: str, *levels: Any) -> bool:
        return all(tuple({**cell, factor: level}[name] for name in data.cell) in present for level in levels)

    for variant in data.variants:
        wanted = [
            *((ARM, arm, base, {"train_size": n, budget: lengths[-1]}) for n in sizes for arm in data.arms[1:]),
            ("train_size", sizes[-1], sizes[0], {ARM: base, budget: lengths[-1]}),
            *((budget, lengths[-1], lengths[0], {ARM: base, "train_size": n}) for n in sizes),
        ]
        for factor, level, baseline, rest in wanted:
            cell = {VARIANT: variant, **rest}
            if level != baseline and there(cell, factor, level, baseline):
                yield factor, level, baseline, cell


def _pair(names: tuple[str, ...], factor: str, level: Any, baseline: Any, cell: dict[str, Any]) -> pd.Series:
    """Weights of one cell less another."""
    ends = [tuple({**cell, factor: end}[name] for name in names) for end in (level, baseline)]
    return pd.Series([1.0, -1.0], index=pd.MultiIndex.from_tuples(ends, names=names))


def replicates_needed(table: pd.DataFrame, family: int = 1, power: float = 0.8) -> pd.DataFrame:
    """The table with how many replicates would settle each effect, were it as large as it looks.

    needed: replicates with which a two-sided t test at 0.05 / family (Holm's hardest step) finds it with that power,
    `sd` of one replicate and, where the table has it, `sd_records`, which more replicates do not take away;
    needed_low, needed_high: the same at the 95 % limits of its SD, which few replicates know badly. more, more_low,
    more_high: beyond those that there are, 0 for what is settled. Null with fewer than two replicates, or where more
    than 10,000 are needed.
    ValueError unless family is 1 or more and power between 0.05 and 1.
    """
    if family < 1 or not ALPHA < power < 1:
        raise Refused(f"replicates_needed: needs family >= 1 and power in (0.05, 1), got {family} and {power}")
    rows = []
    settled = table["settled"] if "settled" in table else pd.Series(False, index=table.index)
    records = table["sd_records"] if "sd_records" in table else pd.Series(0.0, index=table.index)
    columns = (table["effect"], table["sd"], records, table["replicates"], settled)
    for effect, sd, fixed, count, done in zip(*columns, strict=True):
        freedom = int(count) - 1
        low, high = (sd * (freedom / chi2.ppf(q, freedom)) ** 0.5 for q in (0.975, 0.025)) if freedom > 0 else (sd, sd)
        numbers = [_needed(effect, spread, fixed, ALPHA / family, power) for spread in (sd, low, high)]
        more = [None if number is None else 0 if done else max(0, number - int(count)) for number in numbers]
        rows.append((*numbers, 0 if done else more[0], *more[1:]))
    named = ["needed", "needed_low", "needed_high", "more", "more_low", "more_high"]
    return table.join(pd.DataFrame(rows, columns=named, index=table.index, dtype="Int64"))


def _needed(effect: float | None, sd: float, sd_records: float, alpha: float, power: float) -> int | None:
    """The smallest number of replicates from 2 with that power; None beyond `MOST_REPLICATES`."""
    if effect is None or pd.isna(effect) or pd.isna(sd) or effect == 0:
        return None
    if sd == 0 and sd_records == 0:
        return 2

    def enough(count: int) -> bool:
        error = (sd**2 / count + sd_records**2) ** 0.5  # of the mean over so many replicates
        return power_of(abs(effect) / (error * count**0.5), count, alpha) >= power

    if not enough(MOST_REPLICATES):
        return None
    low, high = 1, MOST_REPLICATES
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def power_of(ratio: float, replicates: int, alpha: float) -> float:
    """Of a two-sided t test: the chance to find an effect of `ratio` standard deviations of one replicate's.

    A mean of normal tails over the spread that is estimated, which does not fail far from zero as noncentral t does.
    """
    freedom, shift = replicates - 1, ratio * replicates**0.5
    critical = t.ppf(1 - alpha / 2, freedom) * np.sqrt(chi2.ppf(QUANTILES, freedom) / freedom)
    return float((norm.sf(critical - shift) + norm.cdf(-critical - shift)).mean())
