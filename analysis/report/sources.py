"""Where numbers of a page come from: a condition on their rows of the store, and Python that computes them again.

A condition is tried on the study while the page is built: one that selects other rows than those computed from is not
shown.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.report.conditions import Condition, Levels
from analysis.report.shown import DATA, MODULES, WIDE_OF_DATA, Shown, call, columns_of, literal
from analysis.stats.cells import Cells
from analysis.stats.inference import AUC
from analysis.study_data import ARM, SETTINGS, VARIANT, StudyData
from study.design.trial_config import TrialConfig
from study.store.roles import CANARY, STUDY
from study.verdicts.claims import PANEL

WIDE, SCORES = "wide", "scores"
MOST_LEVELS = 12
"""More levels of a factor are not named one by one where all of them are meant."""


@dataclass(frozen=True)
class Source:
    """what: the numbers, in words. where: selects their rows of the wide table.

    table: what was read, `wide` or the `scores` of those rows (by trial_id and attack_id). rows: how many rows of the
    wide table these are; trials: of how many trials. code: Python that computes the numbers again, after `preamble`.
    """

    what: str
    table: str
    where: Condition
    rows: int
    trials: int
    code: Shown

    def __post_init__(self) -> None:
        assert isinstance(self.code, Shown), "code of a source is made by analysis.report.shown"

    @property
    def selection(self) -> Shown:
        """Python that selects its rows of the wide table."""
        return self.where.python(Shown("wide"))

    @property
    def tooltip(self) -> str:
        """In short, as a number says when it is pointed at."""
        return f"{self.what}; {self.extent}"

    @property
    def extent(self) -> str:
        """How much of the store this is."""
        return f"{_count(self.rows, 'row')} of {_count(self.trials, 'trial')}"


@dataclass(frozen=True)
class Cited:
    """Words that hold numbers, with their source."""

    text: str
    source: Source

    @property
    def tooltip(self) -> str:
        """What it is, and of how many trials."""
        return self.source.tooltip


@dataclass
class Ledger:
    """Every source of a page, in order of appearance."""

    sources: dict[Source, int] = field(default_factory=dict)

    def cite(self, source: Source) -> int:
        """Its number, from 1 on; one that was there before keeps its own."""
        return self.sources.setdefault(source, len(self.sources) + 1)


def source(data: StudyData, attack: str, rows: pd.DataFrame, what: str, code: Shown, table: str = WIDE) -> Source:
    """Of rows of one attack of the study's own trials."""
    return Source(what, table, condition(data, attack, rows), len(rows), rows["trial_id"].nunique(), code)


def condition(data: StudyData, attack: str, rows: pd.DataFrame) -> Condition:
    """What selects exactly these of an attack's rows, by levels of factors where that can be said; else by trials."""
    every = data.once(("selecting", attack), lambda: _selected(data, data.attack(attack)))
    rows = _selected(data, rows)
    head: Levels = {**({"role": sorted(set(every["role"]))} if "role" in every else {}), "attack": [attack]}
    wanted = set(rows["trial_id"])
    for levels, either in _tails(data, every, rows):
        found = Condition.of({**head, **levels}, either)
        if set(every["trial_id"][found.mask(every)]) == wanted:
            return found
    return Condition.of({**head, "trial_id": sorted(wanted)})


def _selected(data: StudyData, rows: pd.DataFrame) -> pd.DataFrame:
    return rows[[name for name in rows if name in _selecting(data)]]


def _selecting(data: StudyData) -> frozenset[str]:
    """Columns of the wide table that conditions are made of: few, for every selection of rows copies all columns."""

    def found() -> frozenset[str]:
        wide = data.wide
        arms = [TrialConfig.parse(text).arm for text in wide["config"].unique()] if "config" in wide else []
        own = {name for arm in arms for name in arm.columns()}
        settings = {name for name in wide.columns.astype(str) if name.startswith(SETTINGS)}
        fixed = {"trial_id", "replicate", "role", "attack", "target", "config", "defense", "strength", ARM, VARIANT}
        return frozenset(fixed | own | settings | set(data.cell))

    return data.once("selecting", found)


def preamble(place: str, ledger: Ledger) -> str:
    """Python that goes before the code of those sources. place: where the study is."""
    used = {"rows"} | {name for one in ledger.sources for name in re.findall(r"\w+(?=\()", one.code)}
    imports = sorted(f"from {module} import {name}" for name, module in MODULES.items() if name in used)
    read = "from study.store import read"
    lines = [f"data = load({literal(place)})", 'wide = read(data.store.root, data.name, "wide")']
    return "\n".join([*imports, "from analysis.study_data import load", read, *lines])


def stored(wide: pd.DataFrame, where: Condition, what: str, code: Shown, table: str = WIDE) -> Source:
    """Of rows of any role, such as controls are. wide: the store's table of that name."""
    trials = wide["trial_id"][where.mask(wide) & wide[AUC].notna()]
    return Source(what, table, where, len(trials), trials.nunique(), code)


