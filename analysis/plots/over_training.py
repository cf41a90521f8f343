"""Leakage over training-set size, length of training and arm, and a comparison of attacks."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from analysis.plots.drawing import axis_words, caption, chance_line, draw_points, name_axes, panels_of_arms
from analysis.stats.effects import means
from analysis.stats.inference import AUC
from analysis.study_data import ARM, VARIANT, StudyData
from study.store.reading import last_levels
from study.tracking.pictures import COLORS


def leakage_over_training(data: StudyData, attack: str, value: str = AUC) -> Figure:
    """Leakage against epochs or steps: a column per arm, a row per variant, a line per training-set size."""
    table = means(data, data.attack(attack), value, data.cell)
    levels = sorted(set(table[data.budget]))
    figure, grid = panels_of_arms(data)
    for (variant, arm), axis in grid.items():
        panel = table[(table[ARM] == arm) & (table[VARIANT] == variant)]
        for number, (size, line) in enumerate(panel.groupby("train_size")):
            draw_points(axis, line[data.budget], line, number, f"n = {size}", value)
        axis.set_xscale("log", base=2)
        axis.set_xticks(levels, [str(level) for level in levels])
        axis.minorticks_off()
        chance_line(axis)
    name_axes(figure, grid, data.budget, axis_words(value, attack))
    caption(figure, data, f"Leakage against {data.budget}, training-set size and defense")
    return figure


def attacks_compared(data: StudyData, value: str = AUC, attacks: Sequence[str] | None = None) -> Figure:
    """Attacks compared after the last level of training, with the panels of `leakage_over_training`.

    attacks: labels, by default the first seven that ran there, each after its last level of attack steps.
    """
    last = data.last
    sizes = sorted(set(last["train_size"]))
    shown = list(attacks or last_levels(last))[: len(COLORS)]
    figure, grid = panels_of_arms(data)
    for number, attack in enumerate(shown):
        table = means(data, last[last["attack"] == attack], value, [VARIANT, ARM, "train_size"])
        for (variant, arm), axis in grid.items():
            line = table[(table[ARM] == arm) & (table[VARIANT] == variant)]
            if len(line):
                draw_points(axis, line["train_size"] * (1 + 0.03 * number), line, number, attack, value)
    for axis in grid.values():
        axis.set_xscale("log", base=2)
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.minorticks_off()
        chance_line(axis)
    name_axes(figure, grid, "training-set size n", "AUC" if value == AUC else value)
    caption(figure, data, f"Attacks after {last[data.budget].max()} {data.budget}")
    return figure
