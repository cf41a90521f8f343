"""Sections about what is released: who could attack it, how many samples keep leakage low, which samples are copies.

No record is named unless records are included.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import plots
from analysis.format import AUC_WORDS, TPR_WORDS, estimate, interval, number, of_100, p_value, percent
from analysis.report.conditions import Condition
from analysis.report.headline import Verdict
from analysis.report.page import Block, Cell, Row, Section, Table, Text
from analysis.report.provenance import in_cell
from analysis.report.sections import drawable, picture, plain, words_of
from analysis.report.shown import DATA, call
from analysis.report.sources import SCORES, Cited, Source, of_picture, source, stored
from analysis.stats.budget import allowed, budget, words_of_statement
from analysis.stats.inference import AUC, TPR
from analysis.stats.memorization import NEAR, copies, extracted, pairs
from analysis.stats.threats import PRIORS, RIGHT, threats
from analysis.study_data import ARM, VARIANT, StudyData
from mia_core.metrics.copies import COPIES
from study.store.roles import STUDY

SHOWN = 50
"""So many pairs of samples and members are listed, where records are included."""
WHO = (
    "for each attacker the strongest of the attacks that it can run. Who has more can also run what takes less. The "
    "strongest is chosen by the data, so p is that of the strongest of as many attacks under coins drawn again, and "
    "limits hold for all of them together. Right of 100 named: how many of 100 records that the attacker names are "
    "training records, if it names 1 % of all others, and 1, 10 or 50 % of the records it asks about are training "
    "records; it must know the threshold. Guessing is right 1, 10 and 50 times."
)
CAPTION = "Threats; the last columns: right of 100 records named, at a prior of 1, 10 and 50 % training records"
HOW_MANY = (
    "up to which of the numbers of samples that were tried the mean AUC of every attack of an access is shown to be "
    "below a limit. The upper bounds are one-sided and hold for all numbers together, so all statements of an access "
    "are right, at any limits, in 95 % of studies. They speak of these attacks, of one model, and of a mean: a single "
    "record may leak more."
)
WHAT = (
    "A sample copies one member; members and persons are counted once. More than chance: the lower end of the share "
    "of samples lies above what is called a copy by chance, given these unseen records, in 95 of 100 cases. Where "
    "nothing is found, that does not show that nothing is copied: crops, flips and parts are not looked for."
)
RECURS = (
    "Extraction: samples that recur are taken for training records. Right: the share of what was taken that is a "
    "member. Authentic: samples farther from their nearest member than that one is from its nearest other member."
)
SHARES = {"copies": "samples", "members_copied": "members", "persons_copied": "persons"}


def who(data: StudyData, verdict: Verdict) -> Section | None:
    """The threat table of the verdict's cell; None where no attack of it can be tested."""
    table = threats(data, verdict.cell)
    if table.empty:
        return None
    where, rows = words_of(data, verdict.cell), []
    for row in table.to_dict("records"):
        used = in_cell(data.attack(row["attack"]), verdict.cell)
        what = f"strongest of {row['attacks']} attacks of who has: {row['attacker']}; {where}"
        origin = source(data, row["attack"], used, what, call("threats", DATA, verdict.cell), SCORES)
        rows.append(
            Row([
                Cell(row["attacker"]), Cell(row["attack"]), plain(row["attacks"], origin=origin),
                _estimate(row, AUC, origin), plain(p_value(row["p"]), origin=origin), _estimate(row, TPR, origin),
                *(_named(row, name, origin) for name in RIGHT),
            ])
        )  # fmt: skip
    right = [f"right at {percent(prior)}" for prior in PRIORS]
    columns = ["attacker", "strongest attack", "attacks", f"{AUC_WORDS} [95 %]", "p", f"{TPR_WORDS} [95 %]", *right]
    return Section("threats", "Who could attack", [
        Table("threats-table", CAPTION, columns, rows), Text((f"On {where}: {WHO}",))
    ])  # fmt: skip


def _estimate(row: Mapping[Any, Any], name: str, origin: Source) -> Cell:
    if pd.isna(row[name]):
        return Cell("-")
    text = interval(row[name], row[f"{name}_low"], row[f"{name}_high"])
    return Cell(number=Cited(text, origin), value=row[name])


