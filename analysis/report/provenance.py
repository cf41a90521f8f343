"""Numbers that say where they come from: each names its rows of the store, and can be computed again from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.format import AUC_WORDS, TPR_WORDS, form_of, interval, number, replicates
from analysis.report.shown import DATA, WIDE_OF_DATA, call
from analysis.report.sources import Source, condition, source
from analysis.stats.effects import difference as effect
from analysis.stats.effects import mean_columns, measured
from analysis.stats.inference import AUC, TPR
from analysis.study_data import StudyData
from mia_core.errors import Refused
from mia_core.metrics.two_way import MIN_REPLICATES

NAMES = {AUC: AUC_WORDS, TPR: TPR_WORDS}
"""Measures of an attack, in words."""
SAME = {"low": "low", "high": "high", "replicates": "replicates"}
"""What a number takes over of an estimate."""


@dataclass(frozen=True)
class Number:
    """A mean over replicates, or a difference of two cells inside them.

    value: the mean, in units of `column`. low, high: its 95 % interval in the same units (null under two replicates),
    or one of a higher `level`. p: of a difference of zero (null for a mean). column, attack: of the wide table.
    is_difference: of the rows of one cell less those of another.
    """

    what: str
    column: str
    attack: str
    is_difference: bool
    value: float
    low: float
    high: float
    p: float
    replicates: int
    source: Source

    @property
    def settled(self) -> bool:
        """Whether there are replicates enough for an interval to mean something."""
        return self.replicates >= MIN_REPLICATES

    @property
    def text(self) -> str:
        """The value with its interval."""
        return interval(self.value, self.low, self.high, form_of(self.column, self.is_difference))

    @property
    def short(self) -> str:
        """The value alone."""
        return number(self.value, form_of(self.column, self.is_difference))

    @property
    def tooltip(self) -> str:
        """What it is, and over how many replicates."""
        return f"{self.what}; {replicates(self.replicates)}"


def mean(data: StudyData, column: str, attack: str, cell: dict[str, Any]) -> Number | None:
    """Of one cell, named by columns of `data.cell`; None where nothing was measured."""
    rows = measured(in_cell(data.attack(attack), cell), column)
    return _number(data, column, attack, ", ".join(f"{name} {value}" for name, value in cell.items()), rows)


def at(data: StudyData, column: str, attack: str, trials: Sequence[str], what: str) -> Number | None:
    """A mean over those trials, replicates of one point, which `what` names; None where nothing was measured."""
    rows = measured(data.attack(attack), column)
    return _number(data, column, attack, what, rows[rows["trial_id"].isin(trials)])


def difference(
    data: StudyData,
    column: str,
    attack: str,
    cell: dict[str, Any],
    baseline: dict[str, Any],
    level: float = 0.95,
) -> Number | None:
    """A cell less another that differs in one factor, inside replicates; None without a replicate that has both.

    level: of its interval. One that was chosen among K has 1 - 0.05 / K, which corrects for the choice.
    """
    rows = data.attack(attack).dropna(subset=[column])
    ours, theirs = in_cell(rows, cell), in_cell(rows, baseline)
    both = set(ours["replicate"]) & set(theirs["replicate"])
    factor = next(name for name in cell if cell[name] != baseline[name])
    what = f"{factor} {cell[factor]} less {baseline[factor]}, " + ", ".join(
        f"{name} {value}" for name, value in cell.items() if name != factor
    )
    ours, theirs = (part[part["replicate"].isin(both)] for part in (ours, theirs))
    return _number(data, column, attack, what, ours, theirs, level)


def in_cell(rows: pd.DataFrame, cell: dict[str, Any]) -> pd.DataFrame:
    """Rows of one cell."""
    mask = np.ones(len(rows), bool)
    for name, value in cell.items():
        mask &= (rows[name] == value).to_numpy(bool, na_value=False)
    return rows[mask]


def again(
    data: StudyData, column: str, rows: pd.DataFrame, less: pd.DataFrame | None = None, level: float = 0.95
) -> dict[str, float]:
    """What `Number` says, from those rows of the study's wide table, or from them less the rows of another cell.

    Values value, low, high, p, replicates. ValueError for rows that are not of the study, or that have no value.
    """
    parts = [rows] if less is None else [rows, less]
    if unknown := set(pd.concat(parts)["trial_id"]) - set(data.wide["trial_id"]):
        raise Refused(f"study {data.name} has no trial {min(unknown)}")
    found = _computed(data, column, [measured(part, column) for part in parts], level)
    if found is None:
        raise Refused(f"these rows of study {data.name} have no {column}")
    return found


def _number(
    data: StudyData,
    column: str,
    attack: str,
    what: str,
    ours: pd.DataFrame,
    theirs: pd.DataFrame | None = None,
    level: float = 0.95,
) -> Number | None:
    if ours.empty:
        return None
    parts = [ours] if theirs is None else [ours, theirs]
    found = _computed(data, column, parts, level)
    if found is None:
        return None
    what = f"{NAMES[column]} of {attack}: {what}" if column in NAMES else f"{column}: {what}"
    arguments = [condition(data, attack, part).python(WIDE_OF_DATA) for part in parts]
    chosen = [] if level == 0.95 else [level]
    code = call("again", DATA, column, *arguments, *chosen)
    origin = source(data, attack, ours if theirs is None else pd.concat(parts), what, code)
    return Number(what, column, attack, theirs is not None, **found, source=origin)


def _by_replicate(rows: pd.DataFrame) -> pd.DataFrame:
    return rows if rows["replicate"].is_monotonic_increasing else rows.sort_values("replicate")


def _computed(data: StudyData, column: str, parts: list[pd.DataFrame], level: float) -> dict[str, Any] | None:
    ours, *theirs = map(_by_replicate, parts)
    if theirs:
        found = effect(data, ours, theirs[0], column, level)
        return {name: found[key] for name, key in {"value": "effect", **SAME, "p": "p"}.items()}
    mean = mean_columns(data, ours, column, level)
    return None if mean is None else {"value": mean["mean"], **{key: mean[key] for key in SAME}, "p": float("nan")}
