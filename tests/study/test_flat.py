"""`mia-study export`: flat files, which programs that know nothing of this project read, each row once."""

import ast
import csv
import io
import re
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.outcomes import COMPLETE, REFUSED
from study.store import Store, read
from study.store import flat as flat_files
from study.store.flat import FLAT, SCORES, export_flat
from study.store.spreadsheets import to_csv
from tests.commands import mia_study

export = mia_study("export")
STORES = Path(__file__).parent / "stores"
PAGE = Path(__file__).parents[2] / "docs" / "store.md"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Some passes are compacted, others are not, and some twice."""
    return Store.at(shutil.copytree(STORES / "format_2_full" / "small", tmp_path_factory.mktemp("flat") / "small"))


@pytest.fixture(scope="module")
def flat(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "flat"
    export_flat(store, out, include_records=True, csv=True)
    return out


@pytest.mark.parametrize("table", [*FLAT, SCORES])
def test_each_table_is_one_file_with_the_rows_that_read_gives(store, flat, table):
    wanted = read(store.root, store.study, table)
    found = pq.read_table(flat / f"{table}.parquet")
    assert found.column_names == list(wanted.columns) and len(found) == len(wanted) > 0
    assert not {field.type for field in found.schema} & {pa.null(), pa.large_string()}
    for name in wanted:
        have, want = found[name].to_pandas(), wanted[name]
        assert [None if pd.isna(x) else x for x in have] == [None if pd.isna(x) else x for x in want], name
    text = pd.read_csv(flat / f"{table}.csv")
    assert list(text.columns) == list(wanted.columns) and len(text) == len(wanted)


def blocks():
    section = PAGE.read_text().partition("## Reading a store without us\n")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.S)


def value_of(code, folder, monkeypatch):
    """Of the last expression of a block, run as a user in that folder would."""
    *before, last = ast.parse(code).body
    assert isinstance(last, ast.Expr)
    monkeypatch.chdir(folder)
    names = {}
    exec(compile(ast.Module(before, []), "block", "exec"), names)
    return eval(compile(ast.Expression(last.value), "block", "eval"), names)


@pytest.mark.parametrize("library", ["pandas", "polars", "duckdb"])
def test_the_lines_of_the_docs_count_every_row_once(store, flat, library, monkeypatch):
    pytest.importorskip(library, reason="a development dependency: make lock, or pip install '.[dev]'")
    (code,) = [block for block in blocks() if f"import {library}" in block]
    wide = read(store.root, store.study, "wide")
    wanted = {
        label: (int(n), auc) for label, n, auc in wide.groupby("attack")["auc"].agg(["size", "mean"]).itertuples()
    }
    found = value_of(code, flat.parent, monkeypatch)
    rows = (
        found.reset_index().itertuples(index=False)
        if library == "pandas"
        else found.rows()
        if library == "polars"
        else found
    )
    told = {label: (rows, auc) for label, rows, auc in map(tuple, rows)}
    assert told.keys() == wanted.keys()
    for label, (rows, auc) in wanted.items():
        assert told[label][0] == rows and told[label][1] == pytest.approx(auc, nan_ok=True)


@pytest.mark.long
def test_scores_are_written_only_where_they_are_wanted_and_the_files_are_for_their_owner(store, tmp_path, capsys):
    assert export([store.uri, str(tmp_path / "out")]) == COMPLETE
    told = capsys.readouterr().out
    assert "scores are left out" in told and "wide.parquet: " in told
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == sorted(f"{table}.parquet" for table in FLAT)
    assert {oct(file.stat().st_mode & 0o777) for file in files} == {"0o600"}
    assert export([store.uri, str(tmp_path / "out"), "--include-records", "--csv"]) == COMPLETE
    assert len(list((tmp_path / "out").iterdir())) == 2 * len(FLAT) + 2
    assert "left out" not in capsys.readouterr().out


@pytest.mark.long
def test_nothing_of_an_earlier_export_stays_beside_a_later_one(store, tmp_path):
    out = tmp_path / "out"
    assert export([store.uri, str(out), "--include-records", "--csv"]) == COMPLETE
    (out / "notes.txt").write_text("the user's own")
    (out / "scores.csv").unlink()
    (out / "scores.csv").symlink_to(out / "notes.txt")
    assert export([store.uri, str(out)]) == COMPLETE
    assert {path.name for path in out.iterdir()} == {f"{table}.parquet" for table in FLAT} | {"notes.txt"}
    assert (out / "notes.txt").read_text() == "the user's own"


FORMULAS = [
    "=1+1",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "\uff1d1+1",
    "-",
    "=",
    "+_1",
]
PLAIN = ["a\r=1", "a\n=1", "dp_sgd", "a=b", "-1e-3", "+5", "-inf", "'=1", "", None, "2-1", '{"a": "=1"}']


def test_no_cell_of_a_csv_file_is_a_formula_and_numbers_stay_numbers():
    values = [*FORMULAS, *PLAIN]
    frame = pd.DataFrame({"text": values, "number": [-1.5] * len(values), "=head": ["a"] * len(values)})
    with io.StringIO(to_csv(frame).decode(), newline="") as file:
        (head, *rows) = csv.reader(file)
    assert head == ["text", "number", "'=head"]
    assert [row[0] for row in rows] == [f"'{text}" for text in FORMULAS] + [text or "" for text in PLAIN]
    assert {row[1] for row in rows} == {"-1.5"}


@pytest.mark.long
def test_a_csv_file_of_a_store_with_formulas_for_texts_has_none(store, tmp_path, monkeypatch):
    def forged(root, study, table):
        return read(root, study, table).assign(note="=HYPERLINK(1)")

    monkeypatch.setattr(flat_files, "read", forged)
    export_flat(store, tmp_path, csv=True)
    for table in FLAT:
        assert set(pd.read_csv(tmp_path / f"{table}.csv")["note"]) == {"'=HYPERLINK(1)"}


def test_a_study_that_began_anew_under_other_settings_is_exported_as_it_is_now(store, flat):
    assert set(pd.read_parquet(flat / "trials.parquet")["trial_id"]) == set(
        read(store.root, store.study, "design").query("kind == 'trial'")["trial_id"]
    ) & set(read(store.root, store.study, "trials", all=True)["trial_id"])


@pytest.mark.parametrize("version", ["format_1", "format_2_full"])
def test_stores_of_every_version_are_exported(version, tmp_path):
    folder = shutil.copytree(STORES / version / "small", tmp_path / "small")
    assert export([str(folder), str(tmp_path / "out"), "--csv"]) == COMPLETE


def test_a_place_that_is_no_folder_is_refused(store, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for out in (str(tmp_path / "file"), "s3://bucket/x"):
        assert export([store.uri, out]) == REFUSED
        assert capsys.readouterr().err.startswith("refused: ")
