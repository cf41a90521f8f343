"""Numbers that say where they come from: each names its rows of the store, and can be computed again from them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.effects import AUC, MIN_REPLICATES, contrasts, means
from analysis.study_data import StudyData
from study.store import Store, read


@dataclass(frozen=True)
class Number:
    """A mean over replicates, or a difference of two cells inside them.

    value: the mean, in units of `column`. low, high: its 95 % t interval (null under two replicates), for a
    difference of AUC in log odds, and then `effect` is its middle. p: of a difference of zero. trials, against: ids of
    the trials it is the mean of, and of those subtracted. column, attack: of the wide table; no attack for quality.
    """

    what: str
    column: str
    attack: str
    trials: tuple[str, ...]
    against: tuple[str, ...]
    value: float
    low: float
    high: float
    effect: float
    p: float
    replicates: int

    @property
    def settled(self) -> bool:
        """Whether there are replicates enough for an interval to mean something."""
        return self.replicates >= MIN_REPLICATES

    @property
    def text(self) -> str:
        """The value, with its interval where that is in the same units."""
        sign = "+" if self.against else ""
        if pd.isna(self.low) or (self.against and self.column == AUC):
            return f"{self.value:{sign}.2f}"
        return f"{self.value:{sign}.2f} [{self.low:{sign}.2f}, {self.high:{sign}.2f}]"

    @property
    def text_of_effect(self) -> str:
        """Effect and interval in log odds, of a difference of AUC; else empty."""
        if not self.against or self.column != AUC:
            return ""
        bounds = "" if pd.isna(self.low) else f" [{self.low:+.2f}, {self.high:+.2f}]"
        return f"log odds {self.effect:+.2f}{bounds}"

    def source(self, place: str) -> str:
        """Python that computes it again. place: the study's, e.g. results/digits."""
        chosen = f"trials={json.dumps(self.trials)}" + (f", against={json.dumps(self.against)}" if self.against else "")
        return f"again({json.dumps(place)}, {json.dumps(self.column)}, {json.dumps(self.attack)}, {chosen})"


@dataclass
class Ledger:
    """Every number of a page, in order of appearance."""

    numbers: list[Number] = field(default_factory=list)

    def cite(self, number: Number) -> int:
        """Its place, from 1 on; a number that was there before keeps its own."""
        keys = [(one.column, one.attack, one.trials, one.against) for one in self.numbers]
        key = (number.column, number.attack, number.trials, number.against)
        if key not in keys:
            self.numbers.append(number)
            return len(self.numbers)
        return keys.index(key) + 1


def mean(data: StudyData, column: str, attack: str, cell: dict[str, Any]) -> Number | None:
    """Of one cell, named by columns of `data.cell`; None where nothing was measured."""
    rows = in_cell(data.attack(attack), cell).dropna(subset=[column])
    if rows.empty:
        return None
    what = f"{_words(column, attack)}: {', '.join(f'{name} {value}' for name, value in cell.items())}"
    return _mean(rows, column, attack, what)


def at(data: StudyData, column: str, attack: str, trials: Sequence[str], what: str) -> Number | None:
    """A mean over those trials, replicates of one point, which `what` names; None where nothing was measured."""
    rows = data.attack(attack).dropna(subset=[column])
    rows = rows[rows["trial_id"].isin(trials)]
    return None if rows.empty else _mean(rows, column, attack, f"{_words(column, attack)}: {what}")


def difference(
    data: StudyData, column: str, attack: str, cell: dict[str, Any], baseline: dict[str, Any]
) -> Number | None:
    """A cell less another that differs in one factor, inside replicates; None without a replicate that has both."""
    rows = data.attack(attack).dropna(subset=[column])
    ours, theirs = in_cell(rows, cell), in_cell(rows, baseline)
    both = set(ours["replicate"]) & set(theirs["replicate"])
    if not both:
        return None
    factor = next(name for name in cell if cell[name] != baseline[name])
    what = f"{_words(column, attack)}: {factor} {cell[factor]} less {baseline[factor]}, " + ", ".join(
        f"{name} {value}" for name, value in cell.items() if name != factor
    )
    ours, theirs = (part[part["replicate"].isin(both)] for part in (ours, theirs))
    return _difference(ours, theirs, column, attack, what)


def in_cell(rows: pd.DataFrame, cell: dict[str, Any]) -> pd.DataFrame:
    """Rows of one cell."""
    for name, value in cell.items():
        rows = rows[rows[name] == value]
    return rows


def again(
    folder: str | Path, column: str, attack: str, trials: Sequence[str], against: Sequence[str] = ()
) -> dict[str, float]:
    """What `Number` says, from the rows of those trials in the store: value, low, high, effect, p, replicates."""
    store = Store.at(folder)
    wide = read(store.root, store.study, "wide")
    rows = wide[wide["attack"] == attack]
    ours, theirs = (rows[rows["trial_id"].isin(ids)] for ids in (trials, against))
    found = _difference(ours, theirs, column, attack, "") if against else _mean(ours, column, attack, "")
    return {name: getattr(found, name) for name in ("value", "low", "high", "effect", "p", "replicates")}


def _words(column: str, attack: str) -> str:
    return f"AUC of {attack}" if column == AUC else column


def _mean(rows: pd.DataFrame, column: str, attack: str, what: str) -> Number:
    found = means(rows.assign(cell=0), column, ["cell"]).iloc[0]
    return Number(
        what, column, attack, tuple(rows["trial_id"]), (), found["mean"], found["low"], found["high"], found["mean"],
        float("nan"), int(found["replicates"]),
    )  # fmt: skip


def _difference(ours: pd.DataFrame, theirs: pd.DataFrame, column: str, attack: str, what: str) -> Number:
    rows = pd.concat([ours.assign(level=1), theirs.assign(level=0)]).assign(cell=0)
    found = contrasts(rows, column, "level", 0, ["cell"]).iloc[0]
    return Number(
        what, column, attack, tuple(ours["trial_id"]), tuple(theirs["trial_id"]), found["difference"], found["low"],
        found["high"], found["effect"], found["p"], int(found["replicates"]),
    )  # fmt: skip
