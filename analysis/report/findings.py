"""Sections that answer: what each factor changes, what protection costs, who is at risk, what is proved."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis import plots
from analysis.declared import declared, replicates_needed
from analysis.drawn import influences
from analysis.effects import AUC
from analysis.plots.records import ALARM
from analysis.records import by_class, records, reliability
from analysis.report.influence import influence_table
from analysis.report.page import Block, Cell, Choice, Heading, Row, Section, Table, Text
from analysis.report.sections import NAMES, drawable, picture, plain, verdict_table, words_of
from analysis.report.verdict import Verdict
from analysis.scaling import against_size, onset, size_curve
from analysis.sensitivity import interactions, main_effects
from analysis.study_data import ARM, VARIANT, StudyData, lower_is_better, words_of_measure
from analysis.summary import equal_steps
from analysis.tradeoff import best_quality, equal_quality, front, least_leakage

LIMITS = 15
"""Limits that a slider offers at most."""
TPR = "tpr_at_1pct_fpr"


def changes(data: StudyData, verdict: Verdict) -> Section:
    """Effects: declared ones corrected, all others exploratory."""
    blocks: list[Block] = []
    table = replicates_needed(declared(data), max(1, len(declared(data))))
    told = table.dropna(subset=["effect"])
    if len(told):
        blocks.append(
            picture(plots.forest(data, told), "forest", "Declared contrasts with 95 % intervals",
                    "Differences inside replicates, where members, initialization and data order are the same. Left of "
                    "zero is less leakage. Declared before any result and corrected together (Holm).")
        )  # fmt: skip
        blocks.append(_declared(told))
    budget = data.budget
    if drawable(data) and data.wide[budget].nunique() > 1 and data.wide["train_size"].nunique() > 1:
        blocks.append(
            picture(plots.heatmap(data, verdict.attack), "heatmap", f"Mean AUC over size and {budget}, a panel an arm",
                    f"How training-set size and {budget} act together: where they act independently, every row has "
                    "the same shades.")
        )  # fmt: skip
    effects = main_effects(data, verdict.attack).dropna(subset=["effect"])
    if len(effects):
        blocks.append(_effects("main-effects", "Main effects, averaged over all other factors (exploratory)", effects))
    together = interactions(data, verdict.attack).dropna(subset=["effect"])
    if len(together):
        blocks.append(
            _effects("interactions", "Interactions: how one factor changes another's effect (exploratory)", together)
        )
    shares = influence_table("shares", "Shares of the cells' variance", influences(data, verdict.attack))
    if len(shares.rows):
        blocks.append(shares)
    if not blocks:
        blocks.append(Text(("Every factor has one level in this study: nothing can be compared.",)))
    return Section("changes", "What changes it", blocks)


def _declared(table: pd.DataFrame) -> Table:
    rows = []
    for row in table.to_dict("records"):
        more = (
            "settled" if row["settled"] else "not known" if pd.isna(row["more"]) else f"{row['more']} more replicates"
        )
        rows.append(
            Row([
                Cell(row["contrast"]), Cell(f"{row['difference']:+.3f}", value=row["difference"]), _interval(row),
                plain(row["p_holm"], ".2g"), Cell(str(row["replicates"])), Cell(more),
            ])
        )  # fmt: skip
    columns = ["contrast", "AUC", "log odds [95 %]", "p (Holm)", "replicates", "would settle"]
    return Table("declared-table", "Declared contrasts; the last column: replicates for 80 % power", columns, rows)


def _effects(name: str, caption: str, table: pd.DataFrame) -> Table:
    rows = []
    for row in table.to_dict("records"):
        what = f"{NAMES.get(row['factor'], row['factor'])}: {row['level']} against {row['baseline']}"
        if "by" in row and row["by"] is not None and pd.notna(row["by"]):
            by = NAMES.get(row["by"], row["by"])
            what += (
                f", by {by}: {row['by_level']} against {row['by_baseline']}"
                if row["kind"] == "levels"
                else f", by {by}"
            )
        difference = (
            Cell("-") if pd.isna(row["difference"]) else Cell(f"{row['difference']:+.3f}", value=row["difference"])
        )
        rows.append(Row([Cell(what), difference, _interval(row), plain(row["p"], ".2g"), Cell(str(row["replicates"]))]))
    columns = ["effect", "AUC", "log odds [95 %]", "p (not corrected)", "replicates"]
    return Table(name, caption, columns, rows, folded=True)


def _interval(row: dict[Any, Any]) -> Cell:
    bounds = "" if pd.isna(row["low"]) else f" [{row['low']:+.2f}, {row['high']:+.2f}]"
    return Cell(f"{row['effect']:+.2f}{bounds}", value=row["effect"])


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
                    "markers.")
        )  # fmt: skip
        table = front(data, attack)
        if len(table):
            blocks.append(
                picture(plots.front(data, table, attack), "front", "The front of leakage and quality",
                        "The dotted steps join cells that no other one beats in both by its means. The paler a "
                        "cell, the likelier one is better in both; hollow: that is shown. Point at a cell for more.")
            )  # fmt: skip
    blocks += _choices(data, attack)
    equal = equal_quality(data, attack)
    told = equal[equal["effect"].notna()]
    if len(told):
        rows = [
            Row([Cell(words_of(data, row)), plain(row["quality"]), plain(row[f"at_{data.budget}"], ".0f"),
                 _interval(row), plain(row["p"], ".2g"), Cell(str(row["replicates"]))])
            for row in told.to_dict("records")
        ]  # fmt: skip
        columns = [
            "cell",
            str(data.quality),
            f"undefended, after {data.budget}",
            "log odds [95 %]",
            "p (not corrected)",
            "replicates",
        ]
        caption = (
            "Leakage less that of the undefended arm stopped where its quality is the same: below 0, the defense "
            f"does more than stopping early would ({len(equal) - len(told)} cells have no equal)"
        )
        blocks.append(Table("equal-quality", caption, columns, rows))
    if drawable(data):
        figure = plots.parallel_coordinates(data, attack)
        caption = "One line a cell: its levels, then its mean AUC and quality."
        blocks.append(picture(figure, "parallel", "Parallel coordinates of all cells", caption))
    return Section("tradeoff", "What protects, and at what cost", blocks)


def _choices(data: StudyData, attack: str) -> list[Block]:
    """Two sliders: the least leakage under a limit of quality, the best quality under one of leakage."""
    quality = str(data.quality)
    bound = "at most" if lower_is_better(quality) else "at least"
    rows = data.attack(attack)
    limited = TPR if TPR in rows and rows[TPR].notna().all() else AUC
    words = f"TPR at 1 % FPR of {attack}" if limited == TPR else f"AUC of {attack}"
    found = [
        Heading("The least leakage that keeps quality"),
        _choice("least", f"Let {quality} be {bound}", rows, quality, data, words_of_answer(attack, AUC, quality),
                lambda limit: least_leakage(data, attack, limit)),
        Heading("The best quality that keeps leakage low"),
        _choice("best", f"Let the {words} be at most", rows, limited, data, words_of_answer(attack, limited, quality),
                lambda limit: best_quality(data, attack, limit, value=limited)),
    ]  # fmt: skip
    return [block for block in found if block is not None]


def _choice(
    name: str,
    question: str,
    rows: pd.DataFrame,
    column: str,
    data: StudyData,
    columns: Sequence[str],
    answer: Callable[[float], pd.DataFrame],
) -> Choice | None:
    means = rows.groupby(list(data.cell))[column].mean().dropna()
    limits = sorted({float(f"{value:.2g}") for value in np.quantile(means, np.linspace(0.1, 1, LIMITS))})
    lines = []
    for limit in limits:
        for row in answer(limit).to_dict("records"):
            cells = [Cell(f"{limit:g}", value=limit), Cell(str(row["train_size"]))]
            if row[ARM] is None or pd.isna(row[ARM]):
                cells += [Cell(str(row["reason"] or "no cell keeps to it")), *[Cell("-")] * 4]
            else:
                how = "shown" if row["shown"] else f"by its mean only (confidence {row['confidence']:.0%})"
                place = f"{row[ARM]}, {row[data.budget]:.0f} {data.budget}"
                place = f"{row[VARIANT]}, {place}" if len(data.variants) > 1 else place
                cells += [
                    Cell(place),
                    _of(row, "leakage"),
                    _of(row, "quality"),
                    Cell(how),
                    Cell(str(row["replicates"])),
                ]
            lines.append(Row(cells))
    if not lines:
        return None
    caption = "Intervals hold after having been chosen among all cells of that n; replicates as in every cell"
    table = Table(
        f"{name}-table", caption, ["limit", "n", "choose", *columns, "kept to the limit", "replicates"], lines
    )
    return Choice(question, table, start=len(limits) // 3)


def words_of_answer(attack: str, leakage: str, quality: str) -> list[str]:
    """Heads of the two columns of an answer."""
    return [f"AUC of {attack}" if leakage == AUC else f"TPR at 1 % FPR of {attack}", quality]


def _of(row: dict[Any, Any], name: str) -> Cell:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    bounds = "" if pd.isna(low) else f" [{low:.2f}, {high:.2f}]"
    return Cell(f"{row[name]:.2f}{bounds}", value=row[name])


def scaling(data: StudyData, verdict: Verdict) -> Section | None:
    """Leakage against n; None for a single size."""
    if data.wide["train_size"].nunique() < 2 or not drawable(data):
        return None
    attack = verdict.attack
    sizes = data.wide["train_size"].nunique()
    line = "joins two sizes and cannot show a curve" if sizes == 2 else "is fitted inside replicates"
    figure = plots.leakage_against_size(data, attack, size_curve(data, attack))
    blocks: list[Block] = [
        picture(figure, "scaling", "AUC against training-set size",
                f"Points are cells; the line, in log odds over log n, {line}. Bands are 95 %."),
        *(Text((words,)) for words in equal_steps(data)),
    ]  # fmt: skip
    slopes = against_size(data, attack)
    rows = [
        Row([Cell(_where(data, row)), _interval({**row, "effect": row["slope"]}), plain(row["p"], ".2g"),
             plain(row["lack_of_fit"], ".2g"), Cell(str(row["replicates"]))])
        for row in slopes.to_dict("records")
    ]  # fmt: skip
    columns = [
        f"arm and {data.budget}",
        "log odds per doubling of n [95 %]",
        "p (not corrected)",
        "p of curvature",
        "replicates",
    ]
    blocks.append(Table("slopes", "What doubling the training set changes (exploratory)", columns, rows, folded=True))
    if data.wide[data.budget].nunique() > 1:
        starts = onset(data, attack)
        rows = [
            Row([Cell(str(row[ARM])), Cell(str(row["train_size"]), value=row["train_size"]),
                 Cell("not shown" if pd.isna(row["first_level"]) else f"{row['first_level']} {data.budget}"),
                 Cell(f"{_time(row[data.budget])} [{_time(row['low'])}, {_time(row['high'])}]"),
                 Cell(str(row["replicates"]))])
            for row in starts.to_dict("records")
        ]  # fmt: skip
        over = starts["over"].iloc[0] if len(starts) else 0.55
        columns = ["arm", "n", "shown from", f"AUC reaches {over:g} after {data.budget} [95 %]", "replicates"]
        blocks.append(Table("onset", "When leakage sets in", columns, rows))
    return Section("scaling", "How it scales with data", blocks)


def _where(data: StudyData, row: dict[Any, Any]) -> str:
    words = f"{row[ARM]}, {row[data.budget]} {data.budget}"
    return f"{row[VARIANT]}, {words}" if len(data.variants) > 1 else words


def _time(length: float) -> str:
    return "never here" if np.isinf(length) else "the first level" if length == 0 else f"{length:.0f}"


def privacy(data: StudyData, verdict: Verdict, audited: pd.DataFrame) -> Section | None:
    """What is guaranteed and proved; None without private arms."""
    if not data.private:
        return None
    blocks: list[Block] = [
        Text((
            "Only arms with an epsilon guarantee anything, against any attack; what attacks find is a lower "
            "bound. Epsilon "
            "covers the trained networks, not training curves, nor a length of training chosen by looking at results.",
        ))
    ]  # fmt: skip
    if drawable(data):
        figure = plots.against_epsilon(data, verdict.attack)
        caption = "Right of the dashed line stand arms that guarantee nothing."
        blocks.append(picture(figure, "epsilon", "Leakage and quality against epsilon", caption))
    claimed = audited[audited["epsilon"].notna()] if "epsilon" in audited else audited.iloc[:0]
    if len(claimed):
        caption = (
            "A proof far below the claim is normal where the ceiling is low; one above it would contradict the claim."
        )
        if data.crossed:
            blocks.append(
                picture(plots.audited(data, claimed), "audit", "epsilon accounted, proved and provable", caption)
            )
        columns = [
            "audit",
            "arm",
            "train_size",
            "trainings",
            "coins",
            "epsilon",
            "epsilon_low",
            "epsilon_ceiling",
            "p_holm",
        ]
        blocks.append(verdict_table("audit-table", "What the audit says of each claim", claimed, columns))
    return Section("privacy", "What is guaranteed, and what is proved", blocks)


def risk(data: StudyData, verdict: Verdict, include_records: bool) -> Section | None:
    """Records at risk, unnamed unless records are included; None for a public copy."""
    if data.public:
        return None
    table = records(data, verdict.attack, verdict.cell)
    title = "Who is at risk"
    where = words_of(data, verdict.cell)
    if table.empty:
        return Section(
            "risk",
            title,
            [Text((f"Not told apart on {where}: {table.attrs['reason'] or 'no record was in and out'}.",))],
        )
    found = int((table["q"] <= ALARM).sum())
    blocks: list[Block] = [
        Text((f"On {where}, {found} of {len(table)} records leak by themselves, at a false-discovery rate of 5 %.",)),
        picture(plots.records_at_risk(data, table), "records", "Leakage of every record, sorted",
                "Each record's score as a member less that as a non-member, over replicates, and shrunk toward "
                "the mean of all: "
                "few replicates know little about one record."),
    ]  # fmt: skip
    again = reliability(data, verdict.attack, verdict.cell).iloc[0]
    if again["reason"] is None or pd.isna(again["reason"]):
        words = (
            f"Reliability {again['reliability']:.2f} [{again['low']:.2f}, {again['high']:.2f}] over "
            f"{again['records']} records "
            "and halves of the replicates: 1 would find the same order of records again, 0 another one."
        )
    else:
        words = f"Whether the same records would be found again cannot be said: {again['reason']}."
    blocks.append(Text((words,)))
    classes = by_class(data, verdict.attack, verdict.cell)
    if len(classes):
        rows = [
            Row([Cell(str(row["label"])), Cell(str(row["records"])), _interval({**row, "effect": row["difference"]}),
                 plain(row["p_holm"], ".2g"), Cell(str(row["replicates"]))])
            for row in classes.to_dict("records")
        ]  # fmt: skip
        columns = ["class", "records", "member less non-member [95 %]", "p against the others (Holm)", "replicates"]
        blocks.append(Table("classes", "By class (exploratory)", columns, rows, folded=True))
    if include_records:
        rows = [
            Row([Cell(str(row["query"])), plain(row["label"]), plain(row["shrunk"]), plain(row["q"], ".2g"),
                 Cell(f"{row['inside']} in, {row['outside']} out")])
            for row in table.head(50).to_dict("records")
        ]  # fmt: skip
        columns = ["record of the pool", "class", "leakage (shrunk)", "q", "replicates"]
        blocks.append(Table("record-table", "The fifty records most at risk", columns, rows, folded=True))
    return Section("risk", title, blocks)


def samples(data: StudyData, verdict: Verdict) -> Section | None:
    """Samples along strength: only where records may be shown."""
    figure = plots.samples_along_strength(data, verdict.cell["train_size"], verdict.cell[data.budget])
    if figure is None:
        return None
    caption = "The same latent vectors in every arm. A sample may show a training record."
    return Section("samples", "What is generated", [picture(figure, "samples", "Samples of each arm", caption)])
