"""What all pictures share: panels, looks of lines, legends and captions.

Every point is a mean over replicates with its 95 % interval. Colors are safe for the color-blind (Okabe & Ito). Lines
differ in marker and dashes too, so that a picture printed in gray can be read.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis, YAxis
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator

from analysis.format import point_text
from analysis.stats.inference import AUC, TPR
from analysis.study_data import ARM, VARIANT, StudyData, lower_is_better
from mia_core.metrics.two_way import MIN_REPLICATES
from study.terminal import plain
from study.tracking.pictures import COLORS

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":", "-.")
AXIS = {AUC: "AUC", "advantage": "advantage (TPR - FPR)"}
"""Measures of leakage, in words."""
POSSIBLE = {AUC: (0.0, 1.0), TPR: (0.0, 1.0), "advantage": (-1.0, 1.0)}
"""The values that a measure of leakage can have. Intervals over two replicates reach far beyond."""
LONGEST = 90
"""Characters of a line of text in a picture; what is longer is cut."""
ACROSS = 4
ARROW = "an arrow: the interval goes on to 0 or less"
"""What `to_floor` means, for a caption."""
TOOLTIPS = "tooltips:"
"""Start of the SVG id of points with tooltips. A JSON list follows, one text per point."""


def panels_of_arms(data: StudyData, width: float = 3.2) -> tuple[Figure, dict[tuple, Axes]]:
    """Panels by variant and arm; where some variants have fewer arms, one after the other without empty ones."""
    there = set(data.wide[[VARIANT, ARM]].drop_duplicates().itertuples(index=False, name=None))
    pairs = [pair for pair in product(data.variants, data.arms) if pair in there]
    if len(pairs) == len(data.variants) * len(data.arms):
        return panels(data.variants, data.arms, width)
    figure, grid = panels(pairs, [""], width)
    return figure, {pair: axis for (pair, _), axis in grid.items()}


def panels(rows: Sequence[Any], columns: Sequence[Any], width: float = 3.2) -> tuple[Figure, dict[tuple, Axes]]:
    """A grid of panels with a common y axis, by the words of their row and column.

    A grid of one column is drawn as a row. A row of more than four panels is wrapped into rows of nearly equal length.
    """
    sideways = len(columns) == 1
    groups, line = (columns, rows) if sideways else (rows, columns)
    down = -(-len(line) // ACROSS)
    across = -(-len(line) // down)
    figure, axes = plt.subplots(
        down * len(groups),
        across,
        figsize=(width * across + 0.6, 3.0 * down * len(groups) + 0.6),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    grid = {
        (one, group) if sideways else (group, one): axes[down * above + number // across, number % across]
        for above, group in enumerate(groups)
        for number, one in enumerate(line)
    }
    for unused in set(axes.flat) - set(grid.values()):
        unused.remove()
    return figure, grid


def name_axes(figure: Figure, grid: dict[tuple, Axes], x: str, y: str, prefix: str = "") -> None:
    """Write the names of panels, rows and axes, and one legend for all panels beside them."""
    rows, columns = list(dict.fromkeys(row for row, _ in grid)), list(dict.fromkeys(column for _, column in grid))
    flat = len(rows) == 1 or len(columns) == 1 or len(columns) > ACROSS or len(grid) < len(rows) * len(columns)
    for (row, column), axis in grid.items():
        axis.set_xlabel(x if flat or row == rows[-1] else "")
        if flat:
            axis.set_title(f"{row}, {prefix}{column}" if len(rows) > 1 else f"{prefix}{column}", fontsize="medium")
        elif row == rows[0]:
            axis.set_title(f"{prefix}{column}", fontsize="medium")
        if leftmost(axis):
            axis.set_ylabel(y if flat else f"{row}\n{y}")
        if not (axis.containers or axis.collections):
            axis.text(0.5, 0.5, "not in this study", ha="center", va="center", transform=axis.transAxes, color="0.5")
    legend(figure, grid.values())


def leftmost(axis: Axes) -> bool:
    """Whether a panel is in the first column, whose axis is named."""
    spec = axis.get_subplotspec()
    return spec is not None and spec.is_first_col()


def legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """Draw one legend for all panels, beside them."""
    drawn = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(drawn.values(), drawn.keys(), loc="outside right center", frameon=False, fontsize="small")
    legend_inches = 0.7 + 0.075 * min(LONGEST, max(map(len, drawn)))
    figure.set_figwidth(max(figure.get_figwidth() + legend_inches, 7.0))


def look_of(number: int) -> dict[str, Any]:
    """Color, marker and dashes of a line. Where colors repeat, markers are shifted by one."""
    count = len(COLORS)
    marker = MARKERS[(number + number // count) % len(MARKERS)]
    return {"color": COLORS[number % count], "marker": marker, "linestyle": DASHES[number % len(DASHES)]}


def possible(bound: Any, value: str, is_difference: bool = False) -> Any:
    """A bound of an interval as it is drawn: cut where the measure, or a difference of two of them, cannot be."""
    lowest, highest = POSSIBLE.get(value, (-np.inf, np.inf))
    width = highest - lowest
    return np.clip(bound, *((-width, width) if is_difference else (lowest, highest)))


def draw_points(
    axis: Axes,
    x: pd.Series,
    line: pd.DataFrame,
    number: int,
    label: str,
    value: str = AUC,
    floor: float = -np.inf,
    **look: Any,
) -> None:
    """A line of `means` of a value with its intervals. floor: of `logarithmic`."""
    errors, open_ended = to_floor(line["mean"], possible(line["low"], value), possible(line["high"], value), floor)
    drawn = axis.errorbar(
        x,
        line["mean"],
        yerr=errors,
        uplims=open_ended,
        **look_of(number) | look,
        markersize=5,
        linewidth=1.2,
        elinewidth=0.8,
        capsize=2,
        label=label,
    )
    add_tooltips(drawn, [f"{label}: {point_text(row, value)}" for row in line.to_dict("records")])


def logarithmic(axis: XAxis | YAxis, quality: str, values: pd.Series, low: pd.Series) -> float:
    """Make the axis of a distance logarithmic where all its values are above 0.

    Returns where intervals that reach 0 end on the axis; -inf if the axis stays linear. values, low: of all panels that
    share the axis.
    """
    if not lower_is_better(quality) or not (values > 0).all():
        return -np.inf
    (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())
    return 0.7 * float(min(values.min(), low[low > 0].min() if (low > 0).any() else np.inf))


def label_powers(axis: Axis, marks: Sequence[int] = (1, 2, 5)) -> None:
    """Label a logarithmic axis at these multiples of powers of ten, and nowhere else: others would overlap."""
    axis.set_major_locator(LogLocator(subs=marks))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def to_floor(
    mean: pd.Series, low: pd.Series, high: pd.Series, floor: float
) -> tuple[list[pd.Series], np.ndarray[Any, np.dtype[np.bool_]]]:
    """Lengths of error bars below and above, and which bars end in an arrow at the floor, as they reach 0 or less."""
    below = (low <= 0).to_numpy() & np.isfinite(floor)
    return [mean - low.where(~below, min(floor, mean.min())), high - mean], below


def add_tooltips(drawn: ErrorbarContainer, texts: Sequence[str]) -> None:
    """Give each point a tooltip, which pictures in a page show."""
    assert drawn.lines[0] is not None
    drawn.lines[0].set_gid(TOOLTIPS + json.dumps(list(texts)))


def chance_line(axis: Axes) -> None:
    """Draw a line at AUC 0.5, which is no leakage."""
    axis.axhline(0.5, color="0.6", linewidth=0.8, zorder=0)
    axis.spines[["top", "right"]].set_visible(False)


def caption(figure: Figure, data: StudyData, title: str) -> None:
    """Title, name of the study and number of replicates of a picture with intervals."""
    count = data.replicates
    what = "mean and 95 % interval" if count >= MIN_REPLICATES else "descriptive only, mean and interval"
    what += ", for these records only," if data.public else ""
    finish(figure, f"{title}\n{data.name}: {what} over {count} replicates")


def caption_of_means(figure: Figure, data: StudyData, title: str) -> None:
    """The same for a picture without intervals."""
    count = data.replicates
    finish(figure, f"{title}\n{data.name}: means over {count} replicate{'s' if count > 1 else ''}")


def finish(figure: Figure, title: str) -> None:
    """Write the title, after all other texts, and have every text shown literally.

    Otherwise matplotlib reads text between two dollar signs as mathematics, and SVG cannot hold control characters.
    """
    figure.suptitle(title, fontsize="medium")
    lines = [line for axes in figure.axes for line in (axes.xaxis, axes.yaxis)]
    marks = [tick for line in lines for tick in (*line.majorTicks, *line.minorTicks)]
    ticks = {id(text) for tick in marks for text in (tick.label1, tick.label2)}
    ticks |= {id(text) for line in lines for text in line.get_ticklabels(which="both")}
    for text in figure.findobj(Text):
        if id(text) not in ticks:  # an axis writes those again whenever it is drawn
            text.set_parse_math(False)
            text.set_text(_shown(text.get_text()))
    for line in (line for line in lines if isinstance(line.get_major_locator(), FixedLocator)):
        words = [text.get_text() for text in line.get_ticklabels()]
        shown = [_shown(text).replace("$", r"\$") for text in words]
        if words != shown:
            line.set_ticklabels(shown)


def _shown(text: str) -> str:
    lines = plain(text).split("\n")
    return "\n".join(line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…" for line in lines)


def axis_words(value: str, attack: str) -> str:
    """A measure on an axis: `AUC of white_box`; a measure of quality by its name."""
    return f"{AXIS[value]} of {attack}" if value in AXIS else value
