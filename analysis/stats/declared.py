"""The contrasts that a study declared before its first result, corrected by Holm, and how many replicates settle them.

They are of the primary attack, and `study.spec.family` says which a study declares that says nothing. All else is
exploratory.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2

from analysis.stats.cells import DECLARED, EFFECT, cells
from analysis.stats.inference import AUC, over_looks
from analysis.study_data import ARM, VARIANT, StudyData
from mia_core.errors import Refused
from mia_core.metrics.power import Spread, replicates_for
from mia_core.metrics.two_way import alpha_of_look
from study.design.trial_config import TrialConfig
from study.spec.family import TARGET, contrasts, targets_of
from study.verdicts.controls import ALPHA, holm

NAMES = {"defense": ARM}
"""Columns of factors that have other names in a study file."""


def declared(data: StudyData, attack: str | None = None, value: str = AUC) -> pd.DataFrame:
    """The declared contrasts of the primary attack, or of another one, which makes them exploratory.

    Columns contrast (in words), factor, level, baseline, those of `data.cell` (null for the factor contrasted), then
    `cells.EFFECT`, p_holm over all rows and over looks (`over_looks`), settled: whether p_holm is below 0.05.
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
    tested = table["p"].notna()
    table["p_holm"] = np.nan
    table.loc[tested, "p_holm"] = over_looks(data, holm(table.loc[tested, "p"].to_numpy(float)))
    table["settled"] = table["p_holm"] < ALPHA
    return table.astype({"train_size": "Int64", data.budget: "Int64"})


def _contrasts(data: StudyData, table: pd.DataFrame) -> Iterator[tuple[str, Any, Any, dict[str, Any]]]:
    """Factor, level, baseline, and the levels of the rest of `data.cell`; of the family only what the study has."""
    present = set(table[list(data.cell)].itertuples(index=False, name=None))
    for variant in _declared_variants(data):
        for contrast in _family(data, table):
            ends = [_cell(data, variant, end) for end in contrast]
            if ends[0] == ends[1] or ends[0][VARIANT] != variant:  # of targets: it is this variant's once
                continue
            if all(tuple(end.get(name) for name in data.cell) in present for end in ends):
                (factor,) = (name for name in data.cell if ends[0][name] != ends[1][name])
                rest = {name: level for name, level in ends[0].items() if name != factor}
                yield factor, ends[0][factor], ends[1][factor], rest


def _cell(data: StudyData, variant: str, end: Mapping[str, Any]) -> dict[str, Any]:
    """Levels of `data.cell`; another target has the further factors of this variant."""
    found = {NAMES.get(name, name): level for name, level in end.items() if name != TARGET}
    return {VARIANT: data.with_target(variant, end[TARGET]) if TARGET in end else variant, **found}


def _family(data: StudyData, table: pd.DataFrame) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Both ends of each declared contrast, levels by factor: of the spec that was sealed first; of data without a store
    what a study declares that says nothing. Arms and targets have the words that the study has for them now.
    """
    declaration = data.declaration
    if declaration is None:
        levels = {name: sorted(set(table[name])) for name in ("train_size", data.budget)}
        yield from (contrast.ends for contrast in contrasts({"defense": data.arms, **levels}))
        return
    configs = data.wide[["config", ARM]].drop_duplicates("config")
    arms = {TrialConfig.parse(text).arm: word for text, word in configs.itertuples(index=False)}
    yield from declaration.ends(arms, declaration.targets_now(targets_of(data.resolved)))


def _declared_variants(data: StudyData) -> list[str]:
    """Variants of targets that the first sealed spec has; one that was added after a look declared nothing."""
    declaration = data.declaration
    if declaration is None:
        return data.variants
    known = set(declaration.targets_now(targets_of(data.resolved)).values())
    return [variant for variant in data.variants if data.target_of(variant) in known]


def _pair(names: tuple[str, ...], factor: str, level: Any, baseline: Any, cell: dict[str, Any]) -> pd.Series:
    """Weights of one cell less another."""
    ends = [tuple({**cell, factor: end}[name] for name in names) for end in (level, baseline)]
    return pd.Series([1.0, -1.0], index=pd.MultiIndex.from_tuples(ends, names=names))


def family_of(data: StudyData, contrasts: int) -> float:
    """By how much the hardest step of Holm over so many contrasts, and looks, divide 0.05."""
    return max(1, contrasts) * ALPHA / alpha_of_look(data.looks, ALPHA)


def replicates_needed(table: pd.DataFrame, family: float = 1, power: float = 0.8) -> pd.DataFrame:
    """The table with how many replicates would settle each effect, were it as large as it looks.

    needed: replicates with which a two-sided t test at 0.05 / family (see `family_of`) finds it with that power,
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
    """The smallest number of replicates from 2 with that power; None where it is not known, or beyond `power.MOST`."""
    if effect is None or pd.isna(effect) or pd.isna(sd):
        return None
    return replicates_for(effect, Spread(sd, sd_records**2), alpha, power)
