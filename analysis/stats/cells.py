"""A study as a matrix, one row a replicate and one column a cell, and effects as weighted sums of its columns.

A sum of cells is taken inside each replicate, and for AUC inside each judged record too, so that its interval holds
whatever the correlation of cells (levels of epochs share a training, all cells the records) and however their spreads
differ. A replicate that lacks one of the cells is left out of that effect, and counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.stats.effects import effect_of
from analysis.stats.inference import AUC, aucs_of, sums_of
from analysis.study_data import StudyData
from mia_core.errors import Refused
from mia_core.metrics.influence import Aucs

EXPLORATORY, DECLARED = "exploratory", "declared"
EFFECT = (
    "effect",
    "low",
    "high",
    "p",
    "sd",
    "sd_records",
    "replicates",
    "left_out",
    "contexts",
    "descriptive",
    "status",
)
"""Columns of every table of effects, after those that name the effect."""


@dataclass(frozen=True)
class Cells:
    """values: [replicates, cells], in the value's own units; columns are levels of `names`.

    row: of each of them, its place in `aucs`, -1 where there is none. aucs: of all trials, where the value is AUC.
    """

    names: tuple[str, ...]
    values: pd.DataFrame
    row: pd.DataFrame
    aucs: Aucs | None

    @property
    def table(self) -> pd.DataFrame:
        """One row a cell, one column a factor."""
        return self.values.columns.to_frame(index=False)

    def complete(self, columns: pd.Index) -> pd.Series:
        """By replicate, whether it has all of those cells."""
        return self.values[columns].notna().all(axis=1)

    def parts(self, columns: pd.Index) -> list[Aucs]:
        """AUCs of those cells in the replicates that have them all."""
        assert self.aucs is not None
        rows = self.row.loc[self.complete(columns), columns].to_numpy(int)
        return [self.aucs[column] for column in rows.T]

    def effect(self, weights: pd.Series, contexts: int = 1, status: str = EXPLORATORY) -> dict[str, Any]:
        """The columns `EFFECT` of a sum of cells; weights: indexed by cells, and those not named weigh nothing."""
        complete = self.complete(weights.index)
        found = {**effect_of(np.zeros(1)), "effect": None, "replicates": 0}
        if complete.any():
            (found,) = self.sums(weights.index, weights.to_numpy()[None])
        return {**found, "left_out": int((~complete).sum()), "contexts": contexts, "status": status}

    def sums(self, columns: pd.Index, weights: np.ndarray) -> list[dict[str, Any]]:
        """The columns of `effect_of` of several sums of the same cells, weights [G, cells]; a replicate must have all
        of them.
        """
        if self.aucs is None:
            values = self.values.loc[self.complete(columns), columns].to_numpy()
            return [effect_of(values @ own) for own in weights]
        return sums_of(self.parts(columns), weights)

    def weights(self, terms: Mapping[str, Mapping[Any, float]]) -> tuple[pd.Series, int]:
        """Weights of a product of contrasts, each a weight for levels of a factor, averaged over the other factors.

        Averaged are those contexts (combinations of other factors' levels) that have all the cells; and how many.
        """
        table = self.table
        weight = pd.Series(1.0, index=table.index)
        for name, levels in terms.items():
            weight *= table[name].map(levels).astype(float)
        weight = weight.dropna()
        needed = 1
        for levels in terms.values():
            needed *= len(levels)
        rest = [name for name in self.names if name not in terms]
        context = pd.Series(
            list(map(tuple, table.loc[weight.index, rest].to_numpy())), index=weight.index, dtype=object
        )
        whole = context.map(context.value_counts()) == needed
        contexts = int(whole.sum()) // needed
        kept = weight[whole]
        return pd.Series(kept.to_numpy() / max(1, contexts), index=self.values.columns[kept.index]), contexts


def cells(data: StudyData, attack: str, value: str, names: Sequence[str] | None = None) -> Cells:
    """The matrix of one attack and value over `names`, by default every factor of the study.

    ValueError when the value is nowhere measured, the names leave out a factor, or a search chose the points.
    """
    data.refuse_a_search()
    names = tuple(names or data.factors or ["train_size"])
    return data.once(("cells", attack, value, names), lambda: _cells(data, attack, value, names))


def _cells(data: StudyData, attack: str, value: str, names: tuple[str, ...]) -> Cells:
    rows = data.attack(attack)
    if value not in rows:
        raise Refused(f"{value!r} is not a column of study {data.name}")
    rows = rows.dropna(subset=[value])
    if rows.empty:
        raise Refused(f"{value!r} has no values for {attack} in study {data.name}")
    if rows.duplicated([*names, "replicate"]).any():
        raise Refused(f"a replicate appears twice in one cell of {', '.join(names)}: name all factors")
    found = aucs_of(data, rows) if value == AUC else None
    own = rows[value].to_numpy(float) if found is None else found.auc
    rows = rows.assign(own=own, row=np.arange(len(rows)))
    keyed = rows.set_index(["replicate", *names]).sort_index()
    values, row = (_matrix(keyed[column], names) for column in ("own", "row"))
    return Cells(names, values, row.fillna(-1).astype(int), found)


def _matrix(column: pd.Series, names: Sequence[str]) -> pd.DataFrame:
    frame = column.unstack(list(names))
    if not isinstance(frame.columns, pd.MultiIndex):
        frame.columns = pd.MultiIndex.from_arrays([frame.columns], names=list(names))
    return frame
