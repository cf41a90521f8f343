"""Pictures of a search: its front, its best point so far, and its points against each factor."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from analysis.format import form_of, number, replicates
from analysis.plots.drawing import ACROSS, add_tooltips, caption_of_means, chance_line, label_powers, legend
from analysis.stats.drawn_points import logarithmic, place
from analysis.stats.inference import AUC
from analysis.stats.search_results import Goal, Search
from analysis.study_data import StudyData, lower_is_better
from mia_core.errors import Refused
from study.tracking.pictures import COLORS

BEATEN, BEST = "0.6", COLORS[1]


def front_of_search(data: StudyData, found: Search) -> Figure:
    """Points of a search by two goals at a time, leakage upward.

    Points that no other point beats in all goals are marked, and joined if there are two goals. ValueError for a search
    with one goal, which has no front.
    """
    pairs = [sorted(pair, key=lambda goal: goal.leakage) for pair in combinations(found.goals, 2)]
    if not pairs:
        raise Refused(f"study {data.name} searches for one thing, and has no front")
    figure, axes = _panels(len(pairs), 4.4)
    for (across, up), axis in zip(pairs, axes, strict=True):
        _points(axis, found.with_results, across.name, up.name, found)
        if len(found.goals) == 2:
            best = found.front.sort_values(across.name)
            style = "steps-post" if across.minimized else "steps-pre"
            axis.plot(
                best[across.name], best[up.name], drawstyle=style, color=BEST, linewidth=1, linestyle=":", zorder=0
            )
        axis.set_xlabel(_words(across))
        axis.set_ylabel(_words(up, "\n"))
        if _spans_powers(across, found):
            _logarithmic(axis.set_xscale, axis.xaxis)
        if up.column == AUC:
            chance_line(axis)
    legend(figure, axes)
    caption_of_means(figure, data, "Points that no other point beats in all goals, by the means that the search used")
    return figure


def running_best(data: StudyData, found: Search) -> Figure:
    """The goals of each point in the order of the search, and the best so far, a panel per goal."""
    figure, axes = _panels(len(found.goals), 4.4)
    for goal, axis in zip(found.goals, axes, strict=True):
        _points(axis, found.with_results, "point", goal.name, found)
        best = found.running(goal)
        axis.step(
            found.with_results.loc[best.index, "point"],
            best,
            where="post",
            color=BEST,
            linewidth=1.2,
            label="best so far",
        )
        axis.set_xlabel("point, in the order asked")
        axis.set_ylabel(_words(goal, "\n"))
        if _spans_powers(goal, found):
            _logarithmic(axis.set_yscale, axis.yaxis)
        if goal.column == AUC:
            chance_line(axis)
    legend(figure, axes)
    caption_of_means(figure, data, "Goals of each point, in the order of the search")
    return figure


def goals_by_factor(data: StudyData, found: Search) -> Figure:
    """The goals of each point against each factor: a row per goal, a column per factor."""
    logs = logarithmic(data)
    size = (2.4 * len(found.factors) + 0.8, 2.5 * len(found.goals) + 0.7)
    figure, axes = plt.subplots(
        len(found.goals), len(found.factors), figsize=size, sharex="col", sharey="row", squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for goal, line in zip(found.goals, axes, strict=True):
        for name, axis in zip(found.factors, line, strict=True):
            _points(axis, found.with_results[found.with_results[name].notna()], name, goal.name, found)
            if name in logs:
                _logarithmic(axis.set_xscale, axis.xaxis, (1,))
            if goal == found.goals[-1]:
                axis.set_xlabel(name)
            if goal.column == AUC:
                chance_line(axis)
        if _spans_powers(goal, found):
            _logarithmic(line[0].set_yscale, line[0].yaxis)
        line[0].set_ylabel(_words(goal, "\n"))
    legend(figure, axes.flat)
    caption_of_means(figure, data, "Points of the search against each factor")
    return figure


def _panels(count: int, width: float) -> tuple[Figure, Sequence[Axes]]:
    across = min(count, ACROSS)
    down = -(-count // across)
    figure, axes = plt.subplots(
        down, across, figsize=(width * across + 0.6, 3.2 * down + 0.6), squeeze=False, layout="constrained"
    )
    for unused in axes.flat[count:]:
        unused.remove()
    return figure, list(axes.flat[:count])


def _points(axis: Axes, table: pd.DataFrame, x: str, y: str, found: Search) -> None:
    several = len(found.goals) > 1
    words = {False: "beaten", True: "on the front"} if several else {False: "a point", True: "the best"}
    for best, color, marker in ((False, BEATEN, "o"), (True, BEST, "D")):
        own = table[table["on_front"] == best]
        if len(own):
            drawn = axis.errorbar(own[x], own[y], fmt=marker, color=color, markersize=4.5, alpha=0.8, label=words[best])
            add_tooltips(drawn, [_tooltip(row, found) for row in own.to_dict("records")])
    axis.spines[["top", "right"]].set_visible(False)


def _tooltip(row: Mapping[Any, Any], found: Search) -> str:
    levels = {name: row[name] for name in found.factors if pd.notna(row[name])}
    goals = "; ".join(f"{goal.name} {number(row[goal.name], form_of(goal.column))}" for goal in found.goals)
    return f"point {row['point']}, {place(levels, list(levels))}: {goals}, {replicates(len(row['trials']))}"


def _spans_powers(goal: Goal, found: Search) -> bool:
    """Whether a goal is a distance with values above 0 alone, which a logarithmic axis shows."""
    return not goal.leakage and lower_is_better(goal.column) and bool((found.with_results[goal.name] > 0).all())


def _logarithmic(set_scale: Callable[[str], None], axis: Axis, marks: Sequence[int] = (1, 2, 5)) -> None:
    """Make an axis logarithmic, with ticks at these multiples of powers of ten."""
    set_scale("log")
    label_powers(axis, marks)


def _words(goal: Goal, between: str = " ") -> str:
    return f"{goal.name}{between}({'lower' if goal.minimized else 'higher'} is better)"
