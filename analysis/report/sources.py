"""Where numbers of a page come from: a query that selects their rows of the store, and Python that computes them again.

A query is tried on the study while the page is built: one that selects other rows than those computed from is not told.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.stats.cells import Cells
from analysis.stats.effects import AUC
from analysis.study_data import ARM, SETTINGS, VARIANT, StudyData
from mia_core.defenses import Arm
from study.store.roles import CANARY, STUDY
from study.verdicts.claims import PANEL

WIDE, SCORES = "wide", "scores"
MODULES = {
    "again": "analysis.report.provenance",
    "audits": "analysis.stats.baselines",
    "best_quality": "analysis.stats.tradeoff",
    "by_class": "analysis.stats.records",
    "declared": "analysis.stats.declared",
    "equal_quality": "analysis.stats.tradeoff",
    "indices": "analysis.stats.indices",
    "interactions": "analysis.stats.sensitivity",
    "by_point": "analysis.stats.drawn_points",
    "front": "analysis.stats.tradeoff",
    "least_leakage": "analysis.stats.tradeoff",
    "main_effects": "analysis.stats.sensitivity",
    "means": "analysis.stats.effects",
    "onset": "analysis.stats.scaling",
    "records": "analysis.stats.records",
    "reliability": "analysis.stats.records",
    "against_size": "analysis.stats.scaling",
    "replicates_needed": "analysis.stats.declared",
    "verdicts": "analysis.stats.baselines",
}
"""Where functions that code of sources calls are from."""
MOST_LEVELS = 12
"""More levels of a factor are not named one by one where all of them are meant."""


@dataclass(frozen=True)
class Source:
    """what: the numbers, in words. where: selects their rows of the wide table, for `pandas.DataFrame.query`.

    table: what was read, `wide` or the `scores` of those rows (by trial_id and attack_id). rows: how many rows of the
    wide table these are; trials: of how many trials. code: Python that computes the numbers again, after `preamble`.
    """

    what: str
    table: str
    where: str
    rows: int
    trials: int
    code: str

    @property
    def told(self) -> str:
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
    def told(self) -> str:
        """What it is, and of how many trials."""
        return self.source.told


@dataclass
class Ledger:
    """Every source of a page, in order of appearance."""

    sources: dict[Source, int] = field(default_factory=dict)

    def cite(self, source: Source) -> int:
        """Its number, from 1 on; one that was there before keeps its own."""
        return self.sources.setdefault(source, len(self.sources) + 1)


def source(data: StudyData, attack: str, rows: pd.DataFrame, what: str, code: str, table: str = WIDE) -> Source:
    """Of rows of one attack of the study's own trials."""
    return Source(what, table, query(data, attack, rows), len(rows), rows["trial_id"].nunique(), code)


def query(data: StudyData, attack: str, rows: pd.DataFrame) -> str:
    """What selects exactly these of an attack's rows, by levels of factors where that can be said; else by trials."""
    every = data.attack(attack)
    roles = [_is("role", sorted(set(every["role"])))] if "role" in every else []
    head = " and ".join([*roles, _is("attack", [attack])])
    wanted = set(rows["trial_id"])
    for tail in _tails(data, every, rows):
        text = f"{head} and {tail}" if tail else head
        if set(every.query(text, engine="python")["trial_id"]) == wanted:
            return text
    return f"{head} and {_is('trial_id', sorted(wanted))}"


def preamble(place: str, ledger: Ledger) -> str:
    """Python that goes before the code of those sources. place: where the study is."""
    used = {name for one in ledger.sources for name in re.findall(r"\w+(?=\()", one.code)}
    imports = sorted(f"from {module} import {name}" for name, module in MODULES.items() if name in used)
    read = "from study.store import read"
    lines = [f"data = load({json.dumps(place)})", 'wide = read(data.store.root, data.name, "wide")']
    return "\n".join([*imports, "from analysis.study_data import load", read, *lines])


def stored(wide: pd.DataFrame, where: str, what: str, code: str, table: str = WIDE) -> Source:
    """Of rows of any role, such as controls are. wide: the store's table of that name."""
    rows = wide.query(where, engine="python").dropna(subset=[AUC])
    return Source(what, table, where, len(rows), rows["trial_id"].nunique(), code)


