"""Means and contrasts as tables have them: AUC two-way from scores, other values over replicates."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import ttest_1samp

from analysis.stats.effects import contrasts, means, t_interval
from analysis.stats.inference import judged_scores
from analysis.study_data import StudyData
from mia_core.metrics.control_variate import with_control_variate
from mia_core.metrics.influence import aucs
from mia_core.metrics.two_way import contrast, mean_auc
from study.store import Store
from tests.analysis.synthetic import panel_study, study, true_auc

PAIR = pd.MultiIndex.from_product([["none"], [100], [10, 40]], names=("arm", "train_size", "epochs"))
CELLS = pd.MultiIndex.from_product([["none"], [100, 400], [10, 40]], names=("arm", "train_size", "epochs"))
STUDIES = 200
MARGIN = 3 * (0.95 * 0.05 / STUDIES) ** 0.5
"""Three standard errors of a share of 95 % found in so many studies."""


def made(replicates=6, shift=0.1):
    """AUCs .6 and .7 after 10 and 40 epochs, of replicates that are 0, .1, ... log odds above."""
    values = np.tile(logit([0.6, 0.7]), 2) + shift * np.arange(replicates)[:, None]
    return study(values, np.tile([1.0, 2.0], 2) + 0.1 * np.arange(replicates)[:, None], CELLS)


def test_the_t_interval_is_the_textbooks():
    values = np.array([1.0, 2.0, 4.0, 8.0, 9.0])
    mean, low, high = t_interval(values)
    expected = ttest_1samp(values, 0).confidence_interval()
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("replicates", [3, 5, 10])
def test_intervals_over_replicates_cover_the_truth_95_times_in_100(replicates):
    random = np.random.default_rng(1)
    inside = [low <= 0 <= high for _ in range(4000) for _, low, high in [t_interval(random.normal(size=replicates))]]
    assert abs(np.mean(inside) - 0.95) < 4 * (0.95 * 0.05 / 4000) ** 0.5  # four standard errors


@pytest.mark.parametrize("replicates", [4, 5])
def test_a_mean_of_auc_is_two_way_and_has_the_control_variate_from_5_replicates_on(replicates):
    data = panel_study(np.random.default_rng(1), [0.5, 1.0], replicates, PAIR)
    table = means(data, data.attack("white_box"), "auc", data.cell)
    for row in table.itertuples():
        trials = data.wide.loc[data.wide["epochs"] == row.epochs, "trial_id"]
        score, member = judged_scores(data, "white_box").of(list(trials))
        found = mean_auc(with_control_variate(score, member) if replicates == 5 else aucs(score, member))
        assert (row.mean, row.low, row.high) == pytest.approx((found.estimate, *found.interval()))
        assert row.descriptive == (replicates < 5)


@pytest.mark.long
def test_means_and_contrasts_that_are_printed_cover_what_is_true_of_records_like_these():
    gains = [0.4, 0.8]
    truth = [true_auc(gain) for gain in gains]
    data = panel_study(np.random.default_rng(2), gains, 12, PAIR, records=100, share=0.8, attacks=STUDIES)
    table = means(data, data.wide, "auc", ["attack", *data.cell])
    late = table[table["epochs"] == 40]
    assert abs(((late["low"] <= truth[1]) & (truth[1] <= late["high"])).mean() - 0.95) <= 0.02 + MARGIN
    effects = contrasts(data, data.wide, "auc", "epochs", 10, ["attack"])
    true = truth[1] - truth[0]
    assert abs(((effects["low"] <= true) & (true <= effects["high"])).mean() - 0.95) <= 0.02 + MARGIN
    own = data.wide[data.wide["epochs"] == 40].pivot(index="replicate", columns="attack", values="auc").to_numpy()
    _, low, high = t_interval(own)
    assert ((low <= truth[1]) & (truth[1] <= high)).mean() < 0.9  # these studies see what such an interval misses


def test_replicates_common_to_both_levels_cancel_in_a_contrast():
    data = made()
    effects = contrasts(data, data.attack("white_box"), "auc", "epochs", 10, ["train_size"])
    assert len(effects) == 2
    assert effects["replicates"].eq(6).all()
    assert not effects["descriptive"].any()
    shifts = 0.1 * np.arange(6)
    expected = np.mean(expit(logit(0.7) + shifts) - expit(logit(0.6) + shifts))
    assert effects["effect"].to_numpy() == pytest.approx(expected, abs=2e-4)
    parts = [aucs(*judged_scores(data, "white_box").of(list(own["trial_id"]))) for own in halves(data, 100)]
    assert effects.loc[0, ["low", "high", "p"]].tolist() == pytest.approx(
        [*contrast(*parts).interval(), contrast(*parts).p_value()]
    )


def halves(data, size):
    rows = data.wide[data.wide["train_size"] == size]
    return rows[rows["epochs"] == 40], rows[rows["epochs"] == 10]


@pytest.mark.long
def test_no_difference_is_found_where_there_is_none_in_5_studies_of_100_at_most():
    data = panel_study(np.random.default_rng(3), [0.6, 0.6], 5, PAIR, records=80, attacks=STUDIES)
    found = contrasts(data, data.wide, "auc", "epochs", 10, ["attack"])
    rejected = found["p"] < 0.05
    assert (rejected == ~((found["low"] <= 0) & (found["high"] >= 0))).all()
    assert rejected.mean() <= 0.05 + MARGIN


def test_other_values_are_compared_in_their_own_units_over_replicates():
    data = made()
    effects = contrasts(data, data.attack("white_box"), "kid_domain_unseen", "epochs", 10, ["train_size"])
    assert effects["effect"].to_numpy() == pytest.approx(1.0)


def test_few_replicates_are_descriptive_only_and_a_single_one_has_no_interval():
    data = made(4)
    table = means(data, data.attack("white_box"), "auc", ["train_size", "epochs"])
    assert table["descriptive"].all() and table["replicates"].eq(4).all()
    assert ((table["low"] < table["mean"]) & (table["mean"] < table["high"])).all()
    one = made(1)
    table = means(one, one.attack("white_box"), "auc", ["train_size", "epochs"])
    assert table["mean"].tolist() == pytest.approx([0.6, 0.7, 0.6, 0.7]) and table["low"].isna().all()


def test_a_public_copy_has_intervals_over_replicates_for_these_records_only(monkeypatch):
    monkeypatch.setattr(Store, "public", True)
    data = replace(panel_study(np.random.default_rng(4), [0.5, 1.0], 6, PAIR), scores=None)
    table = means(data, data.attack("white_box"), "auc", ["epochs"])
    own = data.wide.pivot(index="replicate", columns="epochs", values="auc")
    for row in table.itertuples():
        mean, low, high = t_interval(own[row.epochs].to_numpy())
        scale = mean * (1 - mean)
        assert row.mean == pytest.approx(mean)
        assert logit(row.high) - logit(row.mean) == pytest.approx((high - low) / 2 / scale)
    effect = contrasts(data, data.attack("white_box"), "auc", "epochs", 10, ["train_size"]).iloc[0]
    assert effect[["effect", "low", "high"]].tolist() == pytest.approx(list(t_interval((own[40] - own[10]).to_numpy())))


def test_only_judged_rows_count_and_records_of_a_person_are_one_unit():
    data = panel_study(np.random.default_rng(5), [0.5], 5, PAIR[:1], records=60)
    scores = data.scores.assign(judged=data.scores["query"] < 40, unit=data.scores["query"] // 2)
    scores["member"] = scores.groupby(["trial_id", "unit"])["member"].transform("first")
    found = judged_scores(replace(data, scores=scores), "white_box")
    assert found.score.shape == (5, 40)
    assert found.aucs.units == 20 and found.aucs.members.tolist() == (found.member.sum(1) / 2).tolist()


def test_an_unpaired_replicate_is_left_out_of_contrasts():
    data = made()
    rows = data.wide[~((data.wide["epochs"] == 40) & (data.wide["replicate"] == 0))]
    assert contrasts(data, rows, "auc", "epochs", 10, ["train_size"])["replicates"].eq(5).all()


def test_mixing_attacks_or_leaving_out_a_factor_is_refused():
    data = made()
    rows = data.wide
    with pytest.raises(ValueError, match="appears twice"):
        means(data, rows, "auc", ["epochs"])
    with pytest.raises(ValueError, match="appears twice"):
        contrasts(data, pd.concat([rows, rows]), "auc", "epochs", 10, ["train_size"])
    with pytest.raises(ValueError, match="3 is not a level"):
        contrasts(data, rows, "auc", "epochs", 3, ["train_size"])
    other = data.scores.assign(query=data.scores["query"] + (data.scores["trial_id"] == "t3"))
    with pytest.raises(ValueError, match="judge different records"):
        means(StudyData("made", "made", rows, {}, other), rows, "auc", data.cell)
