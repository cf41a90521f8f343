"""Derived scores as audits may pool them over replicates: forward, each replicate by those before it."""

import numpy as np
import pandas as pd

from mia_core.data.split import FAIR
from mia_core.derived import Evidence
from study.spec.derived_entries import derived_of
from study.store import Store
from study.store.rows import MODELS_LIKE_IT
from study.verdicts.controls import Scores, read_attacks


def forward_scores(store: Store, design: pd.DataFrame, rows: pd.DataFrame, scores: Scores) -> Scores:
    """Scores of attacks on trials, of which those that took other replicates are computed again from earlier ones.

    rows: of attacks, with their trial's columns and `cell`, one level of each cell. A score that was calibrated by
    later replicates depends on their coins, which an audit of all replicates guesses too.
    """
    learned = rows["knowledge"].astype(str).str.contains(MODELS_LIKE_IT) & rows["shadows"].isna()
    if not learned.any():
        return scores
    names = {name for base in rows.loc[learned, "base"] for name in base.split("+")}
    wanted = design["trial_id"].isin(rows.loc[learned, "trial_id"]) & design["id"].isin(names)
    _, of_bases = read_attacks(store, design[wanted])
    found = dict(scores)
    for _, group in rows[learned].groupby(["cell", "attack"], sort=False):
        group = group.sort_values("replicate")
        first = group.iloc[0]
        choice, _ = derived_of(first["arguments"])
        parts = [
            [of_bases[trial, name].sort_values("query") for trial in group["trial_id"]]
            for name in first["base"].split("+")
        ]
        stacked = np.array([[part["score"] for part in own] for own in parts], dtype=float)
        member = np.array([part["member"] for part in parts[0]], dtype=bool)
        unit = parts[0][0]["unit"].to_numpy()
        values = choice.build()(Evidence.forward(stacked, member, unit), FAIR)
        for trial, name, part, own in zip(group["trial_id"], group["attack_id"], parts[0], values, strict=True):
            found[trial, name] = part.assign(attack_id=name, score=own)
    return found
