"""All cells at once: parallel coordinates of factors, leakage and quality."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.plots.drawing import caption_of_means, look_of
from analysis.stats.effects import means
from analysis.stats.inference import AUC
from analysis.study_data import ARM, VARIANT, StudyData, lower_is_better

NAMES = {VARIANT: "target", ARM: "arm", "train_size": "n"}


def parallel_coordinates(data: StudyData, attack: str) -> Figure:
    """One line per cell, with the color and dashes of its arm. Axes: each factor with several levels, AUC, quality.

    The levels of a factor are drawn at equal distances, so that none hides another. A distance (KID, FID) has a
    logarithmic axis.
    """
    table = means(data, data.attack(attack), AUC, data.cell).rename(columns={"mean": f"AUC of {attack}"})
    measured = [f"AUC of {attack}"]
    if data.quality:
        found = means(data, data.attack(attack), data.quality, data.cell)[[*data.cell, "mean"]]
        table = table.merge(found.rename(columns={"mean": data.quality}), on=list(data.cell), how="left")
        measured.append(data.quality)
    factors = [name for name in data.cell if table[name].nunique() > 1]
    axes = [*factors, *measured]
    figure, axis = plt.subplots(figsize=(1.8 * len(axes) + 1.5, 3.6), layout="constrained")
    arms = {arm: number for number, arm in enumerate(data.arms)}
    table = table.sort_values(ARM, key=lambda column: column.map(arms), kind="stable", ignore_index=True)
    places = {name: _places(table[name], data) for name in axes}
    named = set()
    for number, row in enumerate(table.to_dict("records")):
        look = look_of(arms[row[ARM]])
        y = [places[name][0].iloc[number] for name in axes]
        label = None if row[ARM] in named else row[ARM]
        named.add(row[ARM])
        axis.plot(range(len(axes)), y, **look, markersize=4, linewidth=0.9, alpha=0.8, label=label)
    for x, name in enumerate(axes):
        axis.axvline(x, color="0.7", linewidth=0.8, zorder=0)
        for place, text in places[name][1].items():
            written = axis.text(x - 0.03, place, text, ha="right", va="center", fontsize=8, color="0.1")
            written.set_bbox({"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.6})
    axis.set_xticks(range(len(axes)), [f"{NAMES.get(name, name)}{places[name][2]}" for name in axes])
    axis.set_xlim(-0.6, len(axes) - 0.7)
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    axis.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    caption_of_means(figure, data, "Every cell: its factors, leakage and quality")
    return figure


def _places(values: pd.Series, data: StudyData) -> tuple[pd.Series, dict[float, str], str]:
    """Heights in [0, 1], the texts of ticks by height, and what is added to the axis' name."""
    if values.name in data.cell:
        words = {ARM: data.arms, VARIANT: data.variants}.get(str(values.name), sorted(set(values)))
        levels = [level for level in words if level in set(values)]
        heights = {level: number / max(1, len(levels) - 1) for number, level in enumerate(levels)}
        return values.map(heights), {heights[level]: str(level) for level in levels}, ""
    powers = values.name == data.quality and lower_is_better(str(values.name)) and bool((values > 0).all())
    scaled = np.log(values) if powers else values
    low, high = scaled.min(), scaled.max()
    ticks = np.linspace(low, high, 5)
    span = high - low or 1
    texts = [f"{np.exp(tick):.2g}" if powers else f"{tick:.2f}" for tick in ticks]
    places = {float((tick - low) / span): text for tick, text in zip(ticks, texts, strict=True)}
    return (scaled - low) / span, places, " (log)" if powers else ""
