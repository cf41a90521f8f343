"""A search's report: its verdict, key numbers, and sections, in place of those that estimate effects."""

import shlex
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis import plots
from analysis.format import epsilon as epsilon_words
from analysis.format import estimate, form_of
from analysis.format import number as number_words
from analysis.report.headline import Sentence, Verdict, doubts, failures, judged
from analysis.report.page import Block, Cell, Code, Facts, Row, Section, Table, Text, Tile
from analysis.report.provenance import Number, at
from analysis.report.sections import CELLS, cell_of, picture, ran
from analysis.report.sources import Cited
from analysis.stats.drawn_points import left_out, place, search_words, varied
from analysis.stats.guarantees import per_unit
from analysis.stats.search_results import Goal, Search
from analysis.stats.summary import about_intervals
from analysis.study_data import StudyData, short

OPTIMISTIC = "A search favors what came out well by chance, so values of its best points are optimistic."
NAMED = 3
"""So many goals, and confirmed values, are in the verdict."""
OTHER_NETWORK = (
    "A confirming study trains its own feature network on other reference records: what is measured on it (KID, FID, "
    "coverage) is on another scale than in the search."
)


def verdict(
    data: StudyData,
    controls: pd.DataFrame,
    audits: pd.DataFrame,
    missing: int,
    found: Search,
    fresh: pd.DataFrame,
) -> Verdict:
    """As `headline.verdict`; its start is the first goal where it is best.

    found, fresh: of `analysis.stats.search_results`.
    """
    sentences: tuple[Sentence, ...] = ((left_out(data),), _front(data, found), _confirmed(found, fresh))
    unsure = [OPTIMISTIC, *doubts(data, controls, missing)]
    standing, reasons, sentences = judged(sentences, failures(controls, audits), unsure)
    best = _number(data, found.goals[0], _best(found)) if len(found.with_results) else None
    start = best or at(data, "auc", data.attacks[0], data.wide["trial_id"].head(1).tolist(), "the first trial")
    assert start is not None
    return Verdict(standing, reasons, sentences, start.attack, {}, {}, start, None, ())


def about(data: StudyData) -> str:
    """What was run, in a paragraph."""
    words = ran(data, sorted(set(data.wide["target"])), [f"a search, {search_words(data)}"])
    return f"{words} Intervals are of 95 %. {about_intervals(data)}"


def tiles(data: StudyData, found: Search) -> list[Tile]:
    """The best of each goal."""
    shown = []
    for goal in found.goals if len(found.with_results) else ():
        row = _best(found, goal)
        number = _number(data, goal, row)
        if number:
            where = f"point {row['point']}, {_place(found, row)}"
            shown.append(
                Tile(
                    f"Best {goal.name}",
                    Cited(number.short, number.source),
                    (f"{where}; chosen by this value",),
                )
            )
    return shown


def front(data: StudyData, found: Search) -> Section:
    """What no other point beats, and how the search came to it."""
    facts = {"search": search_words(data), **varied(data), "with results": f"{len(found.with_results)} points"}
    blocks: list[Block] = [Facts(facts)]
    if len(found.with_results):
        if len(found.goals) > 1:
            two = len(found.goals) == 2
            steps = "The dotted steps join the points that no other beats." if two else "Each panel shows two goals."
            blocks.append(
                picture(plots.front_of_search(data, found), "search-front", "Every point by what the search looked for",
                        f"{steps} Point at a marker for its levels.")
            )  # fmt: skip
        best = found.front.to_dict("records")
        caption = (
            f"{'The front' if len(found.goals) > 1 else 'The best'}: {len(best)} of {len(found.with_results)} points"
        )
        blocks.append(_table(data, found, "front-table", caption, best))
        blocks.append(
            picture(plots.running_best(data, found), "running", "Each goal point by point, and the best so far",
                    "A line that is flat at its end says that more points may find little more.")
        )  # fmt: skip
    return Section("front", "What the search found", blocks)


def confirmation(data: StudyData, found: Search, fresh: pd.DataFrame) -> Section:
    """What fresh replicates say of points, beside the values that the search used; else how to get them."""
    ask = f"{shlex.join(['mia-study', 'search', short(data.store), '--confirm', 'POINT'])} > confirm.json"
    code = Code(f"{ask}\nmia-study sweep confirm.json", "Commands that confirm a point")
    if fresh.empty:
        return Section("confirmed", "What fresh replicates say", [Text((_confirmed(found, fresh)[0],)), code])
    rows = [
        Row([Cell(str(row["point"]), value=row["point"]), Cell(row["goal"]),
             Cell(_searched(found, row), value=row["searched"]), Cell(_fresh(found, row), value=row["mean"]),
             Cell(str(row["replicates"])), Cell(row["study"])])
        for row in fresh.to_dict("records")
    ]  # fmt: skip
    columns = ["point", "goal", "in the search", "in fresh replicates [95 %]", "replicates", "study"]
    caption = "The search chose by the values at the left; those at the right come from replicates it has not seen"
    blocks: list[Block] = [Table("confirmed-table", caption, columns, rows)]
    if not all(goal.leakage for goal in found.goals):
        blocks.append(Text((OTHER_NETWORK,)))
    return Section("confirmed", "What fresh replicates say", [*blocks, code])


