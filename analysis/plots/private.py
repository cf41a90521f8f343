"""Private arms: leakage and quality against epsilon, and what audits prove of it."""

import math

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from analysis.effects import AUC, means
from analysis.plots.drawing import AXIS, caption, chance_line, draw_points, legend
from analysis.study_data import ARM, VARIANT, StudyData
from study.pictures import COLORS

LEAST_EPSILON = 0.01
"""Shown for what is smaller, on an axis of powers: accounting adds as much."""


def against_epsilon(data: StudyData, attack: str, value: str = AUC) -> Figure:
    """What a guarantee buys and costs: leakage above and quality below against the accounted epsilon.

    A column of panels a variant and training-set size, a line for each level of training. Arms without an epsilon,
    which guarantee nothing whatever they measure, stand to the right of the dashed line. ValueError without private
    arms.
    """
    rows = data.attack(attack)
    if not data.private:
        raise ValueError(f"study {data.name} has no arm with an epsilon")
    shown = {AXIS.get(value, value).format(attack=attack): value}
    if data.quality:
        shown[f"{data.quality} (lower is better)"] = data.quality
    bare = [arm for arm in data.arms if rows.loc[rows[ARM] == arm, "epsilon"].isna().all()]
    shown_epsilon = rows["epsilon"].clip(lower=LEAST_EPSILON)
    edge = shown_epsilon.max() * 2
    place = {arm: edge * 2.5 ** (number + 1) for number, arm in enumerate(bare)}
    columns = list(rows[[VARIANT, "train_size"]].drop_duplicates().itertuples(index=False, name=None))
    figure, axes = plt.subplots(
        len(shown), len(columns), figsize=(4.2 * len(columns) + 0.6, 2.8 * len(shown) + 0.8),
        sharex=True, sharey="row", squeeze=False, layout="constrained",
    )  # fmt: skip
    for (label, column), line_of_axes in zip(shown.items(), axes, strict=True):
        epsilon = rows.groupby(list(data.cell))["epsilon"].mean().reset_index()
        cells = means(rows, column, data.cell).merge(epsilon, on=list(data.cell))
        cells["x"] = cells["epsilon"].clip(lower=LEAST_EPSILON).fillna(cells[ARM].map(place))
        for (variant, size), axis in zip(columns, line_of_axes, strict=True):
            panel = cells[(cells[VARIANT] == variant) & (cells["train_size"] == size)]
            for number, (level, line) in enumerate(panel.groupby(data.budget)):
                private = line["epsilon"].notna()
                known, open_ended = line[private].sort_values("x"), line[~private]
                draw_points(axis, open_ended["x"], open_ended, number, f"{level} {data.budget}", linestyle="none")
                draw_points(axis, known["x"], known, number, f"{level} {data.budget}")
            axis.set_xscale("log")
            axis.axvline(edge, color="0.6", linewidth=0.8, linestyle="--")
            low = math.floor(math.log10(shown_epsilon.min()))
            ticks = [10.0**power for power in range(low, math.ceil(math.log10(edge))) if 10.0**power < edge]
            axis.set_xticks([*ticks, *place.values()], [*(f"{tick:g}" for tick in ticks), *place])
            plt.setp(axis.get_xticklabels(), rotation=30, ha="right", rotation_mode="anchor")
            axis.minorticks_off()
            axis.spines[["top", "right"]].set_visible(False)
            if column == AUC:
                chance_line(axis)
            elif column == data.quality:
                axis.set_yscale("log", nonpositive="clip")
                axis.yaxis.set_major_formatter("{x:g}")
        line_of_axes[0].set_ylabel(label)
    for (variant, size), axis in zip(columns, axes[0], strict=True):
        axis.set_title(f"{variant}, n = {size}" if len(data.variants) > 1 else f"n = {size}")
    deltas = ", ".join(f"{delta:g}" for delta in sorted(rows["delta"].dropna().unique()))
    figure.supxlabel(f"epsilon at delta {deltas}; right of the dashed line: no guarantee", fontsize="medium")
    legend(figure, axes.flat)
    caption(figure, data, "Leakage and quality against epsilon")
    return figure


def audited(data: StudyData, table: pd.DataFrame) -> Figure:
    """epsilon as accounted, as attacks prove it, and the most they could have proved, a row a cell and audit.

    table: rows with an epsilon of `analysis.controls.audits`. A proof far below the claim is normal where the
    ceiling is low; one above it contradicts the claim.
    """
    figure, axis = plt.subplots(figsize=(8.2, 1.2 + 0.32 * max(2, len(table))), layout="constrained")
    places = range(len(table))[::-1]
    looks = {
        "epsilon": ("accounted", "D"),
        "epsilon_low": ("proved", "o"),
        "epsilon_ceiling": ("provable at most", "|"),
    }
    for number, (column, (label, marker)) in enumerate(looks.items()):
        values = table[column].astype(float).clip(lower=LEAST_EPSILON)
        axis.plot(values, places, linestyle="none", marker=marker, color=COLORS[number], markersize=7, label=label)
    for place, row in zip(places, table.to_dict("records"), strict=True):
        ends = [max(LEAST_EPSILON, row[name]) for name in ("epsilon_low", "epsilon_ceiling")]
        axis.plot(ends, [place, place], color="0.75", linewidth=1.2, zorder=0)
    words = [
        f"{row['arm']}, n = {row['train_size']}, {row[data.budget]} {data.budget}, {row['audit']} "
        f"({row['trainings']} trainings)"
        for row in table.to_dict("records")
    ]
    axis.set_yticks(places, words)
    axis.set_ylim(-0.7, len(table) - 0.3)
    axis.set_xscale("log")
    axis.set_xlabel(f"epsilon at the row's delta (log scale; {LEAST_EPSILON:g} stands for less)")
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    figure.suptitle(
        f"What is guaranteed, what attacks prove, and what they could prove\n{data.name}", fontsize="medium"
    )
    return figure
