"""Derived attacks in a study's table: which there are, and their scores as a function of the coins.

A derived score that takes other replicates depends on their coins. A test that redraws coins has to compute it anew
for every redraw, and a control variate, which takes coins of other replicates too, is not independent of it any more.
Scores that were calibrated by shadows, whose coins are fixed, are scores like any other.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from analysis.study_data import StudyData
from mia_core.derived import Evidence
from mia_core.errors import Refused
from study.spec.derived_entries import derived_of
from study.store.rows import MODELS_LIKE_IT

Scores = Callable[[StudyData, str, Sequence[str]], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""score and member [R,J] of an attack on trials, and the unit [J] of each record."""


def takes_replicates(rows: pd.DataFrame) -> bool:
    """Whether rows of one attack were computed from other replicates of their cells."""
    if not {"base", "shadows", "knowledge"} <= set(rows):  # of data made without a store
        return False
    derived = (rows["base"].notna() & rows["shadows"].isna()).to_numpy()
    return any(MODELS_LIKE_IT in str(knowledge) for knowledge in rows["knowledge"][derived].unique())


def fitted_on_each_other(rows: pd.DataFrame) -> bool:
    """Whether rows of one attack are of an earlier version, in which replicates learned from each other.

    What they learned is applied to all records, so that intervals over replicates are too short, see
    `mia_core.derived.evidence.one_way`.
    """
    if not takes_replicates(rows):
        return False
    choice, version = derived_of(rows.loc[rows["base"].notna(), "arguments"].iloc[0])
    return choice.cls.learns_direction and version < choice.cls.version


def base_labels(data: StudyData, attack: str) -> list[str]:
    """Labels of the attacks whose scores a derived one takes; none of an attack that is not derived."""
    rows = data.attack(attack)
    if "base" not in rows or rows["base"].isna().all():
        return []
    first = rows[rows["base"].notna()].iloc[0]
    own = data.wide[data.wide["trial_id"] == first["trial_id"]]
    labels = dict(zip(own["attack_id"], own["attack"], strict=True))
    found = [labels.get(name) for name in first["base"].split("+")]
    if None in found:
        raise Refused(f"study {data.name}: the attacks that {attack} takes are no part of the current design")
    return [str(label) for label in found]


def as_function_of_coins(
    data: StudyData, attack: str, trials: Sequence[str], probability: float, scores: Scores
) -> Callable[[np.ndarray], np.ndarray]:
    """Scores [...,R,J] of a derived attack that takes replicates, from coins [...,R,J] of the trials of one cell.

    probability: of a record to be a member. scores: reads those of the bases.
    """
    choice, _ = derived_of(data.attack(attack)["arguments"].iloc[0])
    derive, uses = choice.build(), choice.cls.uses(len(trials))
    parts = [scores(data, label, trials) for label in base_labels(data, attack)]
    stacked, unit = np.stack([part[0] for part in parts]), parts[0][2]
    return lambda coins: derive(Evidence.among(uses, stacked, coins, unit), probability)
