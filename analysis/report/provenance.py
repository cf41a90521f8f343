"""Numbers that say where they come from: each names its rows of the store, and can be computed again from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.report.shown import DATA, WIDE_OF_DATA, call
from analysis.report.sources import Source, condition, source
from analysis.stats.effects import AUC, MIN_REPLICATES, contrasts, means
from analysis.study_data import StudyData
from mia_core.errors import Refused


@dataclass(frozen=True)
class Number:
    """A mean over replicates, or a difference of two cells inside them.

    value: the mean, in units of `column`. low, high: its 95 % t interval (null under two replicates), for a
    difference of AUC in log odds, and then `effect` is its middle. p: of a difference of zero (null for a mean).
    column, attack: of the wide table. is_difference: of the rows of one cell less those of another.
    """

    what: str
    column: str
    attack: str
    is_difference: bool
    value: float
    low: float
    high: float
    effect: float
    p: float
    replicates: int
    source: Source

    @property
    def settled(self) -> bool:
        """Whether there are replicates enough for an interval to mean something."""
        return self.replicates >= MIN_REPLICATES

    @property
    def text(self) -> str:
        """The value, with its interval where that is in the same units."""
        sign = "+" if self.is_difference else ""
        if pd.isna(self.low) or (self.is_difference and self.column == AUC):
            return f"{self.value:{sign}.2f}"
        return f"{self.value:{sign}.2f} [{self.low:{sign}.2f}, {self.high:{sign}.2f}]"

    @property
    def told(self) -> str:
        """What it is, over how many replicates, and for a difference of AUC its effect in log odds."""
        effect = ""
        if self.is_difference and self.column == AUC:
            bounds = "" if pd.isna(self.low) else f" [{self.low:+.2f}, {self.high:+.2f}]"
            effect = f"; log odds {self.effect:+.2f}{bounds}"
        return f"{self.what}{effect}; {self.replicates} replicate{'' if self.replicates == 1 else 's'}"


def mean(data: StudyData, column: str, attack: str, cell: dict[str, Any]) -> Number | None:
    """Of one cell, named by columns of `data.cell`; None where nothing was measured."""
    rows = in_cell(data.attack(attack), cell).dropna(subset=[column])
    return _number(data, column, attack, ", ".join(f"{name} {value}" for name, value in cell.items()), rows)


def at(data: StudyData, column: str, attack: str, trials: Sequence[str], what: str) -> Number | None:
    """A mean over those trials, replicates of one point, which `what` names; None where nothing was measured."""
    rows = data.attack(attack).dropna(subset=[column])
    return _number(data, column, attack, what, rows[rows["trial_id"].isin(trials)])


def difference(
    data: StudyData, column: str, attack: str, cell: dict[str, Any], baseline: dict[str, Any]
) -> Number | None:
    """A cell less another that differs in one factor, inside replicates; None without a replicate that has both."""
    rows = data.attack(attack).dropna(subset=[column])
    ours, theirs = in_cell(rows, cell), in_cell(rows, baseline)
    both = set(ours["replicate"]) & set(theirs["replicate"])
    factor = next(name for name in cell if cell[name] != baseline[name])
    what = f"{factor} {cell[factor]} less {baseline[factor]}, " + ", ".join(
        f"{name} {value}" for name, value in cell.items() if name != factor
    )
    ours, theirs = (part[part["replicate"].isin(both)] for part in (ours, theirs))
    return _number(data, column, attack, what, ours, theirs)


def in_cell(rows: pd.DataFrame, cell: dict[str, Any]) -> pd.DataFrame:
    """Rows of one cell."""
    for name, value in cell.items():
        rows = rows[rows[name] == value]
    return rows


def again(data: StudyData, column: str, rows: pd.DataFrame, less: pd.DataFrame | None = None) -> dict[str, float]:
    """What `Number` says, from those rows of the study's wide table, or from them less the rows of another cell.

    Values value, low, high, effect, p, replicates. ValueError for rows that are not of the study.
    """
    parts = [rows] if less is None else [rows, less]
    if unknown := set(pd.concat(parts)["trial_id"]) - set(data.wide["trial_id"]):
        raise Refused(f"study {data.name} has no trial {min(unknown)}")
    return _computed(column, *(part.dropna(subset=[column]) for part in parts))


def _number(
    data: StudyData, column: str, attack: str, what: str, ours: pd.DataFrame, theirs: pd.DataFrame | None = None
) -> Number | None:
    if ours.empty:
        return None
    parts = [ours] if theirs is None else [ours, theirs]
    what = f"{f'AUC of {attack}' if column == AUC else column}: {what}"
    selected = [condition(data, attack, part).python(WIDE_OF_DATA) for part in parts]
    origin = source(data, attack, pd.concat(parts), what, call("again", DATA, column, *selected))
    return Number(what, column, attack, theirs is not None, **_computed(column, *parts), source=origin)


def _computed(column: str, ours: pd.DataFrame, theirs: pd.DataFrame | None = None) -> dict[str, Any]:
    if theirs is None:
        found = means(ours.assign(cell=0), column, ["cell"]).iloc[0]
        value, effect, p = found["mean"], found["mean"], float("nan")
    else:
        rows = pd.concat([ours.assign(level=1), theirs.assign(level=0)]).assign(cell=0)
        found = contrasts(rows, column, "level", 0, ["cell"]).iloc[0]
        value, effect, p = found["difference"], found["effect"], found["p"]
    own = {"value": value, "low": found["low"], "high": found["high"], "effect": effect, "p": p}
    return {**own, "replicates": int(found["replicates"])}
