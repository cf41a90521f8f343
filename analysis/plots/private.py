"""Private arms: leakage and quality against epsilon, and audits of epsilon."""

import math
from collections.abc import Collection

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots.drawing import (
    ARROW,
    add_tooltips,
    axis_words,
    caption,
    chance_line,
    draw_points,
    finish,
    legend,
    logarithmic,
)
from analysis.stats.effects import means
from analysis.stats.guarantees import FPR, ceilings, per_unit
from analysis.stats.inference import AUC, TPR
from analysis.study_data import ARM, VARIANT, StudyData, lower_is_better
from mia_core.errors import Refused
from study.tracking.pictures import COLORS
from study.verdicts.claims import PANEL

LEAST_EPSILON = 0.01
"""A smaller epsilon is drawn here on the logarithmic axis: the accountant adds as much."""
LEAST_TPR = 0.004
CEILING = "at most, by the guarantee"
APART = 1.13
"""Levels of training of an arm without an epsilon are drawn apart by this factor, so that none hides another."""


def against_epsilon(data: StudyData, attack: str, value: str = AUC) -> Figure:
    """AUC, TPR at 1 % FPR and quality against the accounted epsilon.

    A column per variant with private arms and training-set size, a line per level of training. The gray bar at each
    private point is the most that its guarantee lets any attack have in expectation, about all that a coin of the study
    changes; none where that is not known. Arms without an epsilon guarantee nothing, and are drawn to the right of the
    dashed line, those of other variants too. TPR is left out where no cell has non-members enough for it. ValueError
    without private arms under the attack.
    """
    rows = data.attack(attack)
    if not data.private_under(attack):
        raise Refused(f"study {data.name} has no arm with an epsilon under {attack}")
    shown = {axis_words(value, attack): value}
    most = {AUC: "coin_auc", TPR: "coin_tpr"}
    if value == AUC and means(data, rows, TPR, data.cell)["mean"].notna().any():
        shown["TPR at 1 % FPR"] = TPR
    if data.quality:
        better = "lower is better" if lower_is_better(data.quality) else "higher is better"
        shown[f"{data.quality} ({better})"] = data.quality
    private_variants = set(rows.loc[rows["epsilon"].notna(), VARIANT])
    bare = list(
        dict.fromkeys(
            _bare(variant, arm, private_variants)
            for variant in sorted(data.variants, key=private_variants.__contains__)
            for arm in data.arms
            if (own := rows.loc[(rows[VARIANT] == variant) & (rows[ARM] == arm), "epsilon"]).isna().all() and len(own)
        )
    )
    shown_epsilon = rows["epsilon"].clip(lower=LEAST_EPSILON)
    edge = shown_epsilon.max() * 2
    place = {arm: edge * 2.5 ** (number + 1) for number, arm in enumerate(bare)}
    ticks = _ticks(shown_epsilon.min(), edge)
    arrows = False
    pairs = rows[[VARIANT, "train_size"]].drop_duplicates().itertuples(index=False, name=None)
    columns = [(variant, size) for variant, size in pairs if variant in private_variants]
    figure, axes = plt.subplots(
        len(shown), len(columns), figsize=(4.2 * len(columns) + 0.6, 2.8 * len(shown) + 0.8),
        sharex=True, sharey="row", squeeze=False, layout="constrained",
    )  # fmt: skip
    bounds = ceilings(data)
    for (label, column), line_of_axes in zip(shown.items(), axes, strict=True):
        epsilon = rows.groupby(list(data.cell))["epsilon"].mean().reset_index()
        cells = means(data, rows, column, data.cell).merge(epsilon, on=list(data.cell))
        words = [_bare(*cell, private_variants) for cell in zip(cells[VARIANT], cells[ARM], strict=True)]
        cells["x"] = cells["epsilon"].clip(lower=LEAST_EPSILON).fillna(pd.Series(words, cells.index).map(place))
        levels = sorted(set(cells[data.budget]))
        apart = cells[data.budget].map({level: APART ** (n - (len(levels) - 1) / 2) for n, level in enumerate(levels)})
        cells["x"] = cells["x"].where(cells["epsilon"].notna(), cells["x"] * apart)
        for (variant, size), axis in zip(columns, line_of_axes, strict=True):
            in_panel = (cells[VARIANT] == variant) | ~cells[VARIANT].isin(private_variants)
            panel = cells[in_panel & (cells["train_size"] == size)]
            floor = -math.inf
            if column == data.quality:
                floor = logarithmic(axis.yaxis, column, cells["mean"], cells["low"])
            elif column == TPR:
                floor = LEAST_TPR
                axis.set(yscale="log", ylim=(LEAST_TPR, 1.3))
                axis.set_yticks([0.01, 0.1, 1], ["1 %", "10 %", "100 %"])
                axis.axhline(FPR, color="0.6", linewidth=0.8, zorder=0)
            arrows = arrows or bool(np.isfinite(floor) and (cells["low"] <= 0).any())
            if column in most:
                own = bounds[(bounds[VARIANT] == variant) & (bounds["train_size"] == size)].dropna(subset=most[column])
                draw_ceilings(axis, own["epsilon"].clip(lower=LEAST_EPSILON), own[most[column]])
            for number, (level, line) in enumerate(panel.groupby(data.budget)):
                private = line["epsilon"].notna()
                known, open_ended = line[private].sort_values("x"), line[~private]
                draw_points(
                    axis, open_ended["x"], open_ended, number, f"{level} {data.budget}", column, floor, linestyle="none"
                )
                draw_points(axis, known["x"], known, number, f"{level} {data.budget}", column, floor)
            axis.set_xscale("log")
            axis.axvline(edge, color="0.6", linewidth=0.8, linestyle="--")
            axis.set_xticks([*ticks, *place.values()], [*map(_epsilon_text, ticks), *place])
            plt.setp(axis.get_xticklabels(), rotation=30, ha="right", rotation_mode="anchor")
            axis.minorticks_off()
            axis.spines[["top", "right"]].set_visible(False)
            if column == AUC:
                chance_line(axis)
        line_of_axes[0].set_ylabel(label)
    for (variant, size), axis in zip(columns, axes[0], strict=True):
        axis.set_title(f"{variant}, n = {size}" if len(data.variants) > 1 else f"n = {size}", fontsize="medium")
    deltas = ", ".join(f"{delta:g}" for delta in sorted(rows["delta"].dropna().unique()))
    more = f"\n{ARROW}" if arrows else ""
    below = f"epsilon {per_unit(data)} at delta {deltas}; right of the dashed line: no guarantee{more}"
    figure.supxlabel(below, fontsize="medium")
    legend(figure, axes.flat)
    caption(figure, data, "Leakage and quality against epsilon")
    return figure


