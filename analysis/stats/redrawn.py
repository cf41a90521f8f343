"""Whether leakage is shown: an exact test by redrawing the coins, of the strongest of all attacks on a cell.

See `mia_core.metrics.redraw`: whatever the scores are, a target that leaks nothing is declared to leak in at most 5 %
of studies, at any number of replicates, and corrected for the number of attacks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.stats.derived_scores import as_function_of_coins, takes_replicates
from analysis.stats.effects import mean_columns
from analysis.stats.inference import AUC, TPR, judged_scores, over_looks, probability_of
from analysis.study_data import ARM, VARIANT, StudyData
from mia_core.metrics.redraw import Law, Redrawn, independent_coins, permuted_coins, redrawn
from mia_core.streams import Streams
from study.verdicts.controls import ALPHA, holm

DRAWS = 1999
"""Redraws of the coins of a cell: p is at least 1/2000."""
COLUMNS = ("attack", "attacks", AUC, "auc_low", "auc_high", TPR, f"{TPR}_low", f"{TPR}_high", "p")


def leakage_shown(data: StudyData) -> pd.DataFrame:
    """One row a variant, arm and train_size, after the last level of training.

    Columns of `data.cell`, attack (the strongest: the one of the smallest p), attacks (how many were tried), auc and
    tpr_at_1pct_fpr of that attack (both with _low and _high, null where unknown), p (of the strongest, corrected for
    all attacks), replicates, p_holm (over all rows and looks), shown: whether p_holm is below 0.05. A public copy has
    no rows.
    """
    rows = []
    last = data.last
    cells = last[list(data.cell)].drop_duplicates().itertuples(index=False, name=None)
    for levels in cells if not data.public else ():
        cell = dict(zip(data.cell, levels, strict=True))
        found = strongest(data, cell)
        if found is not None:
            rows.append({**cell, **found})
    table = pd.DataFrame(rows, columns=[*data.cell, *COLUMNS, "replicates"])
    table["p_holm"] = over_looks(data, holm(table["p"].to_numpy(float)))
    table["shown"] = table["p_holm"] < ALPHA
    return table


def strongest(data: StudyData, cell: Mapping[str, Any]) -> dict[str, Any] | None:
    """The columns COLUMNS and replicates of one cell, in the replicates that have all of its attacks; None without any.

    cell: levels of `data.cell`.
    """
    key = ("strongest", *(cell[name] for name in data.cell))
    return data.once(key, lambda: _strongest(data, cell))


def _strongest(data: StudyData, cell: Mapping[str, Any]) -> dict[str, Any] | None:
    rows = data.wide
    for name in data.cell:
        rows = rows[rows[name] == cell[name]]
    if rows.empty:
        return None
    attacks, trials, draws = coins_of(data, cell)
    test = draws.of()
    attack = attacks[test.strongest]
    own = rows[rows["attack"] == attack].sort_values("replicate")
    columns: dict[str, Any] = {
        "attack": attack,
        "attacks": len(attacks),
        "p": test.p_strongest,
        "replicates": len(trials),
    }
    for name in (AUC, TPR):
        estimate = mean_columns(data, own, name) or dict.fromkeys(("mean", "low", "high"), np.nan)
        columns |= {name: estimate["mean"], f"{name}_low": estimate["low"], f"{name}_high": estimate["high"]}
    return columns


def coins_of(data: StudyData, cell: Mapping[str, Any]) -> tuple[list[str], list[str], Redrawn]:
    """Attacks of a cell, its trials that have all of them, and what they come to under its coins and under redraws.

    cell: levels of `data.cell`, of which there are trials.
    """

    def drawn() -> tuple[list[str], list[str], Redrawn]:
        rows = data.wide
        for name in data.cell:
            rows = rows[rows[name] == cell[name]]
        attacks, trials = _complete(rows)
        return attacks, trials, _redrawn(data, attacks, trials)

    return data.once(("coins", *(cell[name] for name in data.cell)), drawn)


def _complete(rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The attacks of a cell and its trials that have all of them, by replicate.

    Where no trial has, as while a sweep runs, the attack that has most trials.
    """
    rows = rows.sort_values("replicate", kind="stable")
    attacks = list(dict.fromkeys(rows["attack"].astype(str)))
    counts = rows.groupby("trial_id", sort=False)["attack"].nunique()
    whole = list(counts.index[counts == len(attacks)])
    if whole:
        return attacks, whole
    most = rows["attack"].value_counts().index[0]
    return [str(most)], list(rows.loc[rows["attack"] == most, "trial_id"])


def _redrawn(data: StudyData, attacks: list[str], trials: list[str]) -> Redrawn:
    """Of several attacks on the same trials, whose coins are the same; derived ones are computed anew for each draw."""
    first = judged_scores(data, attacks[0])
    member = first.of(trials)[1]
    law = law_of(data, member, first.persons)
    probability = probability_of(data, member)
    scores = [
        as_function_of_coins(data, attack, trials, probability, _scores)
        if takes_replicates(data.attack(attack))
        else judged_scores(data, attack).of(trials)[0]
        for attack in attacks
    ]
    return redrawn(scores, member, law, Streams("redrawn").numpy("coins", *member.shape), DRAWS)


def _scores(data: StudyData, attack: str, trials: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found = judged_scores(data, attack)
    return (*found.of(trials), found.unit)


def law_of(data: StudyData, member: np.ndarray, persons: np.ndarray | None) -> Law:
    """How the study's design draws coins [R, J]: a panel's are independent, by person; logan's are permuted."""
    split = data.resolved.get("split", {})
    if split.get("name", "panel") == "panel":
        return independent_coins(float(split.get("probability", 0.5)), member.shape[0], member.shape[1], persons)
    return permuted_coins(member, persons)


def words_of(data: StudyData, row: Mapping[Any, Any]) -> str:
    """The cell of a row of `leakage_shown`."""
    target = f"{row[VARIANT]}, " if len(data.variants) > 1 else ""
    return f"{target}{row[ARM]}, {data.words('train_size', row['train_size'])}"
