"""What training did to the loss of a record: of judged members, of unseen records, and their difference."""

import pandas as pd

from analysis.stats.effects import means
from analysis.study_data import StudyData

MEMBERS, UNSEEN = "loss_members", "loss_unseen"


def loss_gaps(data: StudyData) -> pd.DataFrame:
    """One row a cell whose target has a loss of a record alone: a level of training of each variant, arm and n.

    Columns of `data.cell`; members, unseen and gap (unseen less members), each with _low and _high, a t interval over
    replicates; replicates. Empty where no target has such a loss.
    """
    columns = [*data.cell, *(f"{name}{end}" for name in ("members", "unseen", "gap") for end in ("", "_low", "_high"))]
    trials = data.wide.drop_duplicates("trial_id")
    if MEMBERS not in trials:
        return pd.DataFrame(columns=[*columns, "replicates"])
    trials = trials.assign(gap=trials[UNSEEN] - trials[MEMBERS])
    parts = [
        means(data, trials, value, data.cell)
        .set_index(list(data.cell))
        .rename(columns={"mean": name, "low": f"{name}_low", "high": f"{name}_high"})
        for name, value in {"members": MEMBERS, "unseen": UNSEEN, "gap": "gap"}.items()
    ]
    kept = [part.drop(columns=["replicates", "descriptive"]) for part in parts[:-1]]
    return pd.concat([*kept, parts[-1].drop(columns="descriptive")], axis=1).reset_index()[[*columns, "replicates"]]
