"""Controls and audits beside the effects: verdicts, and what attacks find beyond what no target is needed for."""

import pandas as pd

from analysis.stats.effects import AUC, MIN_REPLICATES, t_interval
from analysis.study_data import ARM, VARIANT, StudyData
from study.store import read
from study.store.roles import BLIND
from study.verdicts import claims, controls

UNAVAILABLE = "not available: a public copy has no scores, which this is computed from"
BY = ["attack", VARIANT, ARM, "train_size"]


def verdicts(data: StudyData) -> pd.DataFrame:
    """What each control says; see `verdicts.controls`. One row without a verdict for a public copy."""
    if data.public:
        return pd.DataFrame({"verdict": [UNAVAILABLE]})
    return controls.verdicts(data.store.root, data.name)


def audits(data: StudyData) -> pd.DataFrame:
    """What an attack on private arms proves, and whether it contradicts their claims; see `verdicts.claims`.

    One row without a verdict for a public copy.
    """
    if data.public:
        return pd.DataFrame({"verdict": [UNAVAILABLE]})
    return claims.verdicts(data.store.root, data.name)


def attack_minus_blind(data: StudyData) -> pd.DataFrame:
    """AUC of each attack less that of the blind classifier in the same replicate, after the last level of training.

    One row an attack, variant, arm and train_size: mean difference with its 95 % t interval over replicates, the mean
    blind AUC, replicates, descriptive. Empty without the blind control. ValueError for a search.
    """
    data.refuse_a_search()
    wide = read(data.store.root, data.name, "wide")
    blind = wide.loc[wide["role"] == BLIND, ["replicate", "train_size", AUC]].rename(columns={AUC: "blind"})
    # Where labels are the same at every size, one blind trial stands for all sizes.
    on = ["replicate", "train_size"] if blind.duplicated("replicate").any() else ["replicate"]
    paired = data.last.merge(blind[[*on, "blind"]], on=on)
    records = [
        (*cell, *t_interval((rows[AUC] - rows["blind"]).to_numpy()), rows["blind"].mean(), len(rows))
        for cell, rows in paired.groupby(BY, sort=False)
    ]
    result = pd.DataFrame(records, columns=[*BY, "difference", "low", "high", "blind", "replicates"])
    result["descriptive"] = result["replicates"] < MIN_REPLICATES
    return result
