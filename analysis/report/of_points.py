"""A study that draws its points: its verdict, key numbers, and sections, in place of those that need a grid of cells.

The verdict is about the range of leakage over the points, and which factor moves leakage and quality most.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis import plots
from analysis.format import share
from analysis.report.headline import Sentence, Verdict, attacker, doubts, failures, judged
from analysis.report.page import Block, Cell, Facts, Row, Section, Table, Text, Tile
from analysis.report.provenance import Number, at
from analysis.report.sections import CELLS, cell_of, picture, plain, ran
from analysis.report.shown import DATA, call
from analysis.report.sources import Cited, Source, source
from analysis.report.variance_shares import index_source, influence_table
from analysis.stats.drawn_points import LEFT_OUT, Influence, by_point, design_words, place, varied
from analysis.stats.indices import RESAMPLES
from analysis.stats.inference import AUC
from analysis.stats.summary import about_intervals
from analysis.study_data import StudyData, lower_is_better, words_of_measure


def verdict(
    data: StudyData, controls: pd.DataFrame, audits: pd.DataFrame, missing: int, found: Sequence[Influence]
) -> Verdict:
    """As `headline.verdict`; its start is the most leaking point. found: of `stats.drawn_points`."""
    attack = data.primary
    trials = by_point(data, attack, AUC).sort_values("mean")["trials"].tolist()
    low, start = ends(data, attack)
    sentences = (_range(attacker(data, attack), len(trials), low, start), *map(_what_moves, found))
    if data.quality is None:
        sentences = (*sentences, ("No quality was measured.",))
    unsure = [*doubts(data, controls, missing), *(words for one in found for words in one.doubts())]
    standing, reasons, sentences = judged(sentences, failures(controls, audits), unsure)
    rows = data.attack(attack)
    cell = rows[rows["trial_id"] == trials[-1][0]][list(data.cell)].to_dict("records")[0]
    quality = at(data, data.quality, attack, trials[-1], "the most leaking point") if data.quality else None
    return Verdict(standing, reasons, sentences, attack, cell, cell, start, quality, ())


def ends(data: StudyData, attack: str) -> tuple[Number, Number]:
    """Leakage at the least and at the most leaking point."""
    rows, names = by_point(data, attack, AUC).sort_values("mean").to_dict("records"), list(varied(data))
    low, high = (
        at(data, AUC, attack, row["trials"], f"point {row['point']}, {place(row, names)}")
        for row in (rows[0], rows[-1])
    )
    assert low is not None and high is not None
    return low, high


def _range(attacker: str, count: int, low: Number, high: Number) -> Sentence:
    who = attacker[0].upper() + attacker[1:]
    return (
        f"{who}, shown one training record and one other, tells which is the training record with probability ",
        low, f" at the least leaking of {count} points and ", high, " at the most leaking one; guessing gives 0.50. "
        "Both are chosen by what came out, so that the range looks wider than it is.",
    )  # fmt: skip


def _what_moves(one: Influence) -> Sentence:
    if one.reason:
        return (f"What moves {one.words} is not known: {one.reason}.",)
    first, others = one.ranked.iloc[0], one.ranked.iloc[1:]
    share = f"{first['factor']} has {_share(first)} of the points' variance ({_index(one)})"
    if others.empty:
        return (f"One factor varies, and of {one.words} {share}.",)
    second = f"{others.iloc[0]['factor']} {_share(others.iloc[0])}"
    if one.settled:
        return (f"What moves {one.words} most is {first['factor']}: it{share.removeprefix(first['factor'])}; next is "
                f"{second}.",)  # fmt: skip
    return (f"Which factor moves {one.words} most is not settled by these points: {share}, the next, {second}, and "
            "the first interval overlaps another factor's or reaches 0.",)  # fmt: skip


def _share(row: pd.Series) -> str:
    return share(row["estimate"], row["low"], row["high"])


def _index(one: Influence) -> str:
    return {"sobol": "total Sobol index", "fanova": "fANOVA importance"}[one.table["method"].iloc[0]]


def about(data: StudyData) -> str:
    """What was run, in a paragraph."""
    words = ran(data, sorted(set(data.wide["target"])), [design_words(data)])
    return f"{words} {about_intervals(data)} Intervals of indices are over points drawn again."


def tiles(data: StudyData, found: Verdict, moved: Sequence[Influence]) -> list[Tile]:
    """Key numbers."""
    low, high = ends(data, found.attack)
    shown = [
        Tile(f"AUC, {name} leaking point", Cited(end.short, end.source), (end.what.partition(", ")[2] + more,))
        for name, end, more in (("most", high, ". Chance is 0.5"), ("least", low, ""))
    ]
    for one in moved:
        if not one.reason:
            first = one.ranked.iloc[0]
            order = "the most of all factors" if one.settled else "that it is the most of all factors is not settled"
            more = f"share of variance ({_index(one)}); {order}"
            origin = index_source(data, found.attack, one)
            shown.append(Tile(f"{one.words} by {first['factor']}", Cited(_share(first), origin), (more,)))
    return shown


def influence(data: StudyData, found: Verdict, moved: Sequence[Influence]) -> Section:
    """Indices, in a picture and as a table, and how they are computed again."""
    blocks: list[Block] = [Text((LEFT_OUT,)), Facts({"design": design_words(data), **varied(data)})]
    explained = [one for one in moved if not one.reason]
    blocks += [Text((words,)) for one in moved if one.reason for words in one.doubts()]
    if explained:
        origins = [index_source(data, found.attack, one) for one in explained]
        blocks.append(
            picture(
                plots.influence(data, explained, found.attack),
                "indices",
                "Indices of each factor with 95 % intervals",
                _how_to_read(explained[0]),
            )
        )
        blocks.append(influence_table("indices-table", "Shares of the points' variance", explained, origins))
    blocks.append(
        picture(plots.against_factors(data, found.attack), "points", "AUC and quality of each point by each factor",
                "Point at a marker for its levels, mean, interval and replicates. The gray line is chance.",
                _of_points(data, found.attack, AUC))
    )  # fmt: skip
    return Section("influence", "Which factor moves it", blocks)


def tradeoff(data: StudyData, found: Verdict) -> Section | None:
    """Leakage against quality; None without a measure of quality."""
    if data.quality is None:
        return None
    better = "lower is better" if lower_is_better(data.quality) else "higher is better"
    figure = plots.leakage_against_quality_of_points(data, found.attack)
    caption = f"Quality is {words_of_measure(data.quality)}; {better}. Point at a marker for its levels."
    words = "AUC against quality, a marker a point"
    origin = _of_points(data, found.attack, data.quality)
    return Section("tradeoff", "What quality costs", [picture(figure, "points-quality", words, caption, origin)])


def _of_points(data: StudyData, attack: str, value: str) -> Source:
    return source(data, attack, data.attack(attack), f"picture: {value}", call("by_point", DATA, attack, value))


def _how_to_read(one: Influence) -> str:
    size = f"{one.table['points'].iloc[0]} points, means over {one.table['replicates'].iloc[0]} replicates. "
    noise = "Gray: the share that is noise of replicates, which no factor explains. " if one.noise is not None else ""
    if one.table["method"].iloc[0] == "sobol":
        taken = ", noise subtracted" if one.noise is not None else ""
        return (
            f"{size}Filled: the share of variance that is lost when the factor is fixed, interactions included{taken}; "
            f"hollow: the share that the factor explains by itself. {noise}Intervals are from {RESAMPLES} draws of the "
            "base points again; with few of them, estimates may fall outside of 0 to 1 by chance."
        )
    return (
        f"{size}Shares of the points' variance that a random forest predicts of points left out of its fit (out-of-bag "
        f"R2 = {one.predicted:.2f}), by factor. Also gray: what it does not predict, which is noise and what so few "
        f"points cannot show. {noise}Intervals are from random halves of the points, and approximate. With few points "
        "a forest gives strong factors too much and weak ones too little."
    )


def points(data: StudyData, found: Verdict) -> Section:
    """Every point."""
    attack, names = found.attack, list(varied(data))
    table = by_point(data, attack, AUC)
    rows = [_row(data, attack, row, names) for row in table.head(CELLS).to_dict("records")]
    quality = [data.quality] if data.quality else []
    columns = ["point", *names, f"AUC of {attack}", *quality, "replicates"]
    caption = f"{len(rows)} of {len(table)} points, means with 95 % intervals. {about_intervals(data)}"
    return Section("every-point", "Every point", [Table("points-table", caption, columns, rows, filter=True)])


def _row(data: StudyData, attack: str, row: dict[Any, Any], names: list[str]) -> Row:
    what = f"point {row['point']}, {place(row, names)}"
    numbers = [at(data, column, attack, row["trials"], what) for column in (AUC, data.quality) if column]
    levels = [Cell(str(row[name]), value=None if isinstance(row[name], str) else row[name]) for name in names]
    replicates = plain(row["replicates"], origin=numbers[0].source if numbers[0] else None)
    return Row([Cell(str(row["point"]), value=row["point"]), *levels, *map(cell_of, numbers), replicates])
