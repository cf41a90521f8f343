"""The release budget: leakage against the number of samples that are released, and how many keep it under a limit.

The numbers are levels of one attack, scored on the same samples, of which the attacker sees the first N. How many
samples keep to a limit follows from one-sided upper bounds that hold at all N together: at 1 - alpha / L each
(Bonferroni over L numbers, alpha what the study's look may spend). A statement is made of all attacks of an access that
were tried at these numbers, each of which must be below the limit (an intersection-union test, which needs no
correction for attacks). It can be wrong only where, at the smallest number that exceeds the limit, the bound of the
attack that leaks most there fails. So all statements of a cell and an access, at whatever limits, are right together in
1 - alpha of studies.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from analysis.stats.inference import columns_of_estimate, mean_of
from analysis.study_data import StudyData
from mia_core.metrics.two_way import MIN_REPLICATES, Estimate, alpha_of_look
from study.verdicts.controls import ALPHA

LIMITS = (0.55, 0.6, 0.65, 0.7, 0.8)
"""Of the mean AUC, for which tables say how many samples keep to them."""
ESTIMATE = ("mean", "low", "high", "upper", "replicates", "descriptive")


def families(data: StudyData) -> dict[str, dict[int, str]]:
    """Attacks that were tried at several numbers of samples: labels by number, ascending, by the label without it."""
    found: dict[str, dict[int, str]] = {}
    if "released" not in data.wide:
        return {}
    rows = data.wide[["attack", "released"]].drop_duplicates().dropna()
    for label, released in rows.itertuples(index=False):
        family = re.sub(rf"_generated{released:.0f}(?=_|$)", "", label)
        if family != label:
            found.setdefault(family, {})[int(released)] = label
    return {family: dict(sorted(labels.items())) for family, labels in found.items() if len(labels) > 1}


def upper_bound(found: Estimate, numbers: int, looks: int = 1) -> float:
    """Of a mean AUC at one of so many numbers of samples: all their bounds hold together; NaN with one replicate."""
    return float(found.upper(1 - alpha_of_look(looks, ALPHA) / numbers))


def budget(data: StudyData) -> pd.DataFrame:
    """One row a cell after the last level of training, an attack of `families` and a number of samples.

    Columns of `data.cell`, attack (without its number), label, access, released, mean, low, high (two-way, 95 % each),
    upper (one-sided, together with the other numbers), replicates, descriptive. Empty where no attack has several
    numbers, and for a search.
    """
    rows = [] if data.searched else list(_rows(data))
    return pd.DataFrame(rows, columns=[*data.cell, "attack", "label", "access", "released", *ESTIMATE])


def _rows(data: StudyData) -> Iterator[dict[str, Any]]:
    last = data.last
    for family, labels in families(data).items():
        own = last[last["attack"].isin(labels.values())]
        for levels, cell in own.groupby(list(data.cell), sort=True):
            there = [label for label in labels.values() if (cell["attack"] == label).any()]
            for released, label in labels.items():
                if label not in there:
                    continue
                rows = cell[cell["attack"] == label].sort_values("replicate")
                found = mean_of(data, rows)
                named = {**dict(zip(data.cell, levels, strict=True)), "attack": family, "label": label}
                about = {"access": str(rows["access"].iloc[0]), "released": released}
                upper = upper_bound(found, len(there), data.looks)
                yield {**named, **about, **columns_of_estimate(found), "upper": upper}


def allowed(data: StudyData, limits: Sequence[float] = LIMITS) -> pd.DataFrame:
    """One row a cell, an access and a limit of the mean AUC.

    Columns of `data.cell`, access, attacks (how many), tried (numbers that all of them were tried at), limit, released:
    the largest of them up to which every attack's `upper` is below the limit at every number, 0 where it is not at the
    smallest; null with `reason` where that is not known: from under 5 replicates, and from a public copy, whose
    intervals speak of its own records alone.
    """
    table = budget(data)
    rows = []
    for levels, own in table.groupby([*data.cell, "access"], sort=False):
        cell = dict(zip([*data.cell, "access"], levels, strict=True))
        numbers = own.groupby("released")["attack"].nunique()
        count = own["attack"].nunique()
        tried = [int(number) for number in numbers.index[numbers == count]]
        named = {**cell, "attacks": count, "tried": ", ".join(map(str, tried))}
        reason = _reason(data, own)
        bounds = highest(own, tried)
        for limit in limits:
            found = None if reason else keeps_to(bounds, tried, limit)
            rows.append({**named, "limit": limit, "released": found, "reason": reason})
    found_columns = [*data.cell, "access", "attacks", "tried", "limit", "released", "reason"]
    return pd.DataFrame(rows, columns=found_columns).astype({"released": "Int64"})


def highest(own: pd.DataFrame, tried: Sequence[int]) -> list[float]:
    """The highest upper bound of all attacks at each number tried; NaN where one has none."""
    return [float(own.loc[own["released"] == number, "upper"].to_numpy(float).max()) for number in tried]


def keeps_to(bounds: Sequence[float], tried: Sequence[int], limit: float) -> int:
    """The largest of the numbers `tried`, ascending, up to which all upper bounds are below a limit; else 0.

    bounds: at each number, as of `highest`.
    """
    largest = 0
    for number, bound in zip(tried, bounds, strict=True):
        if not bound < limit:
            break
        largest = number
    return largest


def _reason(data: StudyData, own: pd.DataFrame) -> str | None:
    if data.public:
        return "a public copy has no scores"
    if own["descriptive"].any():
        return f"it takes {MIN_REPLICATES} replicates"
    return None


def words_of_statement(row: dict[Any, Any]) -> str:
    """A row of `allowed`: `at most 1000 samples keep the mean AUC under 0.60, of 100, 1000, 10000 tried`."""
    if pd.isna(row["released"]):
        return f"not known: {row['reason']}"
    if not row["released"]:
        return f"none of the numbers tried ({row['tried']}) is shown to keep the mean AUC under {row['limit']:.2f}"
    return f"at most {row['released']} samples keep the mean AUC under {row['limit']:.2f}, of {row['tried']} tried"
