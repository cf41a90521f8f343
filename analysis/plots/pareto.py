"""Leakage against sample quality."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.format import estimate, number, point_text, replicates
from analysis.plots.drawing import (
    ARROW,
    add_tooltips,
    axis_words,
    caption,
    chance_line,
    logarithmic,
    look_of,
    name_axes,
    panels,
    possible,
    to_floor,
)
from analysis.stats.effects import means
from analysis.stats.inference import AUC
from analysis.study_data import ARM, VARIANT, StudyData, lower_is_better
from mia_core.errors import Refused


def leakage_against_quality(data: StudyData, attack: str, quality: str | None = None, value: str = AUC) -> Figure:
    """Leakage against quality: a column per training-set size, a row per variant, a path per arm.

    Markers grow along a path with the length of training. Up is more leakage; left is better quality for a distance
    (KID, FID). quality: a column of the wide table, by default `data.quality`.
    """
    quality = quality or data.quality
    if quality is None:
        raise Refused(f"study {data.name} has no measure of quality to show")
    rows = data.attack(attack)
    leaks, costs = (means(data, rows, column, data.cell) for column in (value, quality))
    table = leaks.merge(costs, on=list(data.cell), suffixes=("", "_quality"))
    open_ended = False
    figure, grid = panels(data.variants, sorted(set(table["train_size"])), width=4.2)
    for (variant, size), axis in grid.items():
        floor = logarithmic(axis.xaxis, quality, table["mean_quality"], table["low_quality"])
        for place, arm in enumerate(data.arms):
            path = table[(table["train_size"] == size) & (table[ARM] == arm) & (table[VARIANT] == variant)]
            if path.empty:
                continue
            look = look_of(place)
            errors, below = to_floor(path["mean_quality"], path["low_quality"], path["high_quality"], floor)
            open_ended = open_ended or bool(below.any())
            drawn = axis.errorbar(
                path["mean_quality"],
                path["mean"],
                xerr=errors,
                xuplims=below,
                yerr=[path["mean"] - possible(path["low"], value), possible(path["high"], value) - path["mean"]],
                **look,
                markersize=4,
                elinewidth=0.7,
                linewidth=1.2,
                label=arm,
            )
            add_tooltips(
                drawn,
                [
                    f"{arm}, n = {size}, {row[data.budget]} {data.budget}: {value} {point_text(row, value)}; "
                    f"{quality} {point_text(row, quality, '_quality')}"
                    for row in path.to_dict("records")
                ],
            )
            marks = [20 + 60 * rank / max(1, len(path) - 1) for rank in range(len(path))]
            axis.scatter(path["mean_quality"], path["mean"], s=marks, color=look["color"], marker=look["marker"])
        chance_line(axis)
    name_axes(figure, grid, _quality_axis(quality, open_ended), axis_words(value, attack), "n = ")
    caption(figure, data, f"Leakage against sample quality; larger markers are later {data.budget}")
    return figure


def front(data: StudyData, table: pd.DataFrame, attack: str) -> Figure:
    """Every cell by leakage and quality, a panel per training-set size.

    The surer it is that another cell is better in both, corrected for the number of rivals, the paler a cell is drawn.
    Hollow cells are shown to be worse in both.

    table: of `analysis.stats.tradeoff.front`, within variant and training-set size.
    """
    figure, grid = panels(data.variants, sorted(set(table["train_size"])), width=4.2)
    quality = str(data.quality)
    open_ended = False
    for (variant, size), axis in grid.items():
        floor = logarithmic(axis.xaxis, quality, table["quality"], table["quality_low"])
        own = table[(table["train_size"] == size) & (table[VARIANT] == variant)]
        for place, arm in enumerate(data.arms):
            look = look_of(place)
            mine = own[own[ARM] == arm]
            errors, below = to_floor(mine["quality"], mine["quality_low"], mine["quality_high"], floor)
            open_ended = open_ended or bool(below.any())
            for nth, row in enumerate(mine.to_dict("records")):
                drawn = axis.errorbar(
                    row["quality"], row["leakage"],
                    xerr=[[part.iloc[nth]] for part in errors], xuplims=below[nth],
                    yerr=[
                        [row["leakage"] - possible(row["leakage_low"], AUC)],
                        [possible(row["leakage_high"], AUC) - row["leakage"]],
                    ],
                    color=look["color"], marker=look["marker"], markersize=7, elinewidth=0.6, linestyle="none",
                    markerfacecolor="white" if row["excluded"] else look["color"],
                    alpha=float(1 - 0.75 * np.nan_to_num(row["dominated"])),
                )  # fmt: skip
                sure = number(row["dominated"], ".0%")
                better = f"; {row['dominated_by']} is better in both by its means, {sure} sure"
                add_tooltips(
                    drawn,
                    [
                        f"{arm}, n = {size}, {row[data.budget]} {data.budget}: AUC {estimate(row, AUC, 'leakage')}, "
                        f"{quality} {estimate(row, quality, 'quality')}"
                        f"{better if isinstance(row['dominated_by'], str) else ''}; {replicates(row['replicates'])}"
                    ],
                )
            axis.errorbar([], [], color=look["color"], marker=look["marker"], linestyle="none", label=arm)
        best = own[own["on_front"].astype(bool)].sort_values("quality")
        axis.step(best["quality"], best["leakage"], where="post", color="0.4", linewidth=1, linestyle=":", zorder=0)
        chance_line(axis)
    name_axes(figure, grid, _quality_axis(quality, open_ended), f"AUC of {attack}", "n = ")
    caption(figure, data, "The front of leakage and quality: hollow points are shown to be beaten in both")
    return figure


def _quality_axis(quality: str, open_ended: bool) -> str:
    better = "lower is better" if lower_is_better(quality) else "higher is better"
    return f"{quality} ({better})" + (f"\n{ARROW}" if open_ended else "")