def _named(row: Mapping[Any, Any], name: str, origin: Source) -> Cell:
    if pd.isna(row[name]):
        return Cell("-")
    return Cell(number=Cited(of_100(row, name), origin), value=row[name])


def how_many(data: StudyData, verdict: Verdict) -> Section | None:
    """The release budget; None where no attack was tried at several numbers of samples."""
    table = budget(data)
    if table.empty:
        return None
    where = words_of(data, verdict.cell)
    blocks: list[Block] = [Text((f"On {where}: {HOW_MANY}",))]
    if drawable(data):
        figure = plots.release_budget(data, verdict.cell["train_size"])
        origin = of_picture(data, "AUC over the number of samples", list(dict.fromkeys(table["label"])), last=True)
        title = "AUC over the number of samples released, a panel an arm and a line an attack"
        blocks.append(picture(figure, "budget-curve", title, "Every attack saw the first of the same samples.", origin))
    limits = in_cell(allowed(data), verdict.cell)
    own = in_cell(table, verdict.cell)
    rows: list[Row] = []
    words: list[str | Cited] = []
    for access, statements in limits.groupby("access", sort=False):
        labels = list(own.loc[own["access"] == access, "label"])
        trials = in_cell(data.wide[data.wide["attack"].isin(labels)], verdict.cell)["trial_id"]
        every = Condition.of({"role": [STUDY], "attack": labels, "trial_id": sorted(set(trials))})
        what = f"upper bounds of attacks with {access}: {where}"
        origin = stored(data.wide, every, what, call("allowed", DATA), SCORES)
        answers = statements.to_dict("records")
        first = next((row for row in answers if pd.notna(row["released"]) and row["released"]), answers[-1])
        words += [f"{access}: ", Cited(words_of_statement(first), origin), ". "]
        rows += [
            Row([
                Cell(str(access)), plain(row["attacks"], origin=origin), Cell(number(row["limit"], ".2f")),
                _allowed(row, origin), plain(row["tried"], origin=origin),
            ])
            for row in answers
        ]  # fmt: skip
    blocks.append(Text(tuple(words)))
    columns = ["access", "attacks", "limit", "samples at most", "numbers tried"]
    blocks.append(Table("budget-table", "How many samples are shown to keep the mean AUC under a limit", columns, rows))
    curve = [_level(data, row, where) for row in own.to_dict("records")]
    heads = ["attack", "samples", f"{AUC_WORDS} [95 %]", "upper bound"]
    caption = f"Every number on {where}: the upper bounds hold for all numbers of an attack together"
    blocks.append(Table("budget-levels", caption, heads, curve, folded=True))
    return Section("budget", "How many samples", blocks)


def _allowed(row: Mapping[Any, Any], origin: Source) -> Cell:
    if pd.isna(row["released"]):
        return Cell(f"not known: {row['reason']}")
    text = f"{row['released']}" if row["released"] else "none of those tried"
    return Cell(number=Cited(text, origin), value=float(row["released"]))


def _level(data: StudyData, row: Mapping[Any, Any], where: str) -> Row:
    used = in_cell(data.attack(str(row["label"])), {name: row[name] for name in data.cell})
    what = f"{row['label']}: {where}"
    origin = source(data, str(row["label"]), used, what, call("budget", DATA), SCORES)
    found = Cited(interval(row["mean"], row["low"], row["high"]), origin)
    return Row([
        Cell(str(row["attack"])), plain(row["released"], origin=origin), Cell(number=found, value=row["mean"]),
        plain(row["upper"], ".3f", origin),
    ])  # fmt: skip


