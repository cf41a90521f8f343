"""Copies of members among samples: shares over replicates, and what is called a copy without being one.

The threshold is a rank of unseen persons' ratios (`mia_core.metrics.copies`). One more unseen person is below it with
probability at most alpha. With these V unseen persons the rate is one draw from Beta(c, V + 1 - c), c the rank, and its
95 % quantile, not alpha, is what a share has to exceed to be more than chance. V is the number of unseen records where
each is a person's only one.
"""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
from scipy.stats import beta

from analysis.stats.effects import means
from analysis.study_data import StudyData
from mia_core.metrics.authenticity import AUTHENTICITY
from mia_core.metrics.copies import COPIES, rank_of
from mia_core.metrics.extraction import EXTRACTION
from mia_core.metrics.low_fpr_bounds import share_bounds
from study.spec.objectives import EXTRACTOR, ONNX, PIXELS
from study.store.pairs import pairs_of

NEAR = (*EXTRACTION, *AUTHENTICITY)
COPIED = tuple(f"{name}{end}" for name in COPIES for end in ("", "_low", "_high"))


def copies(data: StudyData) -> pd.DataFrame:
    """One row a cell after the last level of training, and an extractor (`pixels`, or of features).

    Columns of `data.cell`, extractor, copies, members_copied, persons_copied (shares of samples, members and persons,
    null where not measured; each with _low and _high, a t interval over replicates, cut at 0 and 1), alpha, neighbors,
    unseen, unseen_persons, samples, most_by_chance (the 95 % quantile above), beyond: whether copies_low is above that,
    replicates.

    Where no replicate differed, the interval of copies is Clopper & Pearson's of one replicate's samples, and the
    others have none. Empty where copies were not looked for.
    """
    settings = ["alpha", "neighbors", "unseen", "unseen_persons", "samples"]
    columns = [*data.cell, "extractor", *COPIED, *settings, "most_by_chance"]
    rows = []
    last = data.last.drop_duplicates("trial_id")
    for extractor, arguments in settings_of_copies(data).items():
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for name in COPIES:
            column = f"{name}_{extractor}_members"
            for row in means(data, last, column, data.cell).to_dict("records") if column in last else ():
                cell = found.setdefault(tuple(row[key] for key in data.cell), {"replicates": row["replicates"]})
                low, high = _interval(name, row, arguments["samples"])
                cell |= {name: row["mean"], f"{name}_low": low, f"{name}_high": high}
        persons = arguments["unseen_persons"]
        rank = rank_of(arguments["alpha"], persons)
        most = float(beta.ppf(0.95, rank, persons + 1 - rank))
        about = {**arguments, "extractor": extractor, "most_by_chance": most}
        rows += [{**dict(zip(data.cell, key, strict=True)), **about, **values} for key, values in found.items()]
    table = pd.DataFrame(rows, columns=[*columns, "replicates"])
    return table.assign(beyond=table["copies_low"].astype(float) > table["most_by_chance"].astype(float))


def _interval(name: str, row: Mapping[Any, Any], samples: int) -> tuple[float, float]:
    if name == COPIES[0]:
        return interval_of_copies(row, samples)
    if row["low"] < row["high"]:
        return max(0.0, row["low"]), min(1.0, row["high"])
    return float("nan"), float("nan")


def interval_of_copies(row: Mapping[Any, Any], samples: int, level: float = 0.95) -> tuple[float, float]:
    """low and high of a row with a t interval at that level, cut at 0 and 1; where no replicate differed, Clopper &
    Pearson's of one replicate's samples; NaN with a single replicate.
    """
    if row["low"] < row["high"]:
        return max(0.0, row["low"]), min(1.0, row["high"])
    if pd.isna(row["low"]):
        return float("nan"), float("nan")
    hits, tail = row["mean"] * samples, (1 - level) / 2
    return share_bounds(hits, samples, tail)


def extracted(data: StudyData) -> pd.DataFrame:
    """One row a cell after the last level of training, and an extractor (`pixels`, or of features).

    Columns of `data.cell`, extractor, extracted_members (a number of members), extraction_precision (over the
    replicates in which anything recurs) and authenticity, null where not measured, each with _low and _high, a t
    interval over replicates (null where none differed); replicates. Empty where none of them was measured.
    """
    last, ends = data.last.drop_duplicates("trial_id"), ("", "_low", "_high")
    columns = [*data.cell, "extractor", *(f"{name}{end}" for name in NEAR for end in ends), "replicates"]
    rows = []
    for extractor in (PIXELS, EXTRACTOR, ONNX):
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for name in NEAR:
            column = f"{name}_{extractor}_members"
            for row in means(data, last, column, data.cell).to_dict("records") if column in last else ():
                cell = found.setdefault(tuple(row[key] for key in data.cell), {"replicates": 0})
                differ = row["low"] < row["high"]
                low, high = (row["low"], row["high"]) if differ else (float("nan"), float("nan"))
                cell |= {name: row["mean"], f"{name}_low": low, f"{name}_high": high}
                cell["replicates"] = max(cell["replicates"], row["replicates"])
        about = {"extractor": extractor}
        rows += [{**dict(zip(data.cell, key, strict=True)), **about, **values} for key, values in found.items()]
    return pd.DataFrame(rows, columns=columns)


def pairs(data: StudyData, cell: Mapping[str, Any]) -> pd.DataFrame:
    """Which samples copy which members in a cell, the closest first: replicate, extractor, sample, record (of the
    pool), file (null where records are no files), ratio. As sensitive as the records; empty for a public copy.
    """
    rows = data.wide.drop_duplicates("trial_id")
    for name in data.cell:
        rows = rows[rows[name] == cell[name]]
    found = []
    for trial, replicate in () if data.public else rows[["trial_id", "replicate"]].itertuples(index=False, name=None):
        found += [{"replicate": replicate, **pair} for pair in pairs_of(data.store, trial, _wanted(data))]
    columns = ["replicate", "extractor", "sample", "record", "file", "ratio"]
    return pd.DataFrame(found, columns=columns).sort_values(["extractor", "ratio"], kind="stable", ignore_index=True)


def _rows(data: StudyData) -> pd.DataFrame:
    """Rows of copies of the table of quality; none of data without a store."""

    def found() -> pd.DataFrame:
        if not data.store.place.exists("study.json"):
            return pd.DataFrame(columns=["measure", "measure_id", "extractor", "arguments"])
        quality = data.table("quality")
        return quality[quality["measure"].isin(COPIES)]

    return data.once("rows of copies", found)


def settings_of_copies(data: StudyData) -> dict[str, dict[str, Any]]:
    """alpha, neighbors, unseen, unseen_persons (rows counted records where each was one) and samples by extractor."""
    rows = _rows(data).drop_duplicates("extractor")
    settings = [json.loads(text) for text in rows["arguments"]]
    return dict(zip(rows["extractor"], [{"unseen_persons": own["unseen"], **own} for own in settings], strict=True))


def _wanted(data: StudyData) -> set[str]:
    """Ids of the measures of the study's design."""
    return set(_rows(data)["measure_id"])