def by_factor(data: StudyData, found: Search) -> Section | None:
    """Where the search looked; None before any point has results."""
    if found.with_results.empty:
        return None
    blocks: list[Block] = [
        Text(("The search asks where results were good, so that what these pictures seem to show of a factor is mixed "
              "with where it looked: they are no effects.",)),
        picture(plots.goals_by_factor(data, found), "by-factor", "What came out by each factor",
                "Point at a marker for its levels. A defense's setting is shown for the points that have the defense."),
    ]  # fmt: skip
    return Section("by-factor", "Where it looked", blocks)


def points(data: StudyData, found: Search) -> Section:
    """Every point, in the order asked."""
    shown = found.table.head(CELLS).to_dict("records")
    caption = f"{len(shown)} of {len(found.table)} points, in the order asked; means with 95 % intervals"
    table = _table(data, found, "points-table", caption, shown)
    return Section("every-point", "Every point", [table])


def _table(data: StudyData, found: Search, name: str, caption: str, rows: Sequence[dict[Any, Any]]) -> Table:
    epsilon = data.wide.groupby("trial_id")["epsilon"].first()
    lines = []
    for row in rows:
        levels = [_level(row[factor]) for factor in found.factors]
        cells = [Cell(str(row["point"]), value=row["point"]), *levels]
        lacking = pd.isna(row[found.goals[0].name])
        cells += [Cell("-") if lacking else cell_of(_number(data, goal, row)) for goal in found.goals]
        if data.private:
            value = epsilon.reindex(row["trials"]).mean()
            cells.append(Cell(epsilon_words(value), value=1e9 if pd.isna(value) else value))
        cells.append(Cell("no result" if lacking else "on it" if row["on_front"] else ""))
        lines.append(Row([*cells, Cell(str(len(row["trials"])))]))
    guarantee = [f"epsilon {per_unit(data)}"] if data.private else []
    columns = ["point", *found.factors, *(goal.name for goal in found.goals), *guarantee, "front", "replicates"]
    return Table(name, caption, columns, lines, filter=name == "points-table")


def _level(level: Any) -> Cell:
    if pd.isna(level):
        return Cell("-")
    return Cell(f"{level:g}", value=level) if isinstance(level, float) else Cell(str(level))


def _number(data: StudyData, goal: Goal, row: dict[Any, Any]) -> Number | None:
    return at(data, goal.column, goal.attack, row["trials"], f"point {row['point']} of the search")


def _best(found: Search, goal: Goal | None = None) -> dict[Any, Any]:
    """The point of the front that is best in one goal, by default the first."""
    goal = goal or found.goals[0]
    return found.front.sort_values(goal.name, ascending=goal.minimized, kind="stable").iloc[0].to_dict()


def _place(found: Search, row: dict[Any, Any]) -> str:
    return place(row, [name for name in found.factors if pd.notna(row[name])])


def _front(data: StudyData, found: Search) -> Sentence:
    if found.with_results.empty:
        return ("No point has all of its results yet.",)
    if len(found.goals) == 1:
        goal, best = found.goals[0], _best(found)
        number = _number(data, goal, best)
        of, point = len(found.with_results), f"point {best['point']} ({_place(found, best)})"
        where = f"The best of {of} points in {goal.name} is {point}"
        return (f"{where}, with ", number, ".") if number else (f"{where}.",)
    shown = found.goals[:NAMED]
    ends = {row["point"]: row for row in (_best(found, goal) for goal in shown)}
    are = "is" if len(found.front) == 1 else "are"
    parts: list[str | Number] = [
        f"{len(found.front)} of {len(found.with_results)} points {are} beaten by no other in "
        f"{' and '.join(goal.name for goal in found.goals)}: "
    ]
    for rank, row in enumerate(ends.values()):
        parts.append(f"{', ' if rank else ''}point {row['point']} with ")
        for goal in shown:
            parts += ["" if goal == shown[0] else " and ", _number(data, goal, row) or "no value"]
    return (*parts, ".")


def _confirmed(found: Search, fresh: pd.DataFrame) -> Sentence:
    if fresh.empty:
        return ("No point was confirmed yet: a study of one, under another seed, shows what these values are worth.",)
    leaks = fresh[fresh["goal"].isin([goal.name for goal in found.goals if goal.leakage])]
    shown = leaks if len(leaks) else fresh
    texts = [
        f"{row['goal']} of point {row['point']} is {_fresh(found, row)} there, "
        f"and was {_searched(found, row)} in the search"
        for row in shown.head(NAMED).to_dict("records")
    ]
    return (f"Fresh replicates, which the search has not seen: {'; '.join(texts)}.",)


def _fresh(found: Search, row: dict[Any, Any]) -> str:
    return estimate(row, _column(found, row["goal"]))


def _searched(found: Search, row: dict[Any, Any]) -> str:
    return number_words(row["searched"], form_of(_column(found, row["goal"])))


def _column(found: Search, name: str) -> str:
    return next(goal.column for goal in found.goals if goal.name == name)