def copied(data: StudyData, verdict: Verdict, include_records: bool) -> Section | None:
    """Samples that copy members; None where they were not looked for. include_records: with the pairs."""
    table = copies(data)
    if table.empty:
        return None
    own = in_cell(table, {VARIANT: verdict.cell[VARIANT], "train_size": verdict.cell["train_size"]})
    used = in_cell(data.last[data.last["attack"] == verdict.attack], {VARIANT: verdict.cell[VARIANT]})
    used = in_cell(used, {"train_size": verdict.cell["train_size"]})
    where = f"n = {verdict.cell['train_size']}, {data.last[data.budget].max()} {data.budget}"
    origin = source(data, verdict.attack, used, f"copies: {where}", call("copies", DATA))
    rows = [
        Row([
            Cell(str(row[ARM])), Cell(row["extractor"]), *(_share(row, name, origin) for name in COPIES),
            plain(percent(row["most_by_chance"]), origin=origin), Cell("yes" if row["beyond"] else "not shown"),
        ])
        for row in own.to_dict("records")
    ]  # fmt: skip
    first = table.iloc[0]
    numbers = {name: Cited(str(first[name]), origin) for name in ("neighbors", "unseen", "unseen_persons", "samples")}
    of_persons: tuple[str | Cited, ...] = (
        " unseen records: an unseen record is called a copy with probability at most ",
    )
    if first["unseen_persons"] < first["unseen"]:
        of_persons = (
            " unseen records of ", numbers["unseen_persons"], " persons, of whom each counts with the smallest: any "
            "record of one more unseen person is called a copy with probability at most ",
        )  # fmt: skip
    rate = Cited(percent(first["alpha"]), origin)
    shares = [f"{words} [95 %]" for words in SHARES.values()]
    columns = ["arm", "in", *shares, "samples by chance, at most", "more than chance"]
    blocks: list[Block] = [
        Text(
            (
                "A sample is called a copy where its distance to the nearest member, over the mean distance to the ",
                numbers["neighbors"],
                " next ones, is smaller than nearly all such ratios of ",
                numbers["unseen"],
                *of_persons,
                rate,
                " (the false-copy rate). Of ",
                numbers["samples"],
                f" samples a trial. {WHAT}",
            )
        ),
        Table("copies-table", f"Shares of samples, members and persons, over replicates: {where}", columns, rows),
    ]
    blocks += _extracted(data, verdict, used, where)
    if include_records:
        blocks += _pairs(data, verdict)
    return Section("copies", "What is copied", blocks)


def _extracted(data: StudyData, verdict: Verdict, used: pd.DataFrame, where: str) -> list[Block]:
    """What was extracted; nothing where it was not measured."""
    own = in_cell(extracted(data), {VARIANT: verdict.cell[VARIANT], "train_size": verdict.cell["train_size"]})
    if own.empty:
        return []
    origin = source(data, verdict.attack, used, f"extraction: {where}", call("extracted", DATA))
    rows = [
        Row([Cell(str(row[ARM])), Cell(row["extractor"]), *(_estimated(row, name, origin) for name in NEAR)])
        for row in own.to_dict("records")
    ]
    columns = ["arm", "in", "members extracted [95 %]", "right [95 %]", "authentic [95 %]"]
    return [Text((RECURS,)), Table("extraction-table", f"Extraction, over replicates: {where}", columns, rows)]


def _estimated(row: Mapping[Any, Any], name: str, origin: Source) -> Cell:
    if pd.isna(row[name]):
        return Cell("-")
    return Cell(number=Cited(estimate(row, name, name), origin), value=row[name])


def _share(row: Mapping[Any, Any], name: str, origin: Source) -> Cell:
    if pd.isna(row[name]):
        return Cell("-")
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    ends = "" if pd.isna(low) or pd.isna(high) else f" [{percent(low)}, {percent(high)}]"
    return Cell(number=Cited(percent(row[name]) + ends, origin), value=row[name])


def _pairs(data: StudyData, verdict: Verdict) -> list[Block]:
    table = pairs(data, verdict.cell)
    if table.empty:
        return []
    used = in_cell(data.attack(verdict.attack), verdict.cell)
    what = f"pairs of samples and members: {words_of(data, verdict.cell)}"
    origin = source(data, verdict.attack, used, what, call("pairs", DATA, verdict.cell))
    rows = [
        Row([Cell(row["extractor"]), Cell(str(row["record"])), Cell(row["file"] or "-"),
             *(plain(row[name], origin=origin) for name in ("replicate", "sample", "ratio"))])
        for row in table.groupby("extractor", sort=False).head(SHOWN).to_dict("records")
    ]  # fmt: skip
    columns = ["in", "record of the pool", "file", "replicate", "sample", "ratio"]
    caption = f"Samples that are copies, the closest first: {words_of(data, verdict.cell)}"
    return [Table("pairs-table", caption, columns, rows, folded=True)]
