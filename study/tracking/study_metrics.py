"""A study's own numbers, for its run in MLflow: how far it is, and the highest and lowest leakage and quality."""

import pandas as pd

from mia_core.errors import Refused
from study.design.trial_config import parsed
from study.store import Damaged, Store, read
from study.store.reading import last_levels
from study.store.roles import STUDY
from study.store.rows import DIVERGED


def headline(store: Store) -> tuple[dict[str, float], int]:
    """Metrics by name, and the number of sealed trials, which is their step.

    Of each attack (at the last of its steps) the highest and the lowest mean AUC of a cell at a level, over its
    replicates; of each quality measure the same. Without those where rows cannot be read, which readers name.
    """
    design = store.design().to_pandas()
    wanted = set(design.loc[design["kind"] == "trial", "trial_id"])
    done = {trial_id: have for trial_id, have in store.done().items() if have.train and trial_id in wanted}
    found = {
        "headline/trials_wanted": float(len(wanted)),
        "headline/trials_sealed": float(len(done)),
        "headline/trials_diverged": float(sum(have.diverged for have in done.values())),
    }
    try:
        wide = read(store.root, store.study, "wide")
        found |= _extremes(wide[(wide["role"] == STUDY) & (wide["flags"] != DIVERGED)])
    except (Damaged, Refused):
        pass
    return found, len(done)


def _extremes(wide: pd.DataFrame) -> dict[str, float]:
    if wide.empty:
        return {}
    configs = parsed(wide["config"])
    keys = wide["config"].map({text: (config.cell, config.budget) for text, config in configs.items()})
    level = [
        row[config.budget] for row, config in zip(wide.to_dict("records"), wide["config"].map(configs), strict=True)
    ]
    cells = [wide["attack"], keys.astype(str), pd.Series(level, index=wide.index, dtype=float)]
    found: dict[str, float] = {}
    auc = wide["auc"].astype(float).groupby(cells).mean().dropna()
    attacks = auc.index.get_level_values(0)
    for label in last_levels(wide.dropna(subset=["attack"])):
        if (attacks == label).any():
            found |= _both(f"headline/attack/{label}/auc", auc[attacks == label])
    trials = wide.drop_duplicates("trial_id")
    for name in measures(wide):
        means = trials[name].astype(float).groupby([cells[1][trials.index], cells[2][trials.index]]).mean().dropna()
        if len(means):
            found |= _both(f"headline/quality/{name}", means)
    return found


def measures(wide: pd.DataFrame) -> list[str]:
    """Columns of quality in a wide table: `kid_domain_unseen` and the like."""
    ends = ("_unseen", "_members")
    return [name for name in wide.columns if name.endswith(ends) and wide[name].dtype.kind == "f"]


def _both(name: str, means: pd.Series) -> dict[str, float]:
    return {f"{name}_highest": float(means.max()), f"{name}_lowest": float(means.min())}
