"""Settings in a trial's row that no trial can have: every reader refuses them in one line, or has no use for them."""

import shutil

import pyarrow as pa
import pytest

from study.store import Store
from study.store.schema import KNOWN
from tests.forging import rewrite, with_json
from tests.hostile.readers import ASKED, answer

KEYS = ("data", "data_digest", "split", "target", "training", "defense", "train_size", "epochs", "replicate", "seed")
ODD = {"null": None, "a text": "x", "a number": -1, "a truth value": True, "a list": [[]], "a mapping": {"name": []}}
READERS = [name for name in ASKED if name not in ("notebooks", "figures")]


def missing(key):
    return lambda config: config.pop(key, None)


def put(key, value):
    return lambda config: config.update({key: value})


def per_person(config, persons):
    """Private arms are per person of so many."""
    config["defense"] = [{**part, "unit": "person"} if "sigma" in part else part for part in config["defense"] or []]
    config["persons"] = persons


FORGED = {
    **{f"no {key}": missing(key) for key in KEYS},
    **{f"{key} is {words}": put(key, value) for key in KEYS for words, value in ODD.items()},
    **{f"the batch size is {value}": lambda config, value=value: config["training"].update(batch_size=value)
       for value in (0, -1, "x", None, 1e308, 10**6)},
    **{f"a person is the unit, of {value}": lambda config, value=value: per_person(config, value)
       for value in (1, 0, "x", None, True)},
    "no batch size": lambda config: config["training"].pop("batch_size"),
    "nothing": lambda config: config.clear(),
}  # fmt: skip
AT_ONCE = (
    "nothing",
    "no training",
    "defense is a mapping",
    "the batch size is 0",
    "the batch size is 1000000",
    "a person is the unit, of 1",
)


def readers_take_no_bug(kind, sound, folder, capsys):
    store = Store.at(shutil.copytree(sound.folder, folder / "small"))
    rewrite(store, "trials", lambda table: with_json(table, "config", FORGED[kind]))
    for reader in READERS:
        code, said = answer(reader, store, capsys)
        assert code in (0, 1, 2), (reader, said)
        assert "This is a bug" not in said and "Traceback" not in said, (reader, said[-1500:])


@pytest.mark.long
@pytest.mark.parametrize("kind", AT_ONCE)
def test_no_reader_takes_forged_settings_for_a_bug(kind, sound, undrawn, tmp_path, capsys):
    readers_take_no_bug(kind, sound, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in FORGED if kind not in AT_ONCE])
def test_nor_any_other(kind, sound, undrawn, tmp_path, capsys):
    readers_take_no_bug(kind, sound, tmp_path, capsys)


def without(column):
    return lambda table: table.set_column(
        table.column_names.index(column), column, pa.nulls(len(table), table.schema.field(column).type)
    )


@pytest.mark.parametrize(
    ("table", "column"), [*((table, column) for table in KNOWN for column in KNOWN[table]), ("trials", "epochs")]
)
def test_a_row_that_lacks_what_every_row_has_is_refused_and_check_says_so(
    table, column, sound, undrawn, tmp_path, capsys
):
    store = Store.at(shutil.copytree(sound.folder, tmp_path / "small"))
    rewrite(store, table, without(column))
    for reader in ("check", "tables", "track", "plan"):
        code, said = answer(reader, store, capsys)
        assert code in (0, 1, 2), (reader, said)
        assert "This is a bug" not in said and "Traceback" not in said and "not reachable" not in said, (reader, said)
        if reader == "tables" or (reader == "track" and column != "epochs"):
            assert code == 2
        if reader == "check" and column != "epochs":
            assert code == 1 and f"lacks the {column}" in said
