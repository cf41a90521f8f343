"""'Leakage is shown': by redrawn coins, the strongest of all attacks, and never too often."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.stats import redrawn
from analysis.stats.effects import means
from analysis.stats.redrawn import law_of, leakage_shown, strongest
from study.store import Store
from tests.analysis.synthetic import panel_study

ONE = pd.MultiIndex.from_product([["none"], [100], [10]], names=("arm", "train_size", "epochs"))
TWO = pd.MultiIndex.from_product([["none", "dropout"], [100], [10]], names=("arm", "train_size", "epochs"))
CELL = {"variant": "dcgan", "arm": "none", "train_size": 100, "epochs": 10}


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(redrawn, "DRAWS", 199)


def together(random, gains, records=40, replicates=3):
    """A study of one cell, and attacks that gain so much there, on the same coins."""
    parts = [panel_study(random, [gain], replicates, ONE, records=records) for gain in gains]
    names = [f"attack{number}" for number in range(len(gains))]
    parts = [(one.wide.assign(attack=name), one.scores, name) for one, name in zip(parts, names, strict=True)]
    member = parts[0][1]["member"].to_numpy()
    wide = pd.concat([own.assign(attack_id=name) for own, _, name in parts], ignore_index=True)
    tables = []
    for gain, (_, scores, name) in zip(gains, parts, strict=True):
        moved = scores["score"] + gain * (member.astype(float) - scores["member"])
        tables.append(scores.assign(attack_id=name, member=member, score=moved))
    made = panel_study(random, [0.0], replicates, ONE, records=records)
    return replace(made, wide=wide, scores=pd.concat(tables, ignore_index=True))


@pytest.mark.long
def test_nothing_is_shown_of_targets_that_leak_nothing_in_more_than_5_studies_of_100_whatever_is_tried(quick):
    random, runs = np.random.default_rng(1), 60
    p = [strongest(together(random, [0.0] * 5), CELL)["p"] for _ in range(runs)]
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5
    assert np.mean(p) > 0.35  # and p is no smaller than uniform: each attack is not tested as if it were alone


def test_the_strongest_attack_is_found_and_named(quick):
    found = strongest(together(np.random.default_rng(2), [0.0, 2.0, 0.0]), CELL)
    assert (found["attack"], found["attacks"], found["replicates"]) == ("attack1", 3, 3)
    assert found["p"] == 1 / 200
    assert found["auc"] > 0.8


def test_every_cell_after_the_last_level_is_tested_and_all_are_corrected_together():
    data = panel_study(np.random.default_rng(3), [1.5, 0.0], 5, TWO, records=100)
    table = leakage_shown(data).set_index("arm")
    assert table["shown"].to_dict() == {"none": True, "dropout": False}
    assert table.loc["none", "p_holm"] == pytest.approx(2 * np.pi**2 / 6 * table.loc["none", "p"])  # cells, looks
    told = means(data, data.wide, "auc", data.cell).set_index("arm")
    for name, column in {"auc": "mean", "auc_low": "low", "auc_high": "high"}.items():
        assert table[name].to_dict() == told[column].to_dict()  # one interval a cell
    assert table["tpr_at_1pct_fpr"].isna().all()  # 250 non-members in all


def test_tpr_at_1_percent_fpr_is_of_all_replicates_together_where_they_have_1000_non_members():
    data = panel_study(np.random.default_rng(4), [1.5], 6, ONE, records=400)
    row = leakage_shown(data).iloc[0]
    assert row["tpr_at_1pct_fpr_low"] < row["tpr_at_1pct_fpr"] < row["tpr_at_1pct_fpr_high"]
    assert row["tpr_at_1pct_fpr"] > 0.05


def test_coins_are_drawn_as_the_design_draws_them():
    data = panel_study(np.random.default_rng(5), [0.0], 4, ONE, records=60)
    member = np.tile(np.arange(60) < 12, (4, 1))
    persons = np.arange(60) // 2
    random = np.random.default_rng(6)
    logan = replace(data, resolved={"split": {"name": "logan"}})
    drawn = law_of(logan, member, None)(random, 50)
    assert (drawn.sum(-1) == 12).all() and drawn.std() > 0
    panel = replace(data, resolved={"split": {"name": "panel", "probability": 0.2}})
    drawn = law_of(panel, member, persons)(random, 500)
    assert drawn.mean() == pytest.approx(0.2, abs=0.01)  # five standard errors of 60,000 coins of 30 persons
    assert (drawn[..., ::2] == drawn[..., 1::2]).all() and len(set(drawn.sum(-1).ravel())) > 5


def test_a_public_copy_tests_nothing(monkeypatch):
    monkeypatch.setattr(Store, "public", True)
    data = replace(panel_study(np.random.default_rng(7), [1.0], 5, ONE), scores=None)
    assert leakage_shown(data).empty


def test_replicates_that_lack_an_attack_are_left_out_and_where_all_do_one_attack_is_tested(quick):
    data = together(np.random.default_rng(8), [1.0, 1.0, 1.0])
    lost = data.wide[(data.wide["attack"] == "attack1") & (data.wide["replicate"] == 0)].index
    found = strongest(replace(data, wide=data.wide.drop(lost)), CELL)
    assert (found["replicates"], found["attacks"]) == (2, 3)
    everywhere = data.wide[data.wide["replicate"] == data.wide["attack"].str[-1].astype(int)].index
    assert strongest(replace(data, wide=data.wide.drop(everywhere)), CELL)["attacks"] == 1
