"""Contrasts with their intervals, and mean leakage over two factors at once."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.format import effect, p_value, replicates
from analysis.plots.drawing import AXIS, add_tooltips, axis_words, caption, leftmost, panels_of_arms, possible
from analysis.stats.effects import means
from analysis.stats.inference import AUC
from analysis.study_data import ARM, VARIANT, StudyData
from study.tracking.pictures import COLORS

SETTLED, OPEN = COLORS[0], "0.45"


def forest(data: StudyData, table: pd.DataFrame, words: str = "contrast", value: str = AUC) -> Figure:
    """Effects with their 95 % intervals: filled where settled after Holm's correction, hollow and gray where not.

    table: of `analysis.stats.declared.declared`, or any with columns effect, low, high, p_holm, settled, replicates.
    """
    shown = table.dropna(subset=["effect"])
    figure, axis = plt.subplots(figsize=(8.2, 0.9 + 0.3 * max(3, len(shown))), layout="constrained")
    places = np.arange(len(shown))[::-1]
    for settled, color, face in ((True, SETTLED, SETTLED), (False, OPEN, "white")):
        own = (shown["settled"] == settled).to_numpy()
        rows = shown[own]
        drawn = axis.errorbar(
            rows["effect"], places[own],
            xerr=[
                rows["effect"] - possible(rows["low"], value, is_difference=True),
                possible(rows["high"], value, is_difference=True) - rows["effect"],
            ],
            fmt="o" if settled else "s", color=color, markerfacecolor=face, markersize=5, capsize=2, elinewidth=1,
            label="settled: p < 0.05 after Holm" if settled else "not settled",
        )  # fmt: skip
        add_tooltips(
            drawn,
            [
                f"{row[words]}: {effect(row, value)}, p = {p_value(row['p_holm'])} after Holm, "
                f"{replicates(row['replicates'])}"
                for row in rows.to_dict("records")
            ],
        )
    axis.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    axis.set_yticks(places, list(shown[words]))
    axis.set_ylim(-0.7, len(shown) - 0.3)
    axis.set_xlabel(f"difference of {AXIS.get(value, value)}; left of 0: less")
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    if len(shown):
        axis.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    caption(figure, data, "Declared contrasts inside replicates")
    return figure


def heatmap(data: StudyData, attack: str, value: str = AUC) -> Figure:
    """Mean leakage over training-set size and length of training: a panel per arm, a row of panels per variant.

    Where the two factors act independently, every row has the same shades. Every field shows its mean and the number
    of replicates.
    """
    table = means(data, data.attack(attack), value, data.cell)
    budget = data.budget
    sizes, levels = sorted(set(table["train_size"])), sorted(set(table[budget]))
    figure, grid = panels_of_arms(data, width=max(2.4, 0.62 * len(levels)))
    low, high = table["mean"].min(), table["mean"].max()
    for (variant, arm), axis in grid.items():
        own = table[(table[VARIANT] == variant) & (table[ARM] == arm)]
        field = own.pivot(index="train_size", columns=budget, values="mean").reindex(sizes, columns=levels)
        counts = own.pivot(index="train_size", columns=budget, values="replicates").reindex(sizes, columns=levels)
        image = axis.imshow(field, cmap="cividis", vmin=low, vmax=high, aspect="auto", origin="lower")
        for (row, column), mean in np.ndenumerate(field.to_numpy()):
            if np.isfinite(mean):
                dark = mean < (low + high) / 2
                text = f"{mean:.2f}\n{counts.to_numpy()[row, column]:.0f} rep."
                axis.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
        axis.set_xticks(range(len(levels)), _texts(levels))
        axis.set_yticks(range(len(sizes)), _texts(sizes))
        axis.set_title(arm if len(data.variants) == 1 else f"{variant}, {arm}", fontsize="medium")
        axis.set_xlabel(budget)
        if leftmost(axis):
            axis.set_ylabel("training-set size n")
    figure.colorbar(image, ax=list(grid.values()), label=axis_words(value, attack))
    caption(figure, data, f"Leakage over training-set size and {budget} together")
    return figure


def _texts(levels: Sequence[int]) -> list[str]:
    return [str(level) for level in levels]
