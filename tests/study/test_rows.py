"""Typed rows are the columns of the store's tables, and nothing else."""

import dataclasses
import typing
from datetime import UTC, datetime
from types import NoneType

import numpy as np
import pyarrow as pa
import pytest

from study.store.rows import AttackRow, HistoryRow, QualityRow, ScoreRows, TrialRow, columns, joined
from study.store.schema import KEYS, KNOWN, OPEN, PASS_TABLES, REAL, SCHEMAS, TEXT, TIME, WHOLE, to_table

ROWS = {"trials": TrialRow, "quality": QualityRow, "attacks": AttackRow, "history": HistoryRow}
KINDS = {TEXT: str, WHOLE: int, REAL: float, TIME: datetime}
VALUES = {str: "x", int: 3, float: 0.5, datetime: datetime(2026, 1, 2, tzinfo=UTC)}


def kinds(row):
    """The types of each field."""
    hints = typing.get_type_hints(row)
    return {name: set(typing.get_args(hints[name]) or [hints[name]]) for name in columns(row)}


def full(row):
    """Values for every field."""
    values = {name: VALUES[(kind - {NoneType}).pop()] for name, kind in kinds(row).items()}
    own = dict.fromkeys(("arguments", "config", "versions"), "{}") | {"epsilon_unit": "person"}
    return {name: own.get(name, value) for name, value in values.items()}


def test_every_table_of_a_pass_has_typed_rows():
    assert set(PASS_TABLES) == {*ROWS, "scores"}


@pytest.mark.parametrize("table", ROWS)
def test_a_row_has_the_columns_of_its_table_with_their_types(table):
    found = {name: kind - {NoneType} for name, kind in kinds(ROWS[table]).items()}
    assert found == {name: {KINDS[kind]} for name, kind in SCHEMAS[table].items()}
    assert list(found) == list(SCHEMAS[table])


@pytest.mark.parametrize("table", ROWS)
def test_a_row_names_itself(table):
    kind = kinds(ROWS[table])
    assert not [key for key in KEYS[table] if NoneType in kind[key]]


@pytest.mark.parametrize("table", KNOWN)
def test_what_readers_rely_on_is_never_null_in_a_typed_row(table):
    kind = kinds(ROWS[table])
    assert not [column for column in KNOWN[table] if NoneType in kind[column]]


@pytest.mark.parametrize("table", ROWS)
def test_a_row_is_stored_with_every_value_in_its_column(table):
    values = full(ROWS[table])
    assert to_table(table, [ROWS[table](**values).to_dict()]).to_pylist() == [values]


@pytest.mark.parametrize("table", OPEN)
def test_values_without_a_field_become_further_columns_of_open_tables(table):
    values = {**full(ROWS[table]), "training.batch_size": 8, "sigma": None}
    row = ROWS[table].of(values)
    assert row.further == {"training.batch_size": 8, "sigma": None}
    assert row.to_dict() == values
    assert to_table(table, [row.to_dict()]).column_names[len(SCHEMAS[table]) :] == ["sigma", "training.batch_size"]


def test_scores_of_several_attacks_are_joined_in_order():
    names = [field.name for field in dataclasses.fields(ScoreRows)]
    assert names == list(SCHEMAS["scores"])
    parts = [part("a", 2), part("b", 3)]
    found = to_table("scores", joined(parts))
    assert found["attack_id"].to_pylist() == ["a", "a", "b", "b", "b"]
    assert found["query"].to_pylist() == [0, 1, 0, 1, 2]
    assert found.schema.field("score").type == pa.float32()


def part(attack, count):
    yes = np.ones(count, dtype=bool)
    ids = {name: np.full(count, word, dtype=object) for name, word in (("trial_id", "t"), ("attack_id", attack))}
    numbers = np.arange(count)
    return ScoreRows(**ids, query=numbers, unit=numbers, member=yes, judged=yes, coin=~yes, score=numbers / 2)
