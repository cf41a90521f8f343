"""Pictures of a study. Every point is a mean over replicates with its 95 % t interval; colors are safe for the
color-blind (Okabe & Ito), and markers repeat what colors say."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from analysis.effects import AUC, means
from analysis.study_data import ARM, CELL, VARIANT, StudyData
from study.pictures import COLORS
from study.store.reading import last_levels

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":", "-.")
LEAST_EPSILON = 0.01
"""Shown for what is smaller, on an axis of powers: accounting adds as much."""
AXIS = {AUC: "AUC of {attack}", "advantage": "advantage (TPR - FPR) of {attack}"}


def leakage_over_epochs(data: StudyData, attack: str, value: str = AUC) -> Figure:
    """Leakage against epochs: a column of panels an arm, a row a variant, a line for each training-set size."""
    table = means(data.attack(attack), value, CELL)
    epochs = sorted(set(table["epochs"]))
    figure, grid = _panels(data.variants, data.arms)
    for (variant, arm), axis in grid.items():
        panel = table[(table[ARM] == arm) & (table[VARIANT] == variant)]
        for number, (size, line) in enumerate(panel.groupby("train_size")):
            _points(axis, line["epochs"], line, number, f"n = {size}")
        axis.set_xscale("log", base=2)
        axis.set_xticks(epochs, [str(level) for level in epochs])
        axis.minorticks_off()
        _chance(axis)
    _name(figure, grid, "epochs", AXIS.get(value, value).format(attack=attack))
    _caption(figure, data, "Leakage against epochs, training-set size and defense")
    return figure


def leakage_against_quality(data: StudyData, attack: str, quality: str | None = None, value: str = AUC) -> Figure:
    """The trade-off: a column of panels a training-set size, a row a variant, one path an arm, epochs growing along it
    (small to large marker).

    Up is more leakage; left is better quality for a distance (kid, fid). quality: a column of the wide table, by
    default `data.quality`.
    """
    quality = quality or data.quality
    if quality is None:
        raise ValueError(f"study {data.name} has no measure of quality to show")
    rows = data.attack(attack)
    table = means(rows, value, CELL).merge(means(rows, quality, CELL), on=list(CELL), suffixes=("", "_quality"))
    figure, grid = _panels(data.variants, sorted(set(table["train_size"])), width=4.2)
    for (variant, size), axis in grid.items():
        for number, arm in enumerate(data.arms):
            path = table[(table["train_size"] == size) & (table[ARM] == arm) & (table[VARIANT] == variant)]
            if path.empty:
                continue
            look = _look(number)
            axis.errorbar(
                path["mean_quality"],
                path["mean"],
                xerr=[path["mean_quality"] - path["low_quality"], path["high_quality"] - path["mean_quality"]],
                yerr=[path["mean"] - path["low"], path["high"] - path["mean"]],
                **look,
                markersize=4,
                elinewidth=0.7,
                linewidth=1.2,
                label=arm,
            )
            marks = [20 + 60 * rank / max(1, len(path) - 1) for rank in range(len(path))]
            axis.scatter(path["mean_quality"], path["mean"], s=marks, color=look["color"], marker=look["marker"])
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        _chance(axis)
    _name(figure, grid, f"{quality} (lower is better)", AXIS.get(value, value).format(attack=attack), "n = ")
    _caption(figure, data, "Leakage against sample quality; larger markers are later epochs")
    return figure


def attacks_compared(data: StudyData, value: str = AUC, attacks: Sequence[str] | None = None) -> Figure:
    """Attacks side by side at the last epochs level, panels as in `leakage_over_epochs`.

    attacks: labels; by default the first seven that ran there, each after its last level of attack steps.
    """
    last = data.wide[data.wide["epochs"] == data.wide["epochs"].max()]
    sizes = sorted(set(last["train_size"]))
    shown = list(attacks or last_levels(last))[: len(COLORS)]
    figure, grid = _panels(data.variants, data.arms)
    for number, attack in enumerate(shown):
        table = means(last[last["attack"] == attack], value, [VARIANT, ARM, "train_size"])
        for (variant, arm), axis in grid.items():
            line = table[(table[ARM] == arm) & (table[VARIANT] == variant)]
            if len(line):
                _points(axis, line["train_size"] * (1 + 0.03 * number), line, number, attack)
    for axis in grid.values():
        axis.set_xscale("log", base=2)
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.minorticks_off()
        _chance(axis)
    _name(figure, grid, "training-set size n", "AUC" if value == AUC else value)
    _caption(figure, data, f"Attacks after {last['epochs'].max()} epochs")
    return figure


def against_epsilon(data: StudyData, attack: str, value: str = AUC) -> Figure:
    """What a guarantee buys and costs: leakage above and quality below against the accounted epsilon.

    A column of panels a variant and training-set size, a line for each level of epochs. Arms without an epsilon, which
    guarantee nothing whatever they measure, stand to the right of the dashed line. ValueError without private arms.
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
        cells = means(rows, column, CELL).merge(rows.groupby(list(CELL))["epsilon"].mean().reset_index(), on=list(CELL))
        cells["x"] = cells["epsilon"].clip(lower=LEAST_EPSILON).fillna(cells[ARM].map(place))
        for (variant, size), axis in zip(columns, line_of_axes, strict=True):
            panel = cells[(cells[VARIANT] == variant) & (cells["train_size"] == size)]
            for number, (epochs, line) in enumerate(panel.groupby("epochs")):
                private = line["epsilon"].notna()
                known, open_ended = line[private].sort_values("x"), line[~private]
                _points(axis, open_ended["x"], open_ended, number, f"{epochs} epochs", linestyle="none")
                _points(axis, known["x"], known, number, f"{epochs} epochs")
            axis.set_xscale("log")
            axis.axvline(edge, color="0.6", linewidth=0.8, linestyle="--")
            low = math.floor(math.log10(shown_epsilon.min()))
            ticks = [10.0**power for power in range(low, math.ceil(math.log10(edge))) if 10.0**power < edge]
            axis.set_xticks([*ticks, *place.values()], [*(f"{tick:g}" for tick in ticks), *place])
            plt.setp(axis.get_xticklabels(), rotation=30, ha="right", rotation_mode="anchor")
            axis.minorticks_off()
            axis.spines[["top", "right"]].set_visible(False)
            if column == AUC:
                _chance(axis)
            elif column == data.quality:
                axis.set_yscale("log", nonpositive="clip")
                axis.yaxis.set_major_formatter("{x:g}")
        line_of_axes[0].set_ylabel(label)
    for (variant, size), axis in zip(columns, axes[0], strict=True):
        axis.set_title(f"{variant}, n = {size}" if len(data.variants) > 1 else f"n = {size}")
    deltas = ", ".join(f"{delta:g}" for delta in sorted(rows["delta"].dropna().unique()))
    figure.supxlabel(f"epsilon at delta {deltas}; right of the dashed line: no guarantee", fontsize="medium")
    _legend(figure, axes.flat)
    _caption(figure, data, "Leakage and quality against epsilon")
    return figure


