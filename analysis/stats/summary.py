"""Tables that answer a study's question: what each factor changes, in leakage and in quality."""

import pandas as pd

from analysis.stats.drawn_points import design_words, search_words, varied
from analysis.stats.effects import contrasts, means
from analysis.stats.inference import AUC, SCOPE
from analysis.study_data import ARM, VARIANT, StudyData
from mia_core.metrics.control_variate import applies
from study.store.noise import GUESSABLE, is_guessable


def overview(data: StudyData) -> pd.DataFrame:
    """What was run, one line a fact."""
    trials = data.wide.drop_duplicates("trial_id")
    facts = {
        "data set": ", ".join(sorted(set(trials["dataset"]))),
        **(_crossed(data, trials) if data.crossed else _chosen(data)),
        "attacks": ", ".join(data.attacks),
        "replicates": str(data.replicates),
        "trials": str(len(trials)),
        "training": f"{_training_seconds(trials) / 3600:.2f} hours in all",
    }
    return pd.DataFrame({"": facts})


def _crossed(data: StudyData, trials: pd.DataFrame) -> dict[str, str]:
    return {
        "targets": ", ".join(data.variants),
        "training-set sizes": ", ".join(map(str, sorted(set(trials["train_size"])))),
        data.budget: ", ".join(map(str, sorted(set(trials[data.budget])))),
        "arms": ", ".join(data.arms),
    }


def _chosen(data: StudyData) -> dict[str, str]:
    how = {"search": search_words(data)} if data.searched else {"design": design_words(data)}
    return {**how, **varied(data)}


def _training_seconds(trials: pd.DataFrame) -> float:
    """Levels of a trajectory share its training: the last one's seconds count."""
    return float(trials.groupby("trajectory_id")["seconds_train"].max().sum())


def effects_of(data: StudyData, factor: str, attack: str, value: str = AUC) -> pd.DataFrame:
    """Contrasts of a factor of `data.cell` against its first level (arms: `none`), in every cell of the others.

    Empty where the attack ran at one level only. ValueError for a search.
    """
    data.refuse_a_search()
    rows = data.attack(attack)
    words = {ARM: data.arms, VARIANT: data.variants}.get(factor, sorted(set(rows[factor])))
    levels = [level for level in words if level in set(rows[factor])]
    return contrasts(data, rows, value, factor, levels[0], [other for other in data.cell if other != factor])


def equal_steps(data: StudyData) -> list[str]:
    """What is to be known where training-set sizes are compared at the same steps; nothing where that is not done."""
    if data.searched or data.budget != "steps" or data.wide["train_size"].nunique() < 2:
        return []
    return ["At equal steps, records of a larger training set are seen fewer times: epochs = steps x batch size / n."]


def about_intervals(data: StudyData) -> str:
    """What the intervals of a study's numbers speak of."""
    adjusted = (
        " The mean of a cell is adjusted for how easy the records are that its coins brought in; a difference inside "
        "replicates needs no such adjustment, so that it is not exactly the difference of two means."
    )
    more = adjusted if applies(data.replicates) and not data.public else ""
    return f"AUC speaks of {SCOPE[data.public]}.{more} Other values: these records, over replicates."


def about_noise(data: StudyData) -> list[str]:
    """What is to be known beside any epsilon of the study; nothing where nobody can draw its noise again."""
    return [GUESSABLE] if is_guessable(data.table("trials")).any() else []


def against_epsilon(data: StudyData, attack: str) -> pd.DataFrame:
    """AUC and quality of each cell beside its epsilon, as means with 95 % intervals.

    Columns of `data.cell`, epsilon (null: no guarantee), auc, auc_low, auc_high, and the same of quality where
    measured.
    """
    rows = data.attack(attack)
    table = rows.groupby(list(data.cell))["epsilon"].mean().reset_index()
    for name, value in {AUC: AUC, "quality": data.quality}.items():
        if value:
            found = means(data, rows, value, data.cell)[[*data.cell, "mean", "low", "high"]]
            words = {"mean": name, "low": f"{name}_low", "high": f"{name}_high"}
            table = table.merge(found.rename(columns=words), on=list(data.cell))
    order = {arm: number for number, arm in enumerate(data.arms)}
    return table.sort_values(list(data.cell), key=lambda x: x.map(order) if x.name == ARM else x, ignore_index=True)
