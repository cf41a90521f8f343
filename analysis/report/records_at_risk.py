"""The section about single records: how many leak, which by themselves, and whether the same ones would be found again.

No record is named unless records are included.
"""

from typing import Any

import pandas as pd

from analysis import plots
from analysis.plots.at_risk import ALARM
from analysis.report.headline import Verdict
from analysis.report.page import Block, Cell, Row, Section, Table, Text
from analysis.report.provenance import in_cell
from analysis.report.sections import picture, plain, words_of
from analysis.report.shown import DATA, call
from analysis.report.sources import SCORES, Cited, Source, source
from analysis.stats.records import by_class, records, reliability, share_at_risk
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
        reason = table.attrs["reason"] or "no record was a member in some replicates and a non-member in others"
        return Section("risk", title, [Text((f"Single records cannot be judged on {where}: {reason}.",))])
    used = in_cell(data.attack(verdict.attack), verdict.cell)

    def origin(what: str, function: str) -> Source:
        code = call(function, DATA, verdict.attack, verdict.cell)
        return source(data, verdict.attack, used, f"{what}: {where}", code, SCORES)

    of_records = origin("each record's leakage", "records")
    share = share_at_risk(data, verdict.attack, verdict.cell).to_dict("records")[0]
    blocks: list[Block] = [
        Text((f"On {where}: ", *_how_many(share, origin("share of records that leak", "share_at_risk")))),
        Text(_which(share, Cited(f"{(table['q'] <= ALARM).sum()} of {len(table)}", of_records))),
        picture(plots.records_at_risk(data, table), "records", "Leakage of every record, sorted",
                "Each record's score as a member less its score as a non-member, over replicates, and the same shrunk "
                "toward the mean of all records, because few replicates know little about one record. The band holds "
                "95 % of the records' true differences; the largest ones are outside of it more often.", of_records),
    ]  # fmt: skip
    again = reliability(data, verdict.attack, verdict.cell).iloc[0]
    if again["reason"] is None or pd.isna(again["reason"]):
        shown = f"{again['reliability']:.2f} [{again['low']:.2f}, {again['high']:.2f}]"
        reliable = Cited(shown, origin("reliability of the order of records", "reliability"))
        blocks.append(
            Text(("The order of records has reliability ", reliable, f" over {again['records']} records, from halves "
                  "of the replicates: at 1 new replicates would find the same order, at 0 an unrelated one."))
        )  # fmt: skip
    else:
        blocks.append(Text((f"Whether the same records would be found again is not known: {again['reason']}.",)))
    classes = by_class(data, verdict.attack, verdict.cell)
    if len(classes):
        of_class = origin("leakage by class", "by_class")
        rows = [
            Row([Cell(str(row["label"])), plain(row["records"], origin=of_class), _difference(row, of_class),
                 plain(row["p_holm"], ".2g", of_class), plain(row["replicates"], origin=of_class)])
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
    return Section("risk", title, blocks)


def _how_many(share: dict[Any, Any], origin: Source) -> tuple[str | Cited, ...]:
    """How many leak at all, and of how many nothing is known."""
    found = Cited(f"{100 * share['share']:.0f} % of {share['records']}", origin)
    least = Cited(f"{100 * share['low']:.0f} %", origin)
    unknown = ""
    if share["one_sided"]:
        unknown = (
            f" {share['one_sided']} further records were members in every replicate or in none, so nothing can be said "
            "of them."
        )
    if share["low"] > 0:
        return ("an estimated ", found, " records leak, with 95 % confidence at least ", least, ". Records that leak "
                f"only a little are counted in part.{unknown}")  # fmt: skip
    return ("it is not shown that any record leaks by itself. The estimated share is ", found, f" records.{unknown}")


def _which(share: dict[Any, Any], found: Cited) -> tuple[str | Cited, ...]:
    """How many single records are shown to leak, and when few replicates cannot show that."""
    limit = ""
    if share["least_p"] * share["records"] > ALARM:
        limit = (
            f" With {share['replicates']} replicates the smallest possible p of a record is {share['least_p']:.2g}, so "
            "that single records are found only where many leak: more replicates find more."
        )
    return (found, " records are shown to leak one by one: of the records named so, at most 5 % are expected to be "
            f"false (q at most 0.05).{limit}")  # fmt: skip


def _difference(row: dict[Any, Any], origin: Source) -> Cell:
    bounds = "" if pd.isna(row["low"]) else f" [{row['low']:+.2f}, {row['high']:+.2f}]"
    return Cell(number=Cited(f"{row['difference']:+.2f}{bounds}", origin), value=row["difference"])
