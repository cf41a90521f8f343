"""Sections that answer: what each factor changes, and what protection costs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis import plots
from analysis.format import (
    EFFECT,
    P_HOLM,
    P,
    effect,
    estimate,
    more_replicates,
    p_value,
    texts_of_effect,
)
from analysis.report.headline import Verdict
from analysis.report.page import Block, Cell, Choice, Heading, Row, Section, Table, Text
from analysis.report.provenance import in_cell
from analysis.report.sections import CELLS, NAMES, drawable, picture, plain, words_of
from analysis.report.shown import DATA, Shown, call
from analysis.report.sources import Cited, Source, of_cells, of_columns, of_picture, source
from analysis.report.variance_shares import index_source, influence_table
from analysis.sentences import filled
from analysis.stats.cells import cells
from analysis.stats.declared import declared, family_of, replicates_needed
from analysis.stats.drawn_points import influences
from analysis.stats.inference import AUC
from analysis.stats.scaling import against_size, onset, size_curve
from analysis.stats.sensitivity import LOGARITHMIC, interactions, main_effects
from analysis.stats.summary import equal_steps
from analysis.stats.tradeoff import best_quality, equal_quality, front, least_leakage
from analysis.study_data import ARM, VARIANT, StudyData, lower_is_better, words_of_measure

LIMITS = 15
"""Limits that a slider offers at most."""


def changes(data: StudyData, verdict: Verdict) -> Section:
    """Effects: declared ones corrected, all others exploratory."""
    blocks: list[Block] = []
    contrasts = declared(data)
    family = family_of(data, len(contrasts))
    needed = replicates_needed(contrasts, family).dropna(subset=["effect"])
    if len(needed):
        blocks.append(
            picture(plots.forest(data, needed), "forest", "Declared contrasts with 95 % intervals",
                    "Differences inside replicates, where members, initialization and data order are the same. Left of "
                    f"zero is less leakage. {_how_declared(data)}")
        )  # fmt: skip
        blocks.append(_declared(data, needed, call("replicates_needed", call("declared", DATA), family)))
    budget = data.budget
    if drawable(data) and data.wide[budget].nunique() > 1 and data.wide["train_size"].nunique() > 1:
        blocks.append(
            picture(plots.heatmap(data, verdict.attack), "heatmap", f"Mean AUC over size and {budget}, a panel an arm",
                    f"How training-set size and {budget} act together: where they act independently, every row has "
                    "the same shades.", of_picture(data, f"size and {budget}", [verdict.attack]))
        )  # fmt: skip
    effects = main_effects(data, verdict.attack).dropna(subset=["effect"])
    if len(effects):
        caption = "Main effects, averaged over all other factors (exploratory)"
        blocks.append(_effects(data, verdict.attack, "main-effects", caption, effects))
    together = interactions(data, verdict.attack).dropna(subset=["effect"])
    if len(together):
        caption = "Interactions: how one factor changes another's effect (exploratory)"
        blocks.append(_effects(data, verdict.attack, "interactions", caption, together))
    moved = influences(data, verdict.attack)
    origins = [index_source(data, verdict.attack, one) for one in moved]
    shares = influence_table("shares", "Shares of the cells' variance (exploratory)", moved, origins)
    if len(shares.rows):
        blocks.append(shares)
    if not blocks:
        blocks.append(Text(filled("nothing to compare")))
    return Section("changes", "What changes it", blocks)


def _how_declared(data: StudyData) -> str:
    """When the contrasts were declared, and how they are corrected."""
    declaration = data.declaration
    spec = f" in spec {declaration.hash}" if declaration else ""
    return (
        f"Declared before any result{spec}, and corrected together (Holm) and for looks: this is look {data.looks} at "
        "a growing study."
    )


def _declared(data: StudyData, table: pd.DataFrame, code: Shown) -> Table:
    """code: Python that gives the table."""
    matrix = cells(data, data.primary, AUC, data.cell)
    rows = []
    for row in table.to_dict("records"):
        ends = [{**{name: row[name] for name in data.cell}, row["factor"]: row[end]} for end in ("level", "baseline")]
        used = of_columns(
            data,
            data.primary,
            matrix,
            pd.MultiIndex.from_tuples([tuple(end.values()) for end in ends], names=data.cell),
        )
        origin = source(data, data.primary, used, f"declared contrast: {row['contrast']}", code)
        known = pd.notna(row["needed"]) and not row["settled"]
        more = plain(more_replicates(row), origin=origin if known else None)
        rows.append(Row([Cell(row["contrast"]), *_effect(row, AUC, "p_holm", origin), more]))
    columns = ["contrast", EFFECT, P_HOLM, "replicates", "would settle"]
    return Table("declared-table", "Declared contrasts; the last column: replicates for 80 % power", columns, rows)


def _effects(data: StudyData, attack: str, name: str, caption: str, table: pd.DataFrame) -> Table:
    matrix = cells(data, attack, AUC)
    function = name.replace("-", "_")
    rows = []
    for row in table.to_dict("records"):
        linear = row.get("kind") == "linear"
        factors = [(row["factor"], row["level"], row["baseline"])]
        factors += [(row["by"], row["by_level"], row["by_baseline"])] if "by" in row else []
        what = ", by ".join(_contrasted(*one, linear) for one in factors)
        terms = {factor: data.factors[factor] if linear else ends for factor, *ends in factors}
        used = of_cells(data, attack, matrix, terms)
        origin = source(data, attack, used, f"{what}: AUC of {attack}", call(function, DATA, attack))
        rows.append(Row([Cell(what), *_effect(row, AUC, "p", origin)]))
    return Table(name, caption, ["effect", EFFECT, P, "replicates"], rows, folded=True)


def _contrasted(factor: str, level: Any, baseline: Any, linear: bool) -> str:
    """A level of a factor against another one; or what a slope is over, where all levels are."""
    name = NAMES.get(factor, factor)
    if linear:
        return f"each doubling of {name}" if factor in LOGARITHMIC else f"each unit of {name}"
    return f"{name}: {level} against {baseline}"


def _effect(row: dict[Any, Any], value: str, p: str, origin: Source) -> list[Cell]:
    """The words of an effect in cells that say where they come from: difference, p, replicates."""
    sorted_by = (row["effect"], row[p], row["replicates"])
    texts = texts_of_effect(row, value, p).values()
    return [_cited(text, number, origin) for text, number in zip(texts, sorted_by, strict=True)]


def _cited(text: str, number: Any, origin: Source) -> Cell:
    """A number in words; a dash has no source."""
    if pd.isna(number):
        return Cell(text)
    return Cell(number=Cited(text, origin), value=float(number))


def tradeoff(data: StudyData, verdict: Verdict) -> Section | None:
    """What a defense costs; None without a measure of quality."""
    if data.quality is None:
        return None
    attack = verdict.attack
    better = "lower is better" if lower_is_better(data.quality) else "higher is better"
    blocks: list[Block] = [
        Text((
            f"Quality is {words_of_measure(data.quality)} ({data.quality}); {better}. A defense that only slows "
            "training moves along the path of the undefended arm: stopping early is the defense to beat.",
        ))
    ]  # fmt: skip
    if drawable(data):
        blocks.append(
            picture(plots.leakage_against_quality(data, attack), "quality", "AUC against quality, a line an arm",
                    f"Down and left is better. {data.budget.capitalize()} grow along each line, from small to large "
                    "markers.", of_picture(data, "AUC and quality", [attack]))
        )  # fmt: skip
        table = front(data, attack)
        if len(table):
            blocks.append(
                picture(plots.front(data, table, attack), "front", "The front of leakage and quality",
                        "The dotted steps join cells that no other one beats in both by its means. Hollow: another "
                        "cell is shown to be better in both, corrected for all cells that it was compared with; the "
                        "paler, the surer. Point at a cell for more.",
                        source(data, attack, data.attack(attack), "picture: front", call("front", DATA, attack)))
            )  # fmt: skip
    blocks += _choices(data, attack)
    equal = equal_quality(data, attack)
    compared = equal[equal["effect"].notna()].sort_values("p_holm", kind="stable")
    if len(compared):
        rows = []
        for row in compared.head(CELLS).to_dict("records"):
            origin = _of_path(data, attack, row)
            rows.append(
                Row([Cell(words_of(data, row)), plain(row["quality"], origin=origin),
                     plain(row[f"at_{data.budget}"], ".0f", origin), *_effect(row, AUC, "p_holm", origin)])
            )  # fmt: skip
        columns = ["cell", str(data.quality), f"undefended, after {data.budget}", EFFECT, P_HOLM, "replicates"]
        caption = (
            "AUC less that of the undefended arm stopped where its quality is the same: below 0, the defense does "
            f"more than stopping early would. All cells that have an equal are one family; "
            f"{len(equal) - len(compared)} have none"
        )
        blocks.append(Table("equal-quality", caption, columns, rows))
    if drawable(data):
        figure = plots.parallel_coordinates(data, attack)
        caption = "One line a cell: its levels, then its mean AUC and quality."
        origin = of_picture(data, "parallel coordinates", [attack])
        blocks.append(picture(figure, "parallel", "Parallel coordinates of all cells", caption, origin))
    return Section("tradeoff", "What protects, and at what cost", blocks)


def _of_path(data: StudyData, attack: str, row: dict[Any, Any]) -> Source:
    """Of a cell and all levels of the undefended training that it is compared with."""
    rows = data.attack(attack).dropna(subset=[AUC, str(data.quality)])
    path = in_cell(rows, {VARIANT: row[VARIANT], ARM: data.arms[0], "train_size": row["train_size"]})
    used = _whole(pd.concat([in_cell(rows, {name: row[name] for name in data.cell}), path]))
    what = f"{words_of(data, row)}, against the undefended training: AUC of {attack}, {data.quality}"
    return source(data, attack, used, what, call("equal_quality", DATA, attack))


def _whole(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the replicates that have all of the cells, where any has."""
    counts = rows["replicate"].value_counts()
    return rows[rows["replicate"].isin(counts[counts == counts.max()].index)]


