"""Settings in a trial's row that no trial can have: every reader refuses them in one line, or has no use for them."""

import shutil

import pytest

from study.store import Store
from tests.forging import rewrite, with_json
from tests.hostile.readers import ASKED, answer

KEYS = ("data", "data_digest", "split", "target", "training", "defense", "train_size", "epochs", "replicate", "seed")
ODD = {"null": None, "a text": "x", "a number": -1, "a truth value": True, "a list": [[]], "a mapping": {"name": []}}
READERS = [name for name in ASKED if name not in ("notebooks", "figures")]


def missing(key):
    return lambda config: config.pop(key, None)


def put(key, value):
    return lambda config: config.update({key: value})


FORGED = {
    **{f"no {key}": missing(key) for key in KEYS},
    **{f"{key} is {words}": put(key, value) for key in KEYS for words, value in ODD.items()},
    **{f"the batch size is {value}": lambda config, value=value: config["training"].update(batch_size=value)
       for value in (0, -1, "x", None, 1e308)},
    "no batch size": lambda config: config["training"].pop("batch_size"),
    "nothing": lambda config: config.clear(),
}  # fmt: skip
AT_ONCE = ("nothing", "no training", "defense is a mapping", "the batch size is 0")


def readers_take_no_bug(kind, sound, folder, capsys):
    store = Store.at(shutil.copytree(sound.folder, folder / "small"))
    rewrite(store, "trials", lambda table: with_json(table, "config", FORGED[kind]))
    for reader in READERS:
        code, said = answer(reader, store, capsys)
        assert code in (0, 1, 2), (reader, said)
        assert "This is a bug" not in said and "Traceback" not in said, (reader, said[-1500:])


@pytest.mark.parametrize("kind", AT_ONCE)
def test_no_reader_takes_forged_settings_for_a_bug(kind, sound, undrawn, tmp_path, capsys):
    readers_take_no_bug(kind, sound, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in FORGED if kind not in AT_ONCE])
def test_nor_any_other(kind, sound, undrawn, tmp_path, capsys):
    readers_take_no_bug(kind, sound, tmp_path, capsys)