def of_picture(
    data: StudyData, words: str, attacks: Sequence[str], last: bool = False, arm: str | None = None, table: str = WIDE
) -> Source:
    """Of all cells that a picture shows: of those attacks, after the last level alone, of one arm alone."""
    rows = data.wide[data.wide["attack"].isin(attacks)]
    level = [_is(data.budget, [rows[data.budget].max()])] if last else []
    arms = [_of_arm(rows[rows[ARM] == arm])] if arm else []
    where = " and ".join([_is("role", [STUDY]), _is("attack", attacks), *level, *arms])
    found = f"data.wide.query({where!r})"
    code = (
        f"means({found}, {AUC!r}, {['attack', *data.cell]})" if table == WIDE else f"{found}[['trial_id', 'attack_id']]"
    )
    return stored(data.wide, where, f"picture: {words}", code, table)


def of_audit(data: StudyData, wide: pd.DataFrame, row: Mapping[Any, Any], trials: Sequence[str]) -> Source:
    """Of one row of `verdicts.claims`: a cell's trials, or those that were trained with canaries."""
    role = STUDY if row["audit"] == PANEL else CANARY
    every = wide[(wide["role"] == role) & (wide["attack"] == row["attack"])]
    rows = every[every["trial_id"].isin(trials)]
    head = [_is("role", [role]), _is("attack", [row["attack"]])]
    where = " and ".join([*head, *_of_levels(data, every, rows), _of_arm(rows)])
    if set(wide.query(where, engine="python")["trial_id"]) != set(trials):
        where = " and ".join([*head, _is("trial_id", sorted(trials))])
    what = f"audit by {row['attack']} of {row[ARM]}, n = {row['train_size']}, {row[data.budget]} {data.budget}"
    return stored(wide, where, what, "audits(data)", SCORES)


def of_cells(data: StudyData, attack: str, found: Cells, terms: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Rows that an effect of `analysis.stats.sensitivity` is computed from. terms: each factor's levels in it."""
    weights, _ = found.weights({name: dict.fromkeys(levels, 1.0) for name, levels in terms.items()})
    return of_columns(data, attack, found, weights.index)


def of_columns(data: StudyData, attack: str, found: Cells, columns: pd.Index) -> pd.DataFrame:
    """Rows of those cells, in the replicates that have all of them."""
    complete = found.scale[columns].notna().all(axis=1)
    rows = data.attack(attack)
    rows = rows[rows["replicate"].isin(complete[complete].index)]
    cells = pd.MultiIndex.from_frame(rows[list(found.names)])
    return rows[cells.isin(columns)]


def _tails(data: StudyData, every: pd.DataFrame, rows: pd.DataFrame) -> Iterator[str]:
    """Conditions to try, the shortest first."""
    levels, arms = _of_levels(data, every, rows), _of_arms(data, every, rows)
    replicates = [_is("replicate", sorted(set(rows["replicate"])))]
    yield " and ".join([*levels, *arms])
    yield " and ".join([*levels, *arms, *replicates])
    parts = [" and ".join([*_of_levels(data, every, own), *_of_arms(data, every, own)]) for _, own in rows.groupby(ARM)]
    union = " or ".join(f"({part})" for part in parts)
    yield f"({union})"
    yield " and ".join([f"({union})", *replicates])


def _of_levels(data: StudyData, every: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Conditions on the stored columns of a cell, beside its arm."""
    names = ["target", *(name for name in data.cell if name not in (VARIANT, ARM)), *(
        name for name in every.columns.astype(str) if name.startswith(SETTINGS)
    )]  # fmt: skip
    found = {name: sorted(set(rows[name].dropna())) for name in names if name in every}
    return [
        _is(name, levels)
        for name, levels in found.items()
        if levels and (len(levels) <= MOST_LEVELS or len(levels) < every[name].nunique())
    ]


def _of_arms(data: StudyData, every: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """A condition on defense, strength and the arm's own settings; none where all arms are meant."""
    arms = [arm for arm in data.arms if arm in set(rows[ARM])]
    if len(arms) > 1 and set(arms) == set(every[ARM]):
        return []
    words = [_of_arm(rows[rows[ARM] == arm]) for arm in arms]
    return words if len(words) == 1 else [f"({' or '.join(f'({one})' for one in words)})"]


def _of_arm(rows: pd.DataFrame) -> str:
    own = Arm.parse(json.loads(rows["config"].iloc[0])["defense"] or "none").columns() if "config" in rows else {}
    names = ["defense", "strength", *(name for name in own if name in rows)]
    levels = {name: list(rows[name].dropna().unique()) for name in names}
    return " and ".join(_is(name, found) for name, found in levels.items() if len(found) == 1)


def _is(name: str, levels: Sequence[Any]) -> str:
    values = [json.dumps(getattr(level, "item", lambda level=level: level)()) for level in levels]
    column = name if name.isidentifier() else f"`{name}`"
    return f"{column} == {values[0]}" if len(values) == 1 else f"{column} in [{', '.join(values)}]"


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
