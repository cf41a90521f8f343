"""A name that is none is refused by every reader, in one line, and by `store check` too; and nothing writes one.

Stores are sealed after they were changed, so that no checksum refuses them first.
"""

import itertools
import shutil

import pandas as pd
import pytest

from analysis.report.conditions import Condition
from analysis.report.headline import verdict
from analysis.stats.baselines import verdicts
from analysis.study_data import load
from study.store import Store
from study.store.names import is_column, is_defense, is_word
from study.store.schema import to_table
from tests.hostile.kinds import KINDS
from tests.hostile.places import NAMES
from tests.hostile.readers import ASKED, refuses


def asked(position, kind):
    """Who is asked: all readers of a spec; else `check` where it reads that, and one of the others in turn."""
    first, *others = NAMES[position][1]
    if "plan" in others:
        return (first, *others)
    turn = list(NAMES).index(position) + list(KINDS).index(kind)
    return (first, others[turn % len(others)])


def some_kinds(position):
    """Three of the kinds, in turn, for a position; all of them are for `make test-all`."""
    kinds, first = list(KINDS), list(NAMES).index(position) * 3
    return {kinds[(first + more) % len(kinds)] for more in range(3)}


def test_every_kind_of_text_meets_every_position_and_every_reader():
    shown = {(kind, reader) for position in NAMES for kind in some_kinds(position) for reader in asked(position, kind)}
    assert {kind for kind, _ in shown} == set(KINDS) and {reader for _, reader in shown} == set(ASKED)
    met = {(kind, reader) for position in NAMES for kind in KINDS for reader in asked(position, kind)}
    assert met == set(itertools.product(KINDS, ASKED))
    assert len(NAMES) * len(KINDS) > 600


def require_refusals(position, kinds, smallest, tmp_path, capsys):
    for kind in kinds:
        store = Store.at(shutil.copytree(smallest.folder, tmp_path / kind / "small"))
        NAMES[position][0](store, KINDS[kind])
        for reader in asked(position, kind):
            assert refuses(reader, store, capsys), (kind, reader)


@pytest.mark.parametrize("position", NAMES)
def test_a_name_that_is_none_is_refused_and_check_says_so(smallest, tmp_path, capsys, position):
    require_refusals(position, some_kinds(position), smallest, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("position", NAMES)
def test_so_is_every_other(smallest, tmp_path, capsys, position):
    require_refusals(position, KINDS.keys() - some_kinds(position), smallest, tmp_path, capsys)


@pytest.mark.parametrize("name", ["query", "quotes", "import", "shell"])
def test_a_column_of_the_wide_table_never_runs_when_checks_are_passed_by(sound, name):
    """As if a store were read by code that checks no names: no condition of it becomes code."""
    data = load(sound.folder)
    data.wide[f"target.{KINDS[name]}"] = [1.0, 2.0] * (len(data.wide) // 2)
    with pytest.raises(ValueError, match="is no name of a column"):
        verdict(data, verdicts(data), pd.DataFrame())


@pytest.mark.parametrize("kind", KINDS)
def test_a_condition_has_names_and_selects_by_masks_whatever_it_has(kind):
    text, table = KINDS[kind], pd.DataFrame({KINDS[kind]: ["x", KINDS[kind], "y"], "plain": ["x", KINDS[kind], "y"]})
    with pytest.raises(ValueError, match="is no name of a column"):
        Condition.of({text: ["x"]})
    with pytest.raises(ValueError, match="is no name of a column"):
        Condition.of({}, [{text: ["x"]}])
    for column in (text, "plain"):  # as if it were one
        assert Condition(((column, (text,)),)).select(table).index.tolist() == [1]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_written_under_a_name_that_is_none(kind):
    text, trial = KINDS[kind], {"trial_id": "t", "trajectory_id": "t"}
    to_table("trials", [{**trial, "target.norm": text, "flags": text, "defense": "dp_sgd+dropout"}])
    odd = {
        "trials": [
            {**trial, text: 1.0},
            {**trial, "role": text},
            {**trial, "defense": text},
            {**trial, "config": text},
        ],
        "attacks": [{"trial_id": "t", "attack_id": "a", "attack": text}, {"trial_id": "t", "attack_id": text}],
        "quality": [{"trial_id": "t", "measure_id": "m", "measure": text}],
        "design": [{"role": "study", "kind": "attack", "id": "a", "label": text}],
    }
    for table, several in odd.items():
        for row in several:
            with pytest.raises(ValueError, match="which is no"):
                to_table(table, [row])


def test_names_that_studies_have_are_names():
    for name in ("train_size", "target.norm", "training.learning_rate", "dp_sgd.sigma", "kid_domain_unseen", "d_real"):
        assert is_column(name)
    for name in ("", "Target", ".a", "a.", "a..b", "a b", "a\n", "é", "1a", "a-b", "x" * 201, None, 7):
        assert not is_column(name)
    for word in ("white_box", "local_gan_known20_steps1000", "a-b", "WHITE_BOX", "8f3a", "c3a8"):
        assert is_word(word)
    for word in ("", "-a", "_a", "a b", "a\n", "é", "a.b", "a/b", "a+b", None):
        assert not is_word(word)
    assert is_defense("dp_sgd+dropout") and not is_defense("dp_sgd+") and not is_defense("a + b")
