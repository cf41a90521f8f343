"""Pictures of a study. Every point is a mean over replicates with its 95 % t interval; colors are safe for the
color-blind (Okabe & Ito), and markers repeat what colors say."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.effects import AUC, means
from analysis.study_data import ARM, StudyData

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":", "-.")
AXIS = {AUC: "AUC of {attack}", "advantage": "advantage (TPR - FPR) of {attack}"}


def leakage_over_epochs(data: StudyData, attack: str, value: str = AUC) -> Figure:
    """One panel an arm: leakage against epochs, a line for each training-set size."""
    table = means(data.attack(attack), value, [ARM, "train_size", "epochs"])
    figure, axes = plt.subplots(
        1, len(data.arms), figsize=(3.2 * len(data.arms) + 0.6, 3.4), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, arm in zip(axes[0], data.arms, strict=True):
        panel = table[table[ARM] == arm]
        for number, (size, line) in enumerate(panel.groupby("train_size")):
            _points(axis, line["epochs"], line, number, f"n = {size}")
        axis.set_xscale("log", base=2)
        axis.set_xticks(sorted(set(table["epochs"])), [str(epochs) for epochs in sorted(set(table["epochs"]))])
        axis.minorticks_off()
        axis.set_title(arm)
        axis.set_xlabel("epochs")
        _chance(axis)
    axes[0][0].set_ylabel(AXIS.get(value, value).format(attack=attack))
    axes[0][0].legend(frameon=False, loc="upper left")
    figure.suptitle(_caption(data, "Leakage against epochs, training-set size and defense"))
    return figure


def leakage_against_quality(
    data: StudyData, attack: str, quality: str = "kid_domain_unseen", value: str = AUC
) -> Figure:
    """The trade-off: one panel a training-set size, one path an arm, epochs growing along it (small to large marker).

    Up is more leakage; left is better quality for a distance (kid, fid).
    """
    rows = data.attack(attack)
    by = [ARM, "train_size", "epochs"]
    table = means(rows, value, by).merge(means(rows, quality, by), on=by, suffixes=("", "_quality"))
    sizes = sorted(set(table["train_size"]))
    figure, axes = plt.subplots(
        1, len(sizes), figsize=(4.2 * len(sizes) + 0.6, 3.8), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, size in zip(axes[0], sizes, strict=True):
        for number, arm in enumerate(data.arms):
            path = table[(table["train_size"] == size) & (table[ARM] == arm)].sort_values("epochs")
            color = COLORS[number % len(COLORS)]
            axis.errorbar(
                path["mean_quality"],
                path["mean"],
                xerr=[path["mean_quality"] - path["low_quality"], path["high_quality"] - path["mean_quality"]],
                yerr=[path["mean"] - path["low"], path["high"] - path["mean"]],
                color=color,
                linestyle=DASHES[number % len(DASHES)],
                elinewidth=0.7,
                linewidth=1.2,
                label=arm,
            )
            marks = [20 + 60 * rank / max(1, len(path) - 1) for rank in range(len(path))]
            axis.scatter(
                path["mean_quality"], path["mean"], s=marks, color=color, marker=MARKERS[number % len(MARKERS)]
            )
        axis.set_xscale("log")
        axis.set_title(f"n = {size}")
        axis.set_xlabel(f"{quality} (lower is better)")
        _chance(axis)
    axes[0][0].set_ylabel(AXIS.get(value, value).format(attack=attack))
    axes[0][-1].legend(frameon=False)
    figure.suptitle(_caption(data, "Leakage against sample quality; larger markers are later epochs"))
    return figure


def attacks_compared(data: StudyData, value: str = AUC) -> Figure:
    """All attacks side by side at the last epochs level, one panel an arm."""
    last = data.wide[data.wide["epochs"] == data.wide["epochs"].max()]
    figure, axes = plt.subplots(
        1, len(data.arms), figsize=(3.2 * len(data.arms) + 0.6, 3.4), sharey=True, squeeze=False, layout="constrained"
    )
    for number, attack in enumerate(data.attacks):
        rows = last[last["attack"] == attack]
        if rows.empty:
            continue
        table = means(rows, value, [ARM, "train_size"])
        for axis, arm in zip(axes[0], data.arms, strict=True):
            line = table[table[ARM] == arm]
            _points(axis, line["train_size"] * (1 + 0.03 * number), line, number, attack)
    for axis, arm in zip(axes[0], data.arms, strict=True):
        axis.set_xscale("log", base=2)
        sizes = sorted(set(last["train_size"]))
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.minorticks_off()
        axis.set_title(arm)
        axis.set_xlabel("training-set size n")
        _chance(axis)
    axes[0][0].set_ylabel("AUC" if value == AUC else value)
    axes[0][-1].legend(frameon=False, fontsize="small")
    figure.suptitle(_caption(data, f"Attacks after {last['epochs'].max()} epochs"))
    return figure


def _points(axis: Axes, x: pd.Series, line: pd.DataFrame, number: int, label: str) -> None:
    axis.errorbar(
        x,
        line["mean"],
        yerr=[line["mean"] - line["low"], line["high"] - line["mean"]],
        color=COLORS[number % len(COLORS)],
        marker=MARKERS[number % len(MARKERS)],
        linestyle=DASHES[number % len(DASHES)],
        markersize=5,
        linewidth=1.2,
        elinewidth=0.8,
        capsize=2,
        label=label,
    )


def _chance(axis: Axes) -> None:
    axis.axhline(0.5, color="0.6", linewidth=0.8, zorder=0)
    axis.spines[["top", "right"]].set_visible(False)


def _caption(data: StudyData, title: str) -> str:
    count = data.replicates
    what = "mean and 95 % t interval" if count >= 5 else "descriptive only, mean and t interval"
    return f"{title}\n{data.name}: {what} over {count} replicates"
