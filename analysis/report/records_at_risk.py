"""The section about single records: how many leak, which by themselves, and whether the same ones would be found again.

No record is named unless records are included.
"""

from typing import Any

import pandas as pd

from analysis import plots
from analysis.format import effect, p_value, replicates, share
from analysis.plots.at_risk import ALARM
from analysis.report.headline import Sentence, Verdict
from analysis.report.page import Block, Cell, Row, Section, Table, Text
from analysis.report.provenance import in_cell
from analysis.report.sections import picture, plain, words_of
from analysis.report.shown import DATA, call
from analysis.report.sources import SCORES, Cited, Source, source
from analysis.sentences import filled
from analysis.stats.records import by_class, by_group, records, reliability, risk_by_attack, share_at_risk
from analysis.study_data import StudyData

SHOWN = 50
"""So many records are listed, where records are included."""


def risk(data: StudyData, verdict: Verdict, include_records: bool) -> Section | None:
    """Records at risk, unnamed unless records are included; None for a public copy."""
    if data.public:
        return None
    table = records(data, verdict.attack, verdict.cell)
    title = "Who is at risk"
    where = words_of(data, verdict.cell)
    if table.empty:
        reason = str(table.attrs["reason"] or "no record was a member in some replicates and a non-member in others")
        return Section("risk", title, [Text(filled("records not told apart", where=where, reason=reason))])
    used = in_cell(data.attack(verdict.attack), verdict.cell)

    def origin(what: str, function: str) -> Source:
        code = call(function, DATA, verdict.attack, verdict.cell)
        return source(data, verdict.attack, used, f"{what}: {where}", code, SCORES)

    of_records = origin("each record's leakage", "records")
    share_of = share_at_risk(data, verdict.attack, verdict.cell).to_dict("records")[0]
    blocks: list[Block] = [
        Text(_how_many(share_of, where, origin("share of records that leak", "share_at_risk"))),
        Text(_which(share_of, int((table["q"] <= ALARM).sum()), of_records)),
        picture(plots.records_at_risk(data, table), "records", "Leakage of every record, sorted",
                "Each record's score as a member less its score as a non-member, over replicates, and the same shrunk "
                "toward the mean of all records, because few replicates know little about one record. The band holds "
                "95 % of the records' true differences; the largest ones are outside of it more often.", of_records),
    ]  # fmt: skip
    again = reliability(data, verdict.attack, verdict.cell).iloc[0]
    if again["reason"] is None or pd.isna(again["reason"]):
        shown = share(again["reliability"], again["low"], again["high"])
        reliable = Cited(f"{shown} over {again['records']} records", origin("reliability of records", "reliability"))
        blocks.append(Text(filled("reliable", reliability=reliable)))
    else:
        blocks.append(Text(filled("reliability not known", reason=str(again["reason"]))))
    others = risk_by_attack(data, verdict.attack, verdict.cell)
    if len(others) > 1 or others["persons"].any():
        blocks.append(_by_attack(others, origin("records and persons by attack", "risk_by_attack")))
    classes = by_class(data, verdict.attack, verdict.cell)
    if len(classes):
        of_class = origin("leakage by class", "by_class")
        rows = [
            Row([Cell(str(row["label"])), plain(row["records"], origin=of_class), _difference(row, of_class),
                 plain(p_value(row["p_holm"]), origin=of_class), plain(row["replicates"], origin=of_class)])
            for row in classes.to_dict("records")
        ]  # fmt: skip
        columns = ["class", "records", "member less non-member [95 %]", "p against the others (Holm)", "replicates"]
        blocks.append(Table("classes", "By class (exploratory)", columns, rows, folded=True))
    if include_records:
        rows = [
            Row([Cell(str(row["query"])), plain(row["label"]), plain(row["shrunk"], origin=of_records),
                 plain(row["q"], ".2g", of_records),
                 plain(f"{row['inside']} in, {row['outside']} out", origin=of_records)])
            for row in table.head(SHOWN).to_dict("records")
        ]  # fmt: skip
        columns = ["record of the pool", "class", "leakage (shrunk)", "q", "replicates"]
        blocks.append(Table("record-table", f"The {len(rows)} records most at risk", columns, rows, folded=True))
        persons = by_group(data, verdict.attack, verdict.cell)
        if len(persons):
            blocks.append(_persons(persons.head(SHOWN), origin("each person's leakage", "by_group")))
    return Section("risk", title, blocks)


def _by_attack(table: pd.DataFrame, origin: Source) -> Table:
    """How much each attack tells of single records, and of persons where some have several."""
    persons = bool(table["persons"].any())
    rows = []
    for row in table.to_dict("records"):
        cells = [Cell(row["attack"]), plain(row["records"], origin=origin)]
        cells += [plain(f"{100 * row[name]:.0f} %", origin=origin) for name in ("share", "low")]
        cells.append(plain(row["named"], origin=origin))
        if persons:
            cells.append(plain(f"{row['persons_named']} of {row['persons']}", origin=origin))
        rows.append(Row(cells))
    columns = ["attack", "records", "leak, estimated", "leak, at least", "named one by one"]
    return Table("risk-by-attack", "By attack", [*columns, *(["persons named"] if persons else [])], rows, folded=True)


def _persons(table: pd.DataFrame, origin: Source) -> Table:
    rows = [
        Row([Cell(str(row["unit"])), plain(row["records"], origin=origin), plain(row["shrunk"], origin=origin),
             plain(row["q"], ".2g", origin), plain(f"{row['inside']} in, {row['outside']} out", origin=origin)])
        for row in table.to_dict("records")
    ]  # fmt: skip
    columns = ["person", "records", "leakage (shrunk)", "q", "replicates"]
    return Table("person-table", f"The {len(rows)} persons most at risk", columns, rows, folded=True)


def _how_many(found: dict[Any, Any], where: str, origin: Source) -> Sentence:
    """How many leak at all, and of how many nothing is known."""
    unknown = filled("one-sided records", count=str(found["one_sided"])) if found["one_sided"] else ()
    shown: dict[str, Any] = {
        "where": where,
        "share": Cited(f"{100 * found['share']:.0f} % of {found['records']}", origin),
        "one_sided": unknown,
    }
    if found["low"] > 0:
        return filled("records leak", least=Cited(f"{100 * found['low']:.0f} %", origin), **shown)
    return filled("no record leaks", **shown)


def _which(found: dict[Any, Any], named: int, origin: Source) -> Sentence:
    """How many single records are shown to leak, and when few replicates cannot show that."""
    few: Sentence = ()
    if not named and found["least_p"] * found["records"] > ALARM:  # one such p does not pass Benjamini & Hochberg
        least = p_value(found["least_p"])
        few = filled("few replicates for records", replicates=replicates(found["replicates"]), least_p=least)
    return filled("records named", found=Cited(f"{named} of {found['records']}", origin), few=few)


def _difference(row: dict[Any, Any], origin: Source) -> Cell:
    return Cell(number=Cited(effect(row, "records", "difference"), origin), value=row["difference"])
