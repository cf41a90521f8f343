"""Leakage against training-set size, with a line fitted inside replicates."""

import pandas as pd
from matplotlib.figure import Figure

from analysis.plots.drawing import (
    axis_words,
    caption,
    chance_line,
    draw_points,
    look_of,
    name_axes,
    panels_of_arms,
    possible,
)
from analysis.stats.effects import means
from analysis.stats.inference import AUC
from analysis.study_data import ARM, VARIANT, StudyData


def leakage_against_size(data: StudyData, attack: str, curve: pd.DataFrame, value: str = AUC) -> Figure:
    """Points are cells, bands the fitted curve's 95 % interval; a panel per arm, a line per level of training.

    curve: of `analysis.stats.scaling.size_curve`.
    """
    table = means(data, data.attack(attack), value, data.cell)
    sizes = sorted(set(table["train_size"]))
    figure, grid = panels_of_arms(data)
    for (variant, arm), axis in grid.items():
        own = table[(table[ARM] == arm) & (table[VARIANT] == variant)]
        fitted = curve[(curve[ARM] == arm) & (curve[VARIANT] == variant)]
        for number, (level, points) in enumerate(own.groupby(data.budget)):
            look = look_of(number)
            line = fitted[fitted[data.budget] == level]
            axis.plot(line["train_size"], line["mean"], color=look["color"], linestyle=look["linestyle"], linewidth=1.2)
            low, high = (possible(line[name], value) for name in ("low", "high"))
            axis.fill_between(line["train_size"], low, high, color=look["color"], alpha=0.12, lw=0)
            draw_points(axis, points["train_size"], points, number, f"{level} {data.budget}", value, linestyle="none")
        axis.set_xscale("log", base=2)
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.minorticks_off()
        chance_line(axis)
    name_axes(figure, grid, "training-set size n", axis_words(value, attack))
    caption(figure, data, "Leakage against training-set size")
    return figure
