"""Derived attacks in the analysis: what is computed anew, what is not adjusted, and who could run them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from analysis.report.records_at_risk import risk
from analysis.stats.calibration import calibration_gains
from analysis.stats.derived_scores import base_labels, takes_replicates
from analysis.stats.inference import AUC, judged_scores, mean_of
from analysis.stats.record_panel import panel_of
from analysis.stats.records import by_group, records, risk_by_attack, share_at_risk
from analysis.stats.redrawn import coins_of, leakage_shown, strongest
from analysis.stats.threats import threats
from analysis.study_data import load
from mia_core.data import Pool, load_pool
from mia_core.derived import Ensemble, Evidence
from mia_core.derived.evidence import normal_scores
from mia_core.metrics.control_variate import with_control_variate
from mia_core.metrics.record_effects import coin_p_values, differences, shrunk
from mia_core.metrics.two_way import mean_auc
from study.design.study_design import Design
from study.store import Store
from tests.analysis.synthetic import cell_of
from tests.made_scores import OVERRIDES, design_of, hard_records, write_and_derive
from tests.mia_core.leaking_scores import Population
from tests.small import small_spec

PERSONS = "derived=[{name: person_sum, base: white_box}, ensemble]"
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


def test_an_ensemble_names_records_by_its_own_scores(leaking):
    """Records leak alike by half a standard deviation, of which difficulty is .8: the ensemble subtracts that."""
    found = panel_of(leaking, "ensemble")
    sealed = judged_scores(leaking, "ensemble")
    np.testing.assert_array_equal(found.score, normal_scores(sealed.score).T)
    table = risk_by_attack(leaking, "white_box").set_index("attack")
    assert list(table.index) == ["white_box", "ensemble"] and (table["records"] > 80).all()
    assert table.loc["ensemble", "low"] > table.loc["white_box", "low"]
    own = share_at_risk(leaking, "ensemble").iloc[0]
    assert table.loc["ensemble", "share"] == own["share"] and pd.isna(own["reason"])


def test_records_are_told_by_scores_of_shadows_themselves(shadowed):
    found = panel_of(shadowed, "calibrated_white_box")
    sealed = judged_scores(shadowed, "calibrated_white_box")
    np.testing.assert_array_equal(found.score, normal_scores(sealed.score).T)


@pytest.mark.long
@pytest.mark.parametrize("records", [30, 100])
def test_ps_of_single_records_by_an_ensemble_hold_their_level_where_nothing_leaks(records):
    """Scores are held while a record's coins are drawn again, though its other coins are in the weights."""
    random, low, count, inside = np.random.default_rng(11), 0, 0, []
    for _ in range(6000 // records):
        parts = [Population(0.8).draw(random, 1, 8, records, 0.5) for _ in range(2)]
        member = parts[0][1][0]
        stacked = np.stack([part[0][0] for part in parts])
        score = normal_scores(Ensemble(None)(Evidence.among(Ensemble.uses(8), stacked, member), 0.5)).T
        p, _ = coin_p_values(score, member.T, 0.5, random)
        low, count = low + (p <= 0.05).sum(), count + (~np.isnan(p)).sum()
        _, least, most = shrunk(differences(score, member.T))
        inside.append(((least <= 0) & (most >= 0)).mean())
    assert 0.02 < low / count < 0.06 and np.mean(inside) > 0.95


def test_persons_at_risk_are_those_whose_records_are_members_together(tmp_path):
    """Persons of two records: risk of persons by their sum, and by an ensemble, beside that of the base."""
    spec = small_spec(*OVERRIDES, "seed=3", "replicates=8", PERSONS)
    pool = load_pool(spec.data)
    design = Design(spec, Pool("digits", pool.images, pool.labels, np.arange(len(pool)) // 2))
    store = Store(tmp_path, "small")
    write_and_derive(store, design, hard_records(0.5, 1.0, 3))
    data = load(store.uri)
    table = risk_by_attack(data, "white_box").set_index("attack")
    assert set(table.index) == {"white_box", "ensemble", "person_sum_white_box"}
    assert (table["persons"] == table.loc["white_box", "persons"]).all() and table["persons"].between(40, 50).all()
    of_persons = by_group(data, "person_sum_white_box")
    assert len(of_persons) == table.loc["white_box", "persons"] and set(of_persons["records"]) == {2}
    assert table.loc["white_box", "persons_named"] == (by_group(data, "white_box")["q"] <= 0.05).sum() > 0
    section = risk(data, SimpleNamespace(attack="white_box", cell=cell_of(data)), True)
    titles = [block.caption for block in section.blocks if block.kind == "table"]
    assert "By attack" in titles and any("persons most at risk" in title for title in titles)


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