def _bare(variant: str, arm: str, private_variants: Collection[str]) -> str:
    """An arm in words; with its variant where that has no private arm."""
    return arm if variant in private_variants else f"{variant}, {arm}"


def draw_ceilings(axis: Axes, epsilon: pd.Series, most: pd.Series) -> None:
    """A bar at each epsilon, which says how much it is."""
    drawn = axis.errorbar(epsilon, most, fmt="_", color="0.35", markersize=13, markeredgewidth=1.6, label=CEILING)
    add_tooltips(drawn, [f"{CEILING}: {value:.3f}" for value in most])


def _ticks(least: float, edge: float) -> list[float]:
    """Ticks at 1, 2 and 5 times powers of ten; at powers alone where the axis spans many."""
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(edge)))
    times = (1, 2, 5) if len(powers) <= 2 else (1,)
    found = [time * 10.0**power for power in powers for time in times]
    return [tick for tick in found if least / 2 <= tick < edge]


def _epsilon_text(tick: float) -> str:
    return f"≤ {tick:g}" if tick == LEAST_EPSILON else f"{tick:g}"


def audited(data: StudyData, table: pd.DataFrame) -> Figure:
    """epsilon as accounted, as attacks prove it, and the most they could have proved, a row per cell and audit.

    table: rows with an epsilon of `analysis.stats.baselines.audits`. A proof far below the claim is normal where the
    ceiling is low; one above it contradicts the claim.
    """
    figure, axis = plt.subplots(figsize=(9.2, 1.2 + 0.45 * max(2, len(table))), layout="constrained")
    places = range(len(table))[::-1]
    looks = {
        "epsilon": ("claimed, by the accountant", "D"),
        "epsilon_low": ("proved by attacks (95 %)", "o"),
        "epsilon_ceiling": ("the most that these coins could prove", "|"),
    }
    for number, (column, (label, marker)) in enumerate(looks.items()):
        values = table[column].astype(float).clip(lower=LEAST_EPSILON)
        axis.plot(values, places, linestyle="none", marker=marker, color=COLORS[number], markersize=7, label=label)
    for place, row in zip(places, table.to_dict("records"), strict=True):
        ends = [max(LEAST_EPSILON, row[name]) for name in ("epsilon_low", "epsilon_ceiling")]
        axis.plot(ends, [place, place], color="0.75", linewidth=1.2, zorder=0)
    words = [
        f"{row['arm']}, n = {row['train_size']}, {row[data.budget]} {data.budget}\n"
        f"{'queries' if row['audit'] == PANEL else row['attack'].replace('_', ' ')}, {row['trainings']} trainings"
        for row in table.to_dict("records")
    ]
    axis.set_yticks(places, words)
    axis.set_ylim(-0.7, len(table) - 0.3)
    axis.tick_params(axis="y", length=0)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(lambda tick, _: _epsilon_text(tick))
    deltas = ", ".join(f"{delta:g}" for delta in sorted(table["delta"].dropna().unique()))
    axis.set_xlabel(f"epsilon {per_unit(data)} at delta {deltas}")
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    finish(figure, f"What is guaranteed, what attacks prove, and what they could prove\n{data.name}")
    return figure
