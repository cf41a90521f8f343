"""Threats: who can run what, the strongest of it paid for, and how often a named record is right."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from analysis.stats import redrawn
from analysis.stats.effects import mean_columns
from analysis.stats.threats import Attacker, attacker_of, right_of_named, threats
from mia_core.access import Access
from tests.analysis.test_redrawn import CELL, together

WHO = {
    "attack0": ("SAMPLES", "none"),
    "attack1": ("SAMPLES", "reference"),
    "attack2": ("WHITE_BOX", "none"),
    "attack3": ("NONE", "none"),
    "attack4": ("SAMPLES", "known_members 20 % (8) + known_non_members 20 % (8)"),
}


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(redrawn, "DRAWS", 199)


def made(gains, seed=1, **settings):
    data = together(np.random.default_rng(seed), gains, **settings)
    for place, name in enumerate(("access", "knowledge")):
        data.wide[name] = data.wide["attack"].map({label: told[place] for label, told in WHO.items()})
    return data


def test_of_100_records_named_so_many_are_right_as_a_simulated_attacker_finds():
    random = np.random.default_rng(2)
    threshold = norm.isf(0.01)
    for prior in (0.01, 0.1, 0.5):
        member = random.random(2_000_000) < prior
        named = random.normal(size=len(member)) + 1.5 * member > threshold
        found = right_of_named(norm.sf(threshold - 1.5), prior)
        right = member[named].mean()
        assert right == pytest.approx(found, abs=4 * (found * (1 - found) / named.sum()) ** 0.5)
    assert [right_of_named(0.01, prior) for prior in (0.01, 0.1, 0.5)] == pytest.approx([0.01, 0.1, 0.5])


def test_attackers_have_what_they_need_and_can_run_what_takes_less():
    known = attacker_of("SAMPLES", WHO["attack4"][1])
    assert str(known) == "samples + known records"
    assert str(attacker_of("GENERATOR", "extractor + reference")) == "generator + reference records"
    assert attacker_of(float("nan"), "none") is None and attacker_of("SAMPLES", None) is None
    assert attacker_of("<b>", "none") is None
    plain, whole = Attacker(Access.SAMPLES), Attacker(Access.WHITE_BOX)
    assert whole.can(plain) and known.can(plain)
    assert not plain.can(known) and not whole.can(known) and not plain.can(whole)


def test_each_attacker_is_told_its_own_strongest_attack_of_those_that_it_can_run(quick):
    data = made([0.6, 0.0, 2.0, 0.0, 0.0], records=100, replicates=5)
    table = threats(data, CELL).set_index("attacker")
    assert table["attack"].to_dict() == {
        "samples": "attack0",
        "samples + known records": "attack0",
        "samples + reference records": "attack0",
        "whole model": "attack2",
        "whole model + known records + reference records": "attack2",
    }
    # attack3 needs nothing, as who guesses does, and is nobody's
    assert table["attacks"].tolist() == [1, 2, 2, 2, 4]
    assert (table["p"] <= 0.05).all()
    row = table.loc["whole model"]
    own = data.wide[data.wide["attack"] == "attack2"]
    plain, both = mean_columns(data, own, "auc"), mean_columns(data, own, "auc", 1 - 0.05 / 2)
    assert row["auc"] == plain["mean"]
    assert (row["auc_low"], row["auc_high"]) == (both["low"], both["high"])
    assert row["auc_low"] < plain["low"]
    assert np.isnan(row["tpr_at_1pct_fpr"])  # 250 non-members resolve no hundredth of them
    assert np.isnan(row["right_10pct_high"])


def test_named_records_are_right_as_the_tpr_and_its_limits_say(quick):
    row = threats(made([1.5, 0.0, 0.0, 0.0, 0.0], records=500, replicates=5), CELL).iloc[0]
    for name, prior in (("right_1pct", 0.01), ("right_10pct", 0.1), ("right_50pct", 0.5)):
        for end in ("", "_low", "_high"):
            assert row[f"{name}{end}"] == right_of_named(row[f"tpr_at_1pct_fpr{end}"], prior)
        assert prior < row[f"{name}_low"] < row[name] < row[f"{name}_high"] < 1


@pytest.mark.long
def test_choosing_the_strongest_shows_nothing_in_more_than_5_studies_of_100_where_nothing_leaks(quick):
    runs, p, above = 60, [], 0
    for seed in range(runs):
        row = threats(made([0.0] * 5, seed, records=40, replicates=5), CELL).iloc[-1]
        p.append(row["p"])
        above += row["auc_low"] > 0.5
    error = 3 * (0.05 * 0.95 / runs) ** 0.5
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + error
    assert above / runs <= 0.05 + error
    assert np.mean(p) > 0.35


def test_a_public_copy_has_no_threats():
    data = replace(made([0.0] * 5), scores=None)
    data.kept["public"] = True
    assert threats(data, CELL).empty
