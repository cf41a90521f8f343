"""Which records leak: a record's score as a member against its score as a non-member, over replicates.

A judged record is a member by a coin in each replicate, so that the difference is what its membership changes. Scores
are made comparable by their normal scores inside each trial: the normal quantile of a score's rank. The estimates are
those of `mia_core.metrics.record_effects`; `reliability` says how much of the spread would be found again.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from analysis.stats.cells import EXPLORATORY
from analysis.stats.derived_scores import base_labels
from analysis.stats.pool_at_hand import pool_at_hand
from analysis.stats.record_panel import Cell, Panel, panel_of, scored_by
from analysis.study_data import StudyData
from mia_core.metrics.influence import sum_by_unit, units_of
from mia_core.metrics.record_effects import (
    coin_p_values,
    differences,
    false_discovery_rates,
    leaking_share,
    least_p,
    mean_gaps,
    shrunk,
)
from mia_core.metrics.split_half import split_half
from mia_core.metrics.two_way import MIN_REPLICATES, two_way_variance
from mia_core.streams import Streams
from study.verdicts.controls import ALPHA, holm

NAMES = ["query", "unit", "label"]
"""Columns that say which record or group a row is of, or its class: shown only where records are included."""
ESTIMATES = ("inside", "outside", "difference", "error", "shrunk", "low", "high", "p", "q")
BY_ATTACK = ("attack", "records", "share", "low", "named", "persons", "persons_named")
BY_CLASS = ("label", "records", "difference", "low", "high", "against_others", "p")


def records(data: StudyData, attack: str, cell: Cell | None = None) -> pd.DataFrame:
    """Every judged record that was a member in some replicates and not in others, the most at risk first.

    cell: levels of `data.cell`; by default without defense, at the smallest n after the last level. Columns query,
    unit, label (its class, null when the data are not at hand), inside, outside (replicates), difference (in standard
    deviations of scores) with its standard error; shrunk toward the mean of all records, with low, high: limits that
    hold 95 % of records on average; p, one-sided, that its membership changes nothing, by its own coins drawn again;
    q, its false-discovery rate. Without rows, and with `attrs["reason"]`, for fewer than three replicates or a public
    copy.
    """
    found = panel_of(data, attack, cell)
    table = pd.DataFrame(columns=["query", *ESTIMATES]) if isinstance(found, str) else estimates(found, "query")
    units = {} if isinstance(found, str) else dict(zip(found.query, found.unit, strict=True))
    labels, _ = classes(data)
    table.insert(1, "unit", table["query"].map(units))
    table.insert(2, "label", table["query"].map(labels).astype("Int64"))
    table = table.sort_values(["shrunk", "query"], ascending=[False, True], ignore_index=True)
    table.attrs["reason"] = found if isinstance(found, str) else None
    return table


def by_group(data: StudyData, attack: str, cell: Cell | None = None) -> pd.DataFrame:
    """The same of units with several records (people, duplicates), which are members together.

    Columns unit, records, then as of `records`. Without rows where every record is its own unit.
    """
    found = panel_of(data, attack, cell)
    reason, table = (found, pd.DataFrame()) if isinstance(found, str) else (None, pd.DataFrame())
    if not isinstance(found, str):
        groups = found.by_unit()
        if len(groups.query):
            table = estimates(groups, "unit")
            table.insert(1, "records", table["unit"].map(pd.Series(found.unit).value_counts()))
        else:
            reason = "every record is its own group"
    table = table.reindex(columns=["unit", "records", *ESTIMATES])
    table = table.sort_values(["shrunk", "unit"], ascending=[False, True], ignore_index=True)
    table.attrs["reason"] = reason
    return table


def share_at_risk(data: StudyData, attack: str, cell: Cell | None = None) -> pd.DataFrame:
    """How many of the judged records leak at all, without saying which.

    One row: records (with replicates on both sides), one_sided (judged records that were members in every replicate, or
    in none: nothing can be said of them), replicates, share (Storey's estimate, on the low side), low (a 95 % lower
    bound), least_p (no record's p can be smaller), reason (why not, or null).
    """
    found = panel_of(data, attack, cell)
    columns = ["records", "one_sided", "replicates", "share", "low", "least_p", "reason"]
    if isinstance(found, str):
        return pd.DataFrame([{"records": 0, "one_sided": 0, "reason": found}]).reindex(columns=columns)
    p, higher = _coins(found)
    known = ~np.isnan(p)
    share = leaking_share(p[known], higher[known], len(np.unique(found.unit[known])))
    row = {
        "records": int(known.sum()),
        "one_sided": int((~known).sum()),
        "replicates": found.replicates,
        "share": share.estimate,
        "low": share.low,
        "least_p": least_p(found.replicates, found.probability),
        "reason": None if known.any() else "no record was a member in some replicates and a non-member in others",
    }
    return pd.DataFrame([row], columns=columns)


def risk_by_attack(data: StudyData, attack: str, cell: Cell | None = None) -> pd.DataFrame:
    """How much an attack and each derived attack of the cell reveal of single records and persons, without naming them.

    One row an attack whose scores tell a record's difference (see `scored_by`): attack, records (with replicates on
    both sides), share, low (as of `share_at_risk`), named (records whose q is at most 0.05), persons (units with
    several records, on both sides), persons_named. cell: as of `records`.
    """
    there = data.wide
    for name, level in (cell or {}).items():
        there = there[there[name] == level]
    derived = [label for label in data.attacks if base_labels(data, label) and label in set(there["attack"])]
    labels = dict.fromkeys([scored_by(data, attack), *(label for label in derived if scored_by(data, label) == label)])
    rows = []
    for label in labels:
        found = panel_of(data, label, cell)
        if isinstance(found, str):
            continue
        table, groups = estimates(found, "query"), estimates(found.by_unit(), "unit")
        share = share_at_risk(data, label, cell).iloc[0]
        of_records = {"records": len(table), "share": share["share"], "low": share["low"], "named": _named(table)}
        rows.append({"attack": label, **of_records, "persons": len(groups), "persons_named": _named(groups)})
    return pd.DataFrame(rows, columns=list(BY_ATTACK))


def _named(table: pd.DataFrame) -> int:
    return int((table["q"] <= ALPHA).sum())


def by_class(data: StudyData, attack: str, cell: Cell | None = None) -> pd.DataFrame:
    """Each class's members less its non-members inside each replicate, and whether that differs from the other classes.

    Columns label, records, difference, low, high (95 %, two-way over replicates and records, in standard deviations of
    scores), against_others with its p and p_holm, replicates, descriptive, status. Without rows, and with
    `attrs["reason"]`, when the data are not at hand: a store has no classes.
    """
    labels, reason = classes(data)
    found = panel_of(data, attack, cell) if reason is None else reason
    rows = []
    if not isinstance(found, str):
        label = np.array([labels.get(query, np.nan) for query in found.query.tolist()])
        for value in np.unique(label[~np.isnan(label)]):
            row = _of_class(found, label == value)
            if row:
                rows.append({"label": int(value), **row, "status": EXPLORATORY})
    columns = [*BY_CLASS, "replicates", "descriptive", "status"]
    table = pd.DataFrame(rows, columns=columns)
    known = table["p"].notna()
    table.insert(7, "p_holm", np.nan)
    table.loc[known, "p_holm"] = holm(table.loc[known, "p"].to_numpy(float))
    table.attrs["reason"] = found if isinstance(found, str) else None
    return table


def _of_class(found: Panel, own: np.ndarray) -> dict[str, Any] | None:
    """own, bool [J]. Of the replicates with members and non-members in the class and beside it; None without any."""
    usable = np.ones(found.replicates, bool)
    for part in (own, ~own):
        usable &= found.member[part].any(0) & ~found.member[part].all(0)
    if not usable.any():
        return None
    (gap, inner), (other_gap, outer) = (
        mean_gaps(found.score[np.ix_(part, usable)].T, found.member[np.ix_(part, usable)].T) for part in (own, ~own)
    )
    persons = [found.unit[own], found.unit[~own]]
    difference, low, high, _ = _two_way(gap, [inner], persons[:1])
    against, _, _, p = _two_way(gap - other_gap, [inner, -outer], persons)
    return {
        "records": int(own.sum()),
        "difference": difference,
        "low": low,
        "high": high,
        "against_others": against,
        "p": p,
        "replicates": int(usable.sum()),
        "descriptive": bool(usable.sum() < MIN_REPLICATES),
    }


def _two_way(
    values: np.ndarray, influences: Sequence[np.ndarray], persons: Sequence[np.ndarray]
) -> tuple[float, float, float, float]:
    """Mean of values [R], its 95 % limits and p of 0.

    influences: of every record on the part of the values that its class, or the other ones, have, [R, J of that part];
    persons: whose records these are. Each part adds its own variance between records. A few records estimate it badly,
    so that degrees of freedom are the fewest of replicates and parts, in place of Satterthwaite's, with which 8 % of
    small classes that do not differ would.
    """
    between_replicates = float(values.var(ddof=1)) / len(values) if len(values) > 1 else float("nan")
    between_records, freedom = 0.0, float(max(1, len(values) - 1))
    for influence, own in zip(influences, persons, strict=True):
        unit = units_of(own, len(own))
        by_unit = sum_by_unit(influence, unit) * ((unit.max() + 1) / len(own))
        if by_unit.shape[-1] > 1:
            between_records += float(two_way_variance(values, by_unit).between_records)
            freedom = min(freedom, by_unit.shape[-1] - 1.0)
    mean, variance = float(values.mean()), between_replicates + between_records
    if not variance > 0:  # a single replicate, or no variation
        return mean, float("nan"), float("nan"), float("nan")
    error = variance**0.5
    half = float(t.isf(0.025, freedom)) * error
    return mean, mean - half, mean + half, float(2 * t.sf(abs(mean) / error, freedom))


def reliability(data: StudyData, attack: str, cell: Cell | None = None) -> pd.DataFrame:
    """How far the same records would be found at risk again: correlation of differences between halves of replicates.

    Each record's trials as member, and as non-member, are halved at random, many times. half: the mean correlation of
    both halves' differences; reliability: that of all replicates' differences by Spearman & Brown, 0 for nothing but
    noise and 1 for none; low, high: 95 %, over records drawn again. One row with records (those with two trials or more
    on each side), replicates, reason (why not, or null).
    """
    found = panel_of(data, attack, cell)
    row: dict[str, Any] = {"records": 0, "replicates": 0}
    reason = found if isinstance(found, str) else None
    if not isinstance(found, str):
        usable = np.minimum(found.member.sum(1), (~found.member).sum(1)) >= 2
        row = {"records": int(usable.sum()), "replicates": found.replicates}
        if usable.sum() < 10:
            reason = "fewer than 10 records were members twice and non-members twice"
        else:
            random = Streams("records").numpy("halves", int(usable.sum()), found.replicates)
            row |= asdict(split_half(found.score[usable], found.member[usable], random))
    return pd.DataFrame([{**row, "reason": reason}]).reindex(
        columns=["records", "replicates", "half", "reliability", "low", "high", "reason"]
    )


def classes(data: StudyData) -> tuple[dict[int, int], str | None]:
    """Class of each record of the pool, or none and why; the data have to be at hand."""
    pool = pool_at_hand(data)
    return ({}, pool) if isinstance(pool, str) else (dict(enumerate(pool.labels.tolist())), None)


def estimates(found: Panel, key: str) -> pd.DataFrame:
    """Columns `key`, then ESTIMATES: one row a record, or unit, with replicates on both sides."""
    of = differences(found.score, found.member)
    center, low, high = shrunk(of)
    p = _coins(found)[0][of.both]
    q = false_discovery_rates(p, independent=found.units == len(found.query))
    columns = (of.members, of.non_members, of.difference, of.error, center, low, high, p, q)
    return pd.DataFrame({key: found.query[of.both], **dict(zip(ESTIMATES, columns, strict=True))})


def _coins(found: Panel) -> tuple[np.ndarray, np.ndarray]:
    """See `coin_p_values`; the same draws whenever they are asked for."""
    return coin_p_values(
        found.score, found.member, found.probability, Streams("records").numpy("coins", found.replicates)
    )