@dataclass(frozen=True)
class Limit:
    """What a slider limits: its name in the page, its question, the column. columns: heads of what it answers."""

    name: str
    question: str
    column: str
    columns: tuple[str, str]


def _choices(data: StudyData, attack: str) -> list[Block]:
    """Two sliders: the least leakage under a limit of quality, the best quality under one of leakage."""
    quality = str(data.quality)
    bound = "at most" if lower_is_better(quality) else "at least"
    found = [
        Heading("The least leakage that keeps quality"),
        _choice(
            data,
            attack,
            Limit("least", f"Let {quality} be {bound}", quality, (f"AUC of {attack}", quality)),
            lambda limit: least_leakage(data, attack, limit),
            lambda limit: call("least_leakage", DATA, attack, limit),
        ),
        Heading("The best quality that keeps leakage low"),
        _choice(
            data,
            attack,
            Limit("best", f"Let the AUC of {attack} be at most", AUC, (f"AUC of {attack}", quality)),
            lambda limit: best_quality(data, attack, limit),
            lambda limit: call("best_quality", DATA, attack, limit),
        ),
    ]
    return [block for block in found if block is not None]


def _choice(
    data: StudyData, attack: str, of: Limit, answer: Callable[[float], pd.DataFrame], code: Callable[[float], Shown]
) -> Choice | None:
    """answer: the cells to choose under a limit; code: Python that gives them."""
    rows = data.attack(attack).dropna(subset=[AUC, of.column, str(data.quality)])
    means = rows.groupby(list(data.cell))[of.column].mean()
    limits = sorted({float(f"{value:.2g}") for value in np.quantile(means, np.linspace(0.1, 1, LIMITS))})
    lines = []
    for limit in limits:
        for row in answer(limit).to_dict("records"):
            line = [Cell(f"{limit:g}", value=limit), Cell(str(row["train_size"]))]
            if row[ARM] is None or pd.isna(row[ARM]):
                line += [Cell(str(row["reason"] or "no cell keeps to it")), *[Cell("-")] * 4]
            else:
                used = in_cell(_whole(in_cell(rows, {"train_size": row["train_size"]})), {n: row[n] for n in data.cell})
                what = f"{words_of(data, row)}, of {row['candidates']} cells to choose from: {' and '.join(of.columns)}"
                origin = source(data, attack, used, what, code(limit))
                place = f"{row[ARM]}, {row[data.budget]:.0f} {data.budget}"
                line += [
                    Cell(f"{row[VARIANT]}, {place}" if len(data.variants) > 1 else place),
                    _cited(estimate(row, AUC, "leakage"), row["leakage"], origin),
                    _cited(estimate(row, str(data.quality), "quality"), row["quality"], origin),
                    _how_sure(row, origin),
                    plain(row["replicates"], origin=origin),
                ]
            lines.append(Row(line))
    if not lines:
        return None
    caption = "Intervals hold after having been chosen among all cells of that n; replicates as in every cell"
    columns = ["limit", "n", "choose", *of.columns, "kept to the limit", "replicates"]
    return Choice(of.question, Table(f"{of.name}-table", caption, columns, lines), start=len(limits) // 3)


def _how_sure(row: dict[Any, Any], origin: Source) -> Cell:
    """Whether a chosen cell is shown to keep to its limit. The chance that the mean of all replicates to come does."""
    if row["shown"]:
        return Cell("shown")
    sure = "" if pd.isna(row["confidence"]) else f", {row['confidence']:.0%} sure"
    return Cell(number=Cited(f"by its mean{sure}", origin))


def scaling(data: StudyData, verdict: Verdict) -> Section | None:
    """Leakage against n; None for a single size."""
    if data.wide["train_size"].nunique() < 2 or not drawable(data):
        return None
    attack = verdict.attack
    sizes = data.wide["train_size"].nunique()
    joins = "joins two sizes and cannot show a curve" if sizes == 2 else "is fitted inside replicates"
    figure = plots.leakage_against_size(data, attack, size_curve(data, attack))
    blocks: list[Block] = [
        picture(figure, "scaling", "AUC against training-set size",
                f"Points are cells; the line, over log n, {joins}. Bands are 95 %.",
                of_picture(data, "AUC over n", [attack])),
        *(Text((words,)) for words in equal_steps(data)),
    ]  # fmt: skip
    slopes = against_size(data, attack)
    curved = bool(slopes["lack_of_fit"].notna().any())
    rows = []
    for row in slopes.to_dict("records"):
        origin = _of_line(
            data, attack, row, "train_size", f"{_where(data, row)}, over n", call("against_size", DATA, attack)
        )
        curvature = [plain(row["lack_of_fit"], ".2g", origin)] if curved else []
        rows.append(
            Row([Cell(_where(data, row)), _cited(effect(row, AUC, "slope"), row["slope"], origin),
                 _cited(p_value(row["p"]), row["p"], origin), *curvature, plain(row["replicates"], origin=origin)])
        )  # fmt: skip
    columns = [
        f"arm and {data.budget}",
        "AUC per doubling of n [95 %]",
        P,
        *(["p of curvature"] if curved else []),
        "replicates",
    ]
    blocks.append(Table("slopes", "What doubling the training set changes (exploratory)", columns, rows, folded=True))
    if data.wide[data.budget].nunique() > 1:
        blocks.append(_onset(data, attack))
    return Section("scaling", "How it scales with data", blocks)


def _onset(data: StudyData, attack: str) -> Table:
    """When leakage sets in, in words."""
    starts = onset(data, attack)
    budget = data.budget
    first, last = data.wide[budget].min(), data.wide[budget].max()

    def time(length: float) -> str:
        return f"after {last}" if np.isinf(length) else f"by {first}" if length == 0 else f"{length:.0f}"

    rows = []
    for row in starts.to_dict("records"):
        what = f"{_arm_of(data, row)}, n = {row['train_size']}"
        origin = _of_line(data, attack, row, budget, f"{what}, over {budget}", call("onset", DATA, attack))
        level = "at none" if pd.isna(row["first_level"]) else f"{row['first_level']} {budget}"
        bounds = "" if np.isnan(row["low"]) else f" [{time(row['low'])}, {time(row['high'])}]"
        rows.append(
            Row([Cell(_arm_of(data, row)), Cell(str(row["train_size"]), value=row["train_size"]),
                 Cell(number=Cited(level, origin)), Cell(number=Cited(time(row[budget]) + bounds, origin)),
                 plain(row["replicates"], origin=origin)])
        )  # fmt: skip
    over = starts["over"].iloc[0] if len(starts) else 0.55
    columns = ["arm", "n", "interval above 0.5 from", f"mean AUC reaches {over:g} [95 %], {budget}", "replicates"]
    caption = (
        "When leakage sets in. First: the 95 % interval of a cell by itself, not corrected for the number of cells, is "
        f"above 0.5 at that level of {budget} and at every later one. Then the path of plain means, straight between "
        f"levels; by {first}: at the first level already; after {last}: not within this study."
    )
    return Table("onset", caption, columns, rows)


def _of_line(data: StudyData, attack: str, row: dict[Any, Any], along: str, what: str, code: Shown) -> Source:
    """Of all levels of one factor in a cell of the others, in the replicates that have all of them."""
    matrix = cells(data, attack, AUC, data.cell)
    rest = [name for name in data.cell if name != along]
    own = (matrix.table[rest] == [row[name] for name in rest]).all(axis=1)
    used = of_columns(data, attack, matrix, matrix.values.columns[own])
    return source(data, attack, used, f"{what}: AUC of {attack}", code)


def _arm_of(data: StudyData, row: dict[Any, Any]) -> str:
    return f"{row[VARIANT]}, {row[ARM]}" if len(data.variants) > 1 else str(row[ARM])


def _where(data: StudyData, row: dict[Any, Any]) -> str:
    return f"{_arm_of(data, row)}, {row[data.budget]} {data.budget}"


def samples(data: StudyData, verdict: Verdict) -> Section | None:
    """Samples along strength: only where records may be shown."""
    figure = plots.samples_along_strength(data, verdict.cell["train_size"], verdict.cell[data.budget])
    if figure is None:
        return None
    caption = "The same latent vectors in every arm. A sample may show a training record."
    return Section("samples", "What is generated", [picture(figure, "samples", "Samples of each arm", caption)])
