"""Scores of somebody else that no trial can have: every reader refuses them in one line, or has no use for them."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from study.store import Store
from tests.forging import rewrite
from tests.hostile.readers import READERS, answer, track


def with_values(table, name, change):
    values = change(table[name].to_pylist())
    return table.set_column(table.column_names.index(name), name, pa.array(values, table[name].type))


FORGED = {
    "none": lambda table: table.slice(0, 0),
    "a half": lambda table: table.slice(0, len(table) // 2),
    "a quarter": lambda table: table.slice(0, len(table) // 4),
    "all members": lambda table: with_values(table, "member", lambda values: [True] * len(values)),
    "no members": lambda table: with_values(table, "member", lambda values: [False] * len(values)),
    "none judged": lambda table: with_values(table, "judged", lambda values: [False] * len(values)),
    "one judged": lambda table: with_values(table, "judged", lambda values: [i == 0 for i in range(len(values))]),
    "not numbers": lambda table: with_values(table, "score", lambda values: [np.nan] * len(values)),
    "infinite": lambda table: with_values(table, "score", lambda values: [np.inf, *values[1:]]),
    "null": lambda table: with_values(table, "score", lambda values: [None, *values[1:]]),
    "null members": lambda table: with_values(table, "member", lambda values: [None, *values[1:]]),
    "one query": lambda table: with_values(table, "query", lambda values: [values[0]] * len(values)),
    "other queries": lambda table: with_values(table, "query", lambda values: [value + 7 for value in values]),
    "one person in and out": lambda table: with_values(table, "unit", lambda values: [0] * len(values)),
}
SEEN_BY_CHECK = (
    "none", "a half", "a quarter", "all members", "no members", "none judged", "one judged",
    "not numbers", "infinite", "null", "null members",
)  # fmt: skip
"""What is wrong by the pass alone; the rest is not of this study, or not of its people."""
ASKED = [name for name in READERS if name not in ("figures", "notebooks", "plan")]


@pytest.mark.parametrize(
    ("kind", "passes"), [*((kind, 1) for kind in FORGED), ("none", 100), ("a quarter", 100), ("one judged", 100)]
)
def test_no_reader_takes_forged_scores_for_a_bug(kind, passes, sound, undrawn, tmp_path, capsys):
    store = Store.at(shutil.copytree(sound.folder, tmp_path / "small"))
    tables = []  # that were rewritten

    def forge(table):
        tables.append(table)
        return FORGED[kind](table) if len(tables) <= passes else table

    rewrite(store, "scores", forge)
    assert tables
    for reader in ASKED:
        code, said = answer(reader, store, capsys)
        assert code in (0, 1, 2), (reader, said)
        assert "This is a bug" not in said and "Traceback" not in said, (reader, said[-1500:])
        if reader == "check" and kind in SEEN_BY_CHECK:
            assert code == 1 and "DAMAGED scores/" in said
        if reader in ("report", "tables"):
            assert code == 2 and len(said.splitlines()) == 1, (reader, said)


@pytest.mark.parametrize("kind", ["none", "all members"])
def test_a_tracker_says_which_trial_has_no_scores_and_not_that_mlflow_is_away(kind, sound, tmp_path):
    store = Store.at(shutil.copytree(sound.folder, tmp_path / "small"))
    rewrite(store, "scores", FORGED[kind])
    code, said, _ = track(store)
    assert code == 2
    assert "not in MLflow: " in said and "not reachable" not in said


@pytest.mark.long
def test_scores_that_are_fewer_than_their_row_says_are_refused_by_a_report_of_rows_of_today(swept, tmp_path, capsys):
    store = Store.at(shutil.copytree(swept[0] / "results" / "small", tmp_path / "small"))
    shutil.rmtree(store.folder / "compacted")

    def fewer(table):
        queries = table.filter(pc.field("judged"))["query"].unique().to_pylist()
        return table.filter(~pc.field("query").isin(queries[:3]))

    rewrite(store, "scores", fewer)
    code, said = answer("report", store, capsys)
    assert code == 2 and "scores of judged records, and its row" in said, said