def of_picture(
    data: StudyData, words: str, attacks: Sequence[str], last: bool = False, arm: str | None = None, table: str = WIDE
) -> Source:
    """Of all cells that a picture shows: of those attacks, after the last level alone, of one arm alone."""
    rows = data.wide[data.wide["attack"].isin(attacks)]
    level: Levels = {data.budget: [rows[data.budget].max()]} if last else {}
    arms = _of_arm(rows[rows[ARM] == arm]) if arm else {}
    where = Condition.of({"role": [STUDY], "attack": attacks, **level, **arms})
    found = where.python(WIDE_OF_DATA)
    code = call("means", DATA, found, AUC, ["attack", *data.cell])
    code = code if table == WIDE else columns_of(found, ["trial_id", "attack_id"])
    return stored(data.wide, where, f"picture: {words}", code, table)


def of_audit(data: StudyData, wide: pd.DataFrame, row: Mapping[Any, Any], trials: Sequence[str]) -> Source:
    """Of one row of `verdicts.claims`: a cell's trials, or those that were trained with canaries."""
    role = STUDY if row["audit"] == PANEL else CANARY
    every = wide[(wide["role"] == role) & (wide["attack"] == row["attack"])]
    rows = every[every["trial_id"].isin(trials)]
    head = {"role": [role], "attack": [row["attack"]]}
    where = Condition.of({**head, **_of_levels(data, every, rows), **_of_arm(rows)})
    if set(wide["trial_id"][where.mask(wide)]) != set(trials):
        where = Condition.of({**head, "trial_id": sorted(trials)})
    what = f"audit by {row['attack']} of {row[ARM]}, n = {row['train_size']}, {row[data.budget]} {data.budget}"
    return stored(wide, where, what, call("audits", DATA), SCORES)


def of_cells(data: StudyData, attack: str, found: Cells, terms: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Rows that an effect of `analysis.stats.sensitivity` is computed from. terms: each factor's levels in it."""
    weights, _ = found.weights({name: dict.fromkeys(levels, 1.0) for name, levels in terms.items()})
    return of_columns(data, attack, found, weights.index)


def of_columns(data: StudyData, attack: str, found: Cells, columns: pd.Index) -> pd.DataFrame:
    """Rows of those cells, in the replicates that have all of them."""
    complete = found.complete(columns)
    rows = data.attack(attack)
    rows = rows[rows["replicate"].isin(complete[complete].index)]
    cells = pd.MultiIndex.from_frame(rows[list(found.names)])
    return rows[cells.isin(columns)]


def _tails(data: StudyData, every: pd.DataFrame, rows: pd.DataFrame) -> Iterator[tuple[Levels, list[Levels]]]:
    """Conditions to try, the shortest first: levels of columns, and arms with levels of their own."""
    levels, (arm, either) = _of_levels(data, every, rows), _of_arms(data, every, rows)
    replicates: Levels = {"replicate": sorted(set(rows["replicate"]))}
    yield {**levels, **arm}, either
    yield {**levels, **arm, **replicates}, either
    parts: list[Levels] = [{**_of_levels(data, every, own), **_of_arm(own)} for _, own in rows.groupby(ARM)]
    yield {}, parts
    yield replicates, parts


def _of_levels(data: StudyData, every: pd.DataFrame, rows: pd.DataFrame) -> Levels:
    """Levels of the stored columns of a cell, beside its arm."""
    names = ["target", *(name for name in data.cell if name not in (VARIANT, ARM)), *(
        name for name in every.columns.astype(str) if name.startswith(SETTINGS)
    )]  # fmt: skip
    found = {name: sorted(set(rows[name].dropna())) for name in names if name in every}
    return {
        name: levels
        for name, levels in found.items()
        if levels and (len(levels) <= MOST_LEVELS or len(levels) < every[name].nunique())
    }


def _of_arms(data: StudyData, every: pd.DataFrame, rows: pd.DataFrame) -> tuple[Levels, list[Levels]]:
    """Defense, strength and own settings of the one arm, or of each of several; nothing where all arms are meant."""
    arms = [arm for arm in data.arms if arm in set(rows[ARM])]
    if len(arms) > 1 and set(arms) == set(every[ARM]):
        return {}, []
    found = [_of_arm(rows[rows[ARM] == arm]) for arm in arms]
    return (found[0], []) if len(found) == 1 else ({}, found)


def _of_arm(rows: pd.DataFrame) -> Levels:
    own = TrialConfig.parse(rows["config"].iloc[0]).arm.columns() if "config" in rows else {}
    names = ["defense", "strength", *(name for name in own if name in rows)]
    levels = {name: list(rows[name].dropna().unique()) for name in names}
    return {name: found for name, found in levels.items() if len(found) == 1}


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
