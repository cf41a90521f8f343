"""Pictures of a study that draws its points: indices of factors, and the points."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from analysis.format import point_text, replicates, share
from analysis.plots.drawing import add_tooltips, axis_words, caption_of_means, chance_line, legend
from analysis.stats.drawn_points import INDEX_WORDS, Influence, by_point, logarithmic, place, varied
from analysis.stats.inference import AUC
from analysis.study_data import StudyData
from mia_core.errors import Refused
from study.tracking.pictures import COLORS

APART = 0.16
NOISE, UNPREDICTED = "noise of replicates", "not predicted by the forest"


def influence(data: StudyData, found: Sequence[Influence], attack: str) -> Figure:
    """Indices of each factor with their 95 % intervals, a panel per value. Gray: shares that no factor explains.

    found: of `analysis.stats.drawn_points.influences`, those that have indices.
    """
    factors = max(len(one.ranked) for one in found)
    size = (4.1 * len(found) + 1.0, 1.5 + 0.45 * (factors + 2))
    figure, axes = plt.subplots(1, len(found), figsize=size, squeeze=False, layout="constrained")
    for one, axis in zip(found, axes.flat, strict=True):
        names = list(one.ranked["factor"])
        shown = [index for index in INDEX_WORDS if index in set(one.table["index"])]
        for number, index in enumerate(shown):
            rows = one.table[one.table["index"] == index].set_index("factor").loc[names].reset_index()
            drawn = axis.errorbar(
                rows["estimate"], [-down + APART * (number - (len(shown) - 1) / 2) for down in range(len(names))],
                xerr=[rows["estimate"] - rows["low"], rows["high"] - rows["estimate"]], fmt="os"[number],
                color=COLORS[number], markerfacecolor="white" if index == "first" else COLORS[number], markersize=5,
                capsize=2, elinewidth=1, label=INDEX_WORDS[index],
            )  # fmt: skip
            add_tooltips(drawn, [f"{row['factor']}: {index} {share(row['estimate'], row['low'], row['high'])}, "
                         f"{row['points']} points, {replicates(row['replicates'])}"
                         for row in rows.to_dict("records")])  # fmt: skip
        unpredicted = None if one.predicted is None else 1 - one.predicted
        for words, rest in ((UNPREDICTED, unpredicted), (NOISE, one.noise)):
            if rest is not None:
                axis.plot([rest], [-len(names)], "D", color="0.45", markersize=5)
                names.append(words)
        axis.axvline(0, color="0.6", linewidth=0.8, zorder=0)
        axis.set_yticks([-down for down in range(len(names))], names)
        axis.set_ylim(-len(names) + 0.4, 0.6)
        axis.set_xlabel("share of the points' variance")
        axis.set_title("AUC of " + attack if one.value == AUC else one.value)
        axis.spines[["top", "right"]].set_visible(False)
    legend(figure, axes.flat)
    caption_of_means(figure, data, "Which factor moves it: indices with 95 % intervals")
    return figure


def against_factors(data: StudyData, attack: str) -> Figure:
    """Each point's mean over replicates against each factor: a row per value, a column per factor."""
    values = [AUC, *([data.quality] if data.quality else [])]
    names, logs = list(varied(data)), logarithmic(data)
    figure, axes = plt.subplots(
        len(values), len(names), figsize=(2.4 * len(names) + 0.8, 2.5 * len(values) + 0.7), sharey="row", sharex="col",
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for value, line in zip(values, axes, strict=True):
        table = by_point(data, attack, value)
        for name, axis in zip(names, line, strict=True):
            drawn = axis.errorbar(
                table[name], table["mean"], fmt="o", color=COLORS[0], alpha=0.6, markersize=3.5, markeredgewidth=0
            )
            add_tooltips(drawn, _texts(table, names, value))
            if name in logs:
                axis.set_xscale("log")
            if value == values[-1]:
                axis.set_xlabel(name)
            if value == AUC:
                chance_line(axis)
            axis.spines[["top", "right"]].set_visible(False)
        line[0].set_ylabel(axis_words(value, attack))
    caption_of_means(figure, data, "Every point against each factor")
    return figure


def leakage_against_quality_of_points(data: StudyData, attack: str) -> Figure:
    """Each point's mean AUC against its mean quality; ValueError where none was measured."""
    if data.quality is None:
        raise Refused(f"study {data.name} has no measure of quality")
    names = list(varied(data))
    quality = by_point(data, attack, data.quality).set_index("point")["mean"]
    table = by_point(data, attack, AUC).join(quality.rename("quality"), on="point").dropna(subset=["quality"])
    figure, axis = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    drawn = axis.errorbar(table["quality"], table["mean"], fmt="o", color=COLORS[0], alpha=0.6, markersize=4)
    add_tooltips(drawn, _texts(table, names, AUC))
    chance_line(axis)
    axis.set_xlabel(data.quality)
    axis.set_ylabel(axis_words(AUC, attack))
    caption_of_means(figure, data, "Leakage against quality, a point each")
    return figure


def _texts(table: pd.DataFrame, names: list[str], value: str) -> list[str]:
    return [f"{place(row, names)}: {point_text(row, value)}" for row in table.to_dict("records")]
