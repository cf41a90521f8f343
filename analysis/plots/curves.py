"""ROC on logarithmic axes, where attacks that name few records with certainty show."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis.plots.drawing import finish, label_powers, look_of, name_axes, panels
from analysis.stats.roc import roc_of_cell
from analysis.study_data import ARM, VARIANT, StudyData
from study.store.reading import last_levels
from study.tracking.pictures import COLORS

LEAST_TPR = 1e-3
FEW_POWERS = 0.005
"""False-positive rates that begin above it span so few powers of ten that ticks between them are labeled too."""


def roc_of_arms(data: StudyData, attack: str) -> Figure:
    """ROC of one attack after the last level of training: a panel per variant and training-set size, a line per arm."""
    rows = data.attack(attack)
    return _roc(data, rows, ARM, data.arms[: len(COLORS)], f"ROC of {attack}")


def roc_of_attacks(data: StudyData, attacks: Sequence[str] | None = None) -> Figure:
    """The same for the first arm with a line per attack.

    attacks: labels, by default the first seven, each after its last level of attack steps.
    """
    rows = data.wide[data.wide[ARM] == data.arms[0]]
    shown = list(attacks or last_levels(rows[rows[data.budget] == rows[data.budget].max()]))[: len(COLORS)]
    return _roc(data, rows, "attack", shown, f"ROC of attacks, arm {data.arms[0]}")


def _roc(data: StudyData, rows: pd.DataFrame, by: str, lines: Sequence[str], title: str) -> Figure:
    rows = rows[rows[data.budget] == rows[data.budget].max()]
    sizes = sorted(set(rows["train_size"]))
    figure, grid = panels(data.variants, sizes, width=3.6)
    lowest = 1.0
    for (variant, size), axis in grid.items():
        for number, name in enumerate(lines):
            own = rows[(rows[VARIANT] == variant) & (rows["train_size"] == size) & (rows[by] == name)]
            curve = roc_of_cell(data, own) if len(own) else None
            if curve is None:
                continue
            look = {key: value for key, value in look_of(number).items() if key != "marker"}
            axis.plot(curve.fpr, curve.tpr, **look, linewidth=1.4, label=f"{name}")
            axis.fill_between(curve.fpr, curve.low, curve.high, color=look["color"], alpha=0.12, lw=0)
            lowest = min(lowest, curve.fpr[0])
    for axis in grid.values():
        axis.plot([lowest, 1], [lowest, 1], color="0.6", linewidth=0.8, zorder=0)
        axis.set(xscale="log", yscale="log", xlim=(lowest, 1), ylim=(max(lowest / 2, LEAST_TPR), 1.1))
        for line in (axis.xaxis, axis.yaxis):
            label_powers(line, (1, 2, 5) if lowest > FEW_POWERS else (1,))
        axis.spines[["top", "right"]].set_visible(False)
    name_axes(figure, grid, "false-positive rate", "true-positive rate", "n = ")
    where = f"{title}, after {rows[data.budget].max()} {data.budget}"
    finish(figure, f"{where}\n{data.name}: {data.replicates} replicates pooled, bands 95 %")
    return figure
