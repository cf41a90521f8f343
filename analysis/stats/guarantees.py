"""What the guarantee of each private cell leaves any attacker at most: per record or person as it is, and per person.

Computed from the stored columns sigma, steps and config, from which the accountant gives the whole trade-off curve;
where these are missing, from the one pair (epsilon, delta), which leaves more.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.stats.inference import judged_scores
from analysis.stats.pool_at_hand import pool_at_hand
from analysis.study_data import StudyData
from mia_core.defenses.accounting import History, profile
from mia_core.defenses.accounting import epsilon as epsilon_of
from mia_core.metrics.audit import LARGEST_EPSILON, Profile
from mia_core.metrics.ceilings import CURVE_DELTAS, auc_ceiling, tpr_ceiling
from mia_core.persons import PERSON, RECORD, Unit
from study.design.trial_config import TrialConfig

FPR = 0.01
WHOLE, PAIR = "whole curve", "one pair"
NO_PERSON = "no guarantee per person"


def ceilings(data: StudyData) -> pd.DataFrame:
    """One row a cell with an epsilon, columns of `data.cell`, then epsilon, epsilon_unit, delta and the rest.

    epsilon_unit: RECORD or PERSON, what epsilon is about. largest_auc, largest_tpr: what any attack can have in
    expectation against one such unit, TPR at 1 % FPR. coin_auc, coin_tpr: the same of the study's own judgement, whose
    coins may change several (see `_of_coin`): a measured AUC is to be compared with these; null where it is not known
    how many. curve: WHOLE or PAIR. history: of the accountant, null without.
    """
    return data.once("ceilings", lambda: _ceilings(data))


def _ceilings(data: StudyData) -> pd.DataFrame:
    trials = data.wide.drop_duplicates("trial_id").dropna(subset=["epsilon"])
    first = trials.sort_values("epsilon", ascending=False).drop_duplicates(list(data.cell))
    rows = []
    for row in first.sort_values(list(data.cell)).to_dict("records"):
        history = _history(row)
        curve = _curve(row["epsilon"], row["delta"], history)
        unit = PERSON if row.get("epsilon_unit") == PERSON else RECORD
        coin = _of_coin(data, unit, curve, history)
        rows.append(
            {
                **{name: row[name] for name in (*data.cell, "epsilon")},
                "epsilon_unit": unit,
                "delta": row["delta"],
                "largest_auc": auc_ceiling(curve),
                "largest_tpr": tpr_ceiling(curve, FPR),
                "coin_auc": np.nan if coin is None else auc_ceiling(coin),
                "coin_tpr": np.nan if coin is None else tpr_ceiling(coin, FPR),
                "curve": PAIR if history is None else WHOLE,
                "history": history,
            }
        )
    found = ["largest_auc", "largest_tpr", "coin_auc", "coin_tpr", "curve", "history"]
    return pd.DataFrame(rows, columns=[*data.cell, "epsilon", "epsilon_unit", "delta", *found])


def guarantees(data: StudyData) -> pd.DataFrame:
    """What arms with an epsilon guarantee, one row a cell; the others guarantee nothing.

    Columns of `data.cell`, epsilon, epsilon_unit, delta, largest_auc, largest_tpr, per_person: of an epsilon per
    record null where every person that is known has one record, else the epsilon of all of a person's records, at the
    same delta, in words, or NO_PERSON where it is not known how many these are; an epsilon per person is that already.
    """
    table = ceilings(data)
    largest = records_per_person(data) if len(table) else 1
    words = [_per_person(row, largest) for row in table.to_dict("records")]
    columns = [*data.cell, "epsilon", "epsilon_unit", "delta", "largest_auc", "largest_tpr"]
    return table[columns].assign(per_person=pd.Series(words, dtype=object))


def per_unit(data: StudyData) -> str:
    """What the study's epsilons are per, in words; arms with a person as their unit say so in their labels."""
    units = data.epsilon_units
    return f"per {units.pop()}" if len(units) == 1 else "per record or person"


