"""The table of indices, of any design."""

from collections.abc import Sequence

import pandas as pd

from analysis.format import share
from analysis.report.page import Cell, Row, Table
from analysis.report.sections import plain
from analysis.report.shown import DATA, call
from analysis.report.sources import Source, source
from analysis.stats.drawn_points import Influence
from analysis.stats.inference import AUC
from analysis.study_data import StudyData

NO_FACTOR = {"noise": "replicates", "unpredicted": "points left out of the forest"}
"""What shares that no factor explains are of."""


def index_source(data: StudyData, attack: str, one: Influence) -> Source:
    """Of the indices of a value, which all trials are in."""
    used = data.attack(attack).dropna(subset=[one.value])
    what = f"shares of the variance of {f'AUC of {attack}' if one.value == AUC else one.value}"
    return source(data, attack, used, what, call("indices", DATA, attack, one.value))


def influence_table(name: str, caption: str, found: Sequence[Influence], origins: Sequence[Source]) -> Table:
    """One row an index of a value; without rows where there are none. origins: of each value's indices."""
    rows = []
    for one, origin in zip(found, origins, strict=True):
        for row in one.table.to_dict("records"):
            pair = [str(part) for part in (row["factor"], row["other"]) if pd.notna(part)]
            text = None if pd.isna(row["estimate"]) else share(row["estimate"], row["low"], row["high"])
            rows.append(
                Row([
                    Cell("AUC" if one.value == AUC else one.value), Cell(" × ".join(pair) or NO_FACTOR[row["index"]]),
                    Cell(row["index"]), plain(text, origin=origin),
                ])
            )  # fmt: skip
    size = next((one.table.iloc[0] for one in found if len(one.table)), None)
    where = "" if size is None else f" ({size['points']} points, {size['replicates']} replicates, {size['method']})"
    return Table(name, caption + where, ["of", "factor", "index", "share [95 %]"], rows, folded=True)
