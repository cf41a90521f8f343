"""Leakage against the number of samples that are released."""

from matplotlib.figure import Figure

from analysis.plots.drawing import caption, chance_line, draw_points, name_axes, panels_of_arms
from analysis.stats.budget import budget
from analysis.study_data import ARM, VARIANT, StudyData
from study.tracking.pictures import COLORS


def release_budget(data: StudyData, size: int | None = None) -> Figure:
    """AUC over the number of samples, after the last level of training: a panel per arm, a line per attack and n.

    size: the only n that is shown. Of more than seven lines the first. Attacks have several numbers.
    """
    table = budget(data)
    table = table if size is None else table[table["train_size"] == size]
    several = table["train_size"].nunique() > 1
    lines = list(table[["attack", "train_size"]].drop_duplicates().itertuples(index=False, name=None))[: len(COLORS)]
    numbers = sorted(set(table["released"]))
    figure, grid = panels_of_arms(data)
    for (variant, arm), axis in grid.items():
        panel = table[(table[ARM] == arm) & (table[VARIANT] == variant)]
        for number, (attack, size) in enumerate(lines):
            line = panel[(panel["attack"] == attack) & (panel["train_size"] == size)]
            if len(line):
                label = f"{attack}, n = {size}" if several else attack
                draw_points(axis, line["released"] * (1 + 0.03 * number), line, number, label)
        axis.set_xscale("log")
        axis.set_xticks(numbers, [str(released) for released in numbers])
        axis.minorticks_off()
        chance_line(axis)
    name_axes(figure, grid, "samples released", "AUC")
    caption(figure, data, f"Leakage against the number of samples, after {data.last[data.budget].max()} {data.budget}")
    return figure