def records_per_person(data: StudyData) -> int | None:
    """The most records that one person, with exact copies, has in the pool; None where it is several, or not known.

    1 without the data where no judged person has several records: all records of a person are on one side of a split.
    """
    pool = pool_at_hand(data)
    if not isinstance(pool, str):
        return int(np.bincount(pool.units).max())
    if data.public:
        return None
    return 1 if judged_scores(data, data.primary).persons is None else None


def person_epsilon(history: History, delta: float, records: int) -> float | None:
    """epsilon(delta) of so many records of one person at once; None without noise.

    In a step that samples any of k records their clipped gradients move the sum by at most k C, so that it leaks no
    more than a step of noise multiplier sigma / k and sampling rate 1 - (1 - q)^k (Ganesh 2024, arXiv 2401.10294).
    """
    return epsilon_of(_of_records(history, records), delta)


def _of_records(history: History, records: int) -> History:
    """See `person_epsilon`."""
    return tuple((sigma / records, 1 - (1 - q) ** records, steps) for sigma, q, steps in history)


def _per_person(row: Mapping[Any, Any], records: int | None) -> str | None:
    if row["epsilon_unit"] == PERSON:
        return f"epsilon {row['epsilon']:.3g} for any number of records"
    if records == 1:
        return None
    if records is None or row["history"] is None:
        return NO_PERSON
    epsilon = person_epsilon(row["history"], row["delta"], records)
    return NO_PERSON if epsilon is None else f"epsilon {epsilon:.3g} for {records} records"


def _history(row: Mapping[Any, Any]) -> History | None:
    """What the accountant needs; None where the store does not have it."""
    if pd.isna(row.get("sigma")) or not isinstance(row.get("config"), str):
        return None
    return ((float(row["sigma"]), TrialConfig.parse(row["config"]).sampling_rate, int(row["steps"])),)


def _curve(epsilon: float, delta: float, history: History | None) -> Profile:
    """The trade-off curve of one unit; the stored pair is one of its pairs."""
    return _profile([(epsilon, delta)], history)


def _profile(pairs: list[tuple[float, float]], history: History | None) -> Profile:
    """Of these pairs, and of what the accountant has for a history."""
    if history is not None:
        found = zip(profile(history, CURVE_DELTAS), CURVE_DELTAS, strict=True)
        pairs = pairs + [(one, at) for one, at in found if one is not None]
    kept = [(one, at) for one, at in pairs if one <= LARGEST_EPSILON] or [(LARGEST_EPSILON, 1.0)]
    return Profile(*np.array(kept, dtype=float).T)


def _of_coin(data: StudyData, unit: Unit, curve: Profile, history: History | None) -> Profile | None:
    """The trade-off curve of what a coin of the study changes, from that of one unit; None where that is not known.

    Of an epsilon per record these are all judged records with one coin, and as many that go out where one comes in as
    another goes out. Of an epsilon per person these are one person, and one that goes out; and where groups are
    ignored, a coin about a record changes what a person has, as taking the person out and putting them in again with
    other records would: two persons in place of one.
    """
    split = data.resolved.get("split", {})
    swaps = 2 if split.get("name") == "logan" or split.get("filler") == "fill" else 1
    if unit == PERSON:
        return curve.of_group(2 * swaps if split.get("groups") == "ignore" else swaps)
    records = _records_per_coin(data)
    if records is None:
        return None
    if records > 1:
        curve = curve.of_group(records) if history is None else _profile([], _of_records(history, records))
    return curve.of_group(swaps)


def _records_per_coin(data: StudyData) -> int | None:
    """The most judged records with one coin; of a public copy the most of the pool's units, None without the pool."""
    if data.public:
        return records_per_person(data)
    return int(np.unique(judged_scores(data, data.primary).unit, return_counts=True)[1].max())
