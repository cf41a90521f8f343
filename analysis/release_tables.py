"""Tables of what is released, as text in cells: threats, the release budget, copies."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from analysis.format import NONE, TPR_WORDS, estimate, form_of, named, number, of_100, p_value, percent
from analysis.stats.budget import allowed, budget, words_of_statement
from analysis.stats.inference import AUC, TPR
from analysis.stats.memorization import NEAR, copies, extracted, pairs
from analysis.stats.redrawn import words_of
from analysis.stats.threats import PRIORS, RIGHT, threats
from analysis.study_data import ARM, StudyData
from mia_core.metrics.copies import COPIES

MOST_ROWS = 40
"""Pairs of a sample and a member that are shown of a cell."""


def threat_table(data: StudyData) -> pd.DataFrame:
    """One row an attacker of each cell after the last level of training, of the first arm; none for a public copy.

    right of 100 named: at 1 % FPR, where so many of the records asked about are members.
    """
    last = data.last
    rows = []
    for cell in _cells(data, last[last[ARM] == data.arms[0]]):
        for row in _records(threats(data, cell)):
            right = {
                f"right of 100 named, {percent(prior)} members": of_100(row, name)
                for name, prior in zip(RIGHT, PRIORS, strict=True)
            }
            rows.append(
                {
                    "cell": words_of(data, cell),
                    "attacker": row["attacker"],
                    "strongest attack": f"{row['attack']} (of {row['attacks']})",
                    "AUC": estimate(row, AUC, AUC),
                    "p": p_value(row["p"]),
                    TPR_WORDS: estimate(row, TPR, TPR),
                    **right,
                }
            )
    return pd.DataFrame(rows)


def threats_over_training(data: StudyData) -> pd.DataFrame:
    """One row an attacker of each cell of the first arm, and a column a level of training: the strongest attack's AUC.

    Empty if there is one level. Where an attack runs after the last level only, an attacker has fewer to choose from
    before.
    """
    budget = data.budget
    rows = data.wide[data.wide[ARM] == data.arms[0]]
    levels = sorted(rows[budget].dropna().unique())
    if len(levels) < 2:
        return pd.DataFrame()
    found: dict[tuple[str, str], dict[str, str]] = {}
    for level in reversed(levels):
        for cell in _cells(data, rows[rows[budget] == level]):
            for row in _records(threats(data, cell)):
                texts = found.setdefault((words_of(data, cell), row["attacker"]), {})
                texts[f"{level} {budget}"] = f"{row['attack']} (of {row['attacks']}): {estimate(row, AUC, AUC)}"
    columns = [f"{level} {budget}" for level in levels]
    return pd.DataFrame(
        [
            {"cell": cell, "attacker": attacker, **{name: texts.get(name, NONE) for name in columns}}
            for (cell, attacker), texts in found.items()
        ]
    )


def released(data: StudyData) -> pd.DataFrame:
    """One row a cell, an attack and a number of samples."""
    table = budget(data)
    texts: dict[str, Any] = {
        "samples": table["released"],
        "AUC": [estimate(row, AUC) for row in _records(table)],
        "upper bound": [number(row["upper"], form_of(AUC)) for row in _records(table)],
    }
    return named(table[[*data.cell, "attack"]].assign(**texts))


def released_at_most(data: StudyData) -> pd.DataFrame:
    """One row a cell, an access and a limit."""
    table = allowed(data)
    statements = [words_of_statement(row) for row in _records(table)]
    return named(table[[*data.cell, "access", "attacks"]].assign(statement=statements))


def copy_table(data: StudyData) -> pd.DataFrame:
    """One row a cell and an extractor; by chance: what is called a copy at most (95 %) where nothing is copied."""
    table = copies(data)
    texts: dict[str, Any] = {
        "in": table["extractor"],
        **{name: [estimate(row, name, name) for row in _records(table)] for name in COPIES},
        "by chance": [
            f"{percent(row['alpha'])} (at most {percent(row['most_by_chance'])}, {row['unseen_persons']} unseen)"
            for row in _records(table)
        ],
        "more": ["yes" if beyond else "not shown" for beyond in table["beyond"]],
    }
    return named(table[list(data.cell)].assign(**texts))


def extraction_table(data: StudyData) -> pd.DataFrame:
    """One row a cell and an extractor."""
    table = extracted(data)
    texts: dict[str, Any] = {name: [estimate(row, name, name) for row in _records(table)] for name in NEAR}
    return named(table[list(data.cell)].assign(**{"in": table["extractor"]}, **texts))


def pairs_of_cells(data: StudyData) -> pd.DataFrame:
    """Samples and the members that they copy, of every cell after the last level of training, `MOST_ROWS` of each."""
    parts = [pairs(data, cell).head(MOST_ROWS).assign(cell=words_of(data, cell)) for cell in _cells(data, data.last)]
    table = pd.concat(parts, ignore_index=True)
    texts: dict[str, Any] = {"file": table["file"].fillna(NONE), "ratio": [number(ratio) for ratio in table["ratio"]]}
    return table[["cell", "extractor", "replicate", "sample", "record"]].assign(**texts)


def _cells(data: StudyData, rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The distinct cells of rows, as levels of `data.cell`."""
    for levels in rows[list(data.cell)].drop_duplicates().itertuples(index=False, name=None):
        yield dict(zip(data.cell, levels, strict=True))


def _records(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.to_dict("records")