def _panels(rows: Sequence[Any], columns: Sequence[Any], width: float = 3.2) -> tuple[Figure, dict[tuple, Axes]]:
    """A grid of panels with shared y axes, by the words of its rows and columns; a single column lies on its side."""
    down, across = (1, len(rows)) if len(columns) == 1 else (len(rows), len(columns))
    figure, axes = plt.subplots(
        down,
        across,
        figsize=(width * across + 0.6, 3.0 * down + 0.6),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    return figure, dict(zip([(row, column) for row in rows for column in columns], axes.flat, strict=True))


def _name(figure: Figure, grid: dict[tuple, Axes], x: str, y: str, prefix: str = "") -> None:
    """Names of panels, rows and axes, and one legend of all that is drawn, beside the panels."""
    rows, columns = list(dict.fromkeys(row for row, _ in grid)), list(dict.fromkeys(column for _, column in grid))
    flat = len(rows) == 1 or len(columns) == 1
    for (row, column), axis in grid.items():
        axis.set_xlabel(x if flat or row == rows[-1] else "")
        if flat:
            axis.set_title(f"{row}, {prefix}{column}" if len(rows) > 1 else f"{prefix}{column}")
        elif row == rows[0]:
            axis.set_title(f"{prefix}{column}")
        if (row, column) == (rows[0], columns[0]) or (not flat and column == columns[0]):
            axis.set_ylabel(y if flat else f"{row}\n{y}")
        if not axis.containers:
            axis.text(0.5, 0.5, "does not fit", ha="center", va="center", transform=axis.transAxes, color="0.5")
    _legend(figure, grid.values())


def _legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """One of all that is drawn, beside the panels."""
    drawn = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(drawn.values(), drawn.keys(), loc="outside right center", frameon=False, fontsize="small")
    legend_inches = 0.7 + 0.075 * max(map(len, drawn))
    figure.set_figwidth(max(figure.get_figwidth() + legend_inches, 7.0))


def _look(number: int) -> dict[str, Any]:
    """Color, marker and dashes of a line; each round of colors has the markers one further."""
    count = len(COLORS)
    marker = MARKERS[(number + number // count) % len(MARKERS)]
    return {"color": COLORS[number % count], "marker": marker, "linestyle": DASHES[number % len(DASHES)]}


def _points(axis: Axes, x: pd.Series, line: pd.DataFrame, number: int, label: str, **look: Any) -> None:
    axis.errorbar(
        x,
        line["mean"],
        yerr=[line["mean"] - line["low"], line["high"] - line["mean"]],
        **_look(number) | look,
        markersize=5,
        linewidth=1.2,
        elinewidth=0.8,
        capsize=2,
        label=label,
    )


def _chance(axis: Axes) -> None:
    axis.axhline(0.5, color="0.6", linewidth=0.8, zorder=0)
    axis.spines[["top", "right"]].set_visible(False)


def _caption(figure: Figure, data: StudyData, title: str) -> None:
    count = data.replicates
    what = "mean and 95 % t interval" if count >= 5 else "descriptive only, mean and t interval"
    figure.suptitle(f"{title}\n{data.name}: {what} over {count} replicates", fontsize="medium")
