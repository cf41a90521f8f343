"""The search for planted secrets finds what it is there to find."""

import base64
import gzip
import json
import sqlite3
from urllib.parse import quote

import pandas as pd
import pytest

from tests.left_behind.planted import SECRETS, found_below, found_in


def as_text(path, text):
    path.write_text(f"before {text} after")


def as_parquet(path, text):
    pd.DataFrame({"column": [f"before {text} after"]}).to_parquet(path, compression="zstd")


def as_gzip(path, text):
    path.write_bytes(gzip.compress(text.encode()))


def as_database(path, text):
    with sqlite3.connect(path) as database:
        database.execute("create table logged (line text)")
        database.execute("insert into logged values (?)", [text])


@pytest.mark.parametrize("put", [as_text, as_parquet, as_gzip, as_database])
@pytest.mark.parametrize("secret", SECRETS)
def test_the_search_finds_each_secret_in_each_form_and_kind_of_file(tmp_path, put, secret):
    told = {
        "plain": secret,
        "percent": quote(secret, safe=""),
        "json": json.dumps({"key": secret}),
        **{f"base64 {n}": base64.b64encode(f"{'x' * n}{secret}:y".encode()).decode() for n in range(3)},
    }
    for name, text in told.items():
        put(tmp_path / name, text)
    found = found_below(tmp_path, SECRETS)
    assert {path.rpartition("/")[2] for path, planted in found if planted == secret} == set(told)
    assert found_in(b"nothing of that", SECRETS) == []
