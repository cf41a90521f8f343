"""A study as a matrix, one row a replicate and one column a cell, and effects as weighted sums of its columns.

A sum of cells is taken inside each replicate, so that a t interval over replicates holds whatever the correlation of
cells (levels of epochs share a training) and however their spreads differ. A replicate that lacks one of the cells is
left out of that effect, and counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.stats.effects import effect_of, on_scale
from analysis.study_data import StudyData
from mia_core.errors import Refused

EXPLORATORY, DECLARED = "exploratory", "declared"
EFFECT = (
    "difference",
    "effect",
    "low",
    "high",
    "p",
    "sd",
    "replicates",
    "left_out",
    "contexts",
    "descriptive",
    "status",
)
"""Columns of every table of effects, after those that name the effect."""


@dataclass(frozen=True)
class Cells:
    """scale, raw: [replicates, cells], a value in log odds (AUC) or its own units; columns are levels of `names`."""

    names: tuple[str, ...]
    scale: pd.DataFrame
    raw: pd.DataFrame

    @property
    def table(self) -> pd.DataFrame:
        """One row a cell, one column a factor."""
        return self.scale.columns.to_frame(index=False)

    def effect(self, weights: pd.Series, contexts: int = 1, status: str = EXPLORATORY) -> dict[str, Any]:
        """The columns `EFFECT` of a sum of cells; weights: indexed by cells, and those not named weigh nothing."""
        complete = self.scale[weights.index].notna().all(axis=1)
        own = self.scale.loc[complete, weights.index].to_numpy() @ weights.to_numpy()
        raw = self.raw.loc[complete, weights.index].to_numpy() @ weights.to_numpy()
        found = effect_of(own) if len(own) else {**effect_of(own.sum(keepdims=True)), "effect": None, "replicates": 0}
        return {
            "difference": float(raw.mean()) if len(raw) else None,
            **found,
            "left_out": int((~complete).sum()),
            "contexts": contexts,
            "status": status,
        }

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
        return pd.Series(kept.to_numpy() / max(1, contexts), index=self.scale.columns[kept.index]), contexts


def cells(data: StudyData, attack: str, value: str, names: Sequence[str] | None = None) -> Cells:
    """The matrix of one attack and value over `names`, by default every factor of the study.

    ValueError when the value is nowhere measured, the names leave out a factor, or a search chose the points.
    """
    data.refuse_a_search()
    rows = data.attack(attack)
    if value not in rows:
        raise Refused(f"{value!r} is not a column of study {data.name}")
    rows = rows.assign(scale=on_scale(rows, value)).dropna(subset=["scale"])
    if rows.empty:
        raise Refused(f"{value!r} has no values for {attack} in study {data.name}")
    names = tuple(names or data.factors or ["train_size"])
    if rows.duplicated([*names, "replicate"]).any():
        raise Refused(f"a replicate appears twice in one cell of {', '.join(names)}: name all factors")
    keyed = rows.set_index(["replicate", *names]).sort_index()
    return Cells(names, *(_matrix(keyed[column], names) for column in ("scale", value)))


def _matrix(column: pd.Series, names: Sequence[str]) -> pd.DataFrame:
    frame = column.unstack(list(names))
    if not isinstance(frame.columns, pd.MultiIndex):
        frame.columns = pd.MultiIndex.from_arrays([frame.columns], names=list(names))
    return frame
