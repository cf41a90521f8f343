"""Derived attacks in the analysis: what is computed anew, what is not adjusted, and who could run them."""

import numpy as np
import pytest

from analysis.stats.calibration import calibration_gains
from analysis.stats.derived_scores import base_labels, takes_replicates
from analysis.stats.inference import AUC, judged_scores, mean_of
from analysis.stats.records import records, share_at_risk
from analysis.stats.redrawn import coins_of, leakage_shown, strongest
from analysis.stats.threats import threats
from analysis.study_data import load
from mia_core.metrics.control_variate import with_control_variate
from mia_core.metrics.two_way import mean_auc
from study.store import Store
from tests.made_scores import design_of, hard_records, write_and_derive

ITEMS = "derived=[calibrated,lira,ensemble]"


def study(folder, share, shift, *overrides):
    store = Store(folder, "small")
    write_and_derive(store, design_of(*overrides), hard_records(share, shift))
    return load(store.uri)


@pytest.fixture(scope="module")
def leaking(tmp_path_factory):
    return study(tmp_path_factory.mktemp("leaking"), 0.8, 0.5, ITEMS)


@pytest.fixture(scope="module")
def shadowed(tmp_path_factory):
    overrides = "shadows=4", "derived=[{name: calibrated, base: white_box}]"
    return study(tmp_path_factory.mktemp("shadowed"), 0.8, 0.5, *overrides)


def cell_of(data):
    return dict(zip(data.cell, data.last[list(data.cell)].iloc[0], strict=True))


def test_redraws_compute_derived_scores_anew_and_begin_with_what_is_sealed(leaking):
    attacks, trials, draws = coins_of(leaking, cell_of(leaking))
    for attack, values in zip(attacks, draws.values, strict=True):
        sealed = judged_scores(leaking, attack)
        assert values[0] == pytest.approx(sealed.aucs.auc.mean(), abs=2e-4)
        own = sealed.of(trials)[0]
        # Frozen scores that were computed from the study's coins keep them: their redraws are another distribution.
        assert np.abs(values[1:].mean() - 0.5) < 0.01, attack
        assert own.shape == (5, sealed.score.shape[1])


def test_a_derived_attack_can_be_the_strongest_and_is_shown(leaking):
    found = strongest(leaking, cell_of(leaking))
    assert found["attack"] in ("lira_white_box", "calibrated_white_box", "ensemble", "lira_random", "calibrated_random")
    assert leakage_shown(leaking)["shown"].all()
    assert found[AUC] > mean_of(leaking, leaking.attack("white_box")).estimate + 0.05


def test_only_scores_that_take_other_replicates_have_no_control_variate(leaking, shadowed):
    for data, label, adjusted in (
        (leaking, "white_box", True), (leaking, "lira_white_box", False), (shadowed, "calibrated_white_box", True),
    ):  # fmt: skip
        rows = data.attack(label)
        assert takes_replicates(rows) != adjusted
        found = judged_scores(data, label)
        expected = mean_auc(with_control_variate(found.score, found.member) if adjusted else found.aucs)
        assert mean_of(data, rows).estimate == pytest.approx(float(expected.estimate), abs=1e-12)


def test_records_at_risk_of_a_derived_attack_are_those_of_its_base(leaking):
    assert base_labels(leaking, "lira_white_box") == ["white_box"] and not base_labels(leaking, "white_box")
    assert records(leaking, "lira_white_box").equals(records(leaking, "white_box"))
    assert share_at_risk(leaking, "ensemble")["reason"].iloc[0].startswith("ensemble learns from other replicates")


def test_an_attacker_with_other_models_like_it_is_a_row_of_the_threat_table(leaking):
    table = threats(leaking, cell_of(leaking))
    assert "whole model + other models like it" in set(table["attacker"])
    assert "whole model" in set(table["attacker"])
    best = table.set_index("attacker")[AUC]
    assert best["whole model + other models like it"] > best["whole model"] + 0.05


def test_the_gain_of_calibration_is_beside_what_its_formula_predicts(leaking, tmp_path):
    """Where records are .8 of the variance calibration gains, where they are nothing it costs, about as predicted."""
    rows = calibration_gains(leaking)
    assert list(rows["base"]) == ["white_box", "random"]
    for row in rows.to_dict("records"):
        expected = judged_scores(leaking, row["attack"]).aucs.auc.mean() - row["raw"]
        assert row["effect"] == pytest.approx(expected) and row["low"] < row["effect"] < row["high"]
        assert row["share"] == pytest.approx(0.8, abs=0.1) and 1 < row["references"] < 2
        assert row["low"] < row["predicted"] < row["high"]
    (easy,) = calibration_gains(study(tmp_path, 0.0, 0.8)).to_dict("records")
    assert easy["share"] < 0.1 and easy["predicted"] < 0 and easy["effect"] < 0
