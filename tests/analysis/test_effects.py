import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import ttest_1samp

from analysis.stats.effects import contrasts, log_odds_of_auc, means, t_interval


def rows(auc_of, replicates=6, levels=(1, 2), sizes=(100, 400), noise=0.0, seed=0):
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "train_size": size,
            "epochs": level,
            "replicate": replicate,
            "queries": 200,
            "baseline_top_n": 0.5,
            "auc": expit(logit(auc_of(size, level)) + 0.1 * replicate + noise * random.normal()),
            "kid": 1.0 * level + 0.1 * replicate,
        }
        for size in sizes
        for level in levels
        for replicate in range(replicates)
    )


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


def test_replicates_common_to_both_levels_cancel_in_a_contrast():
    frame = rows(lambda size, level: 0.6 if level == 1 else 0.7)
    effects = contrasts(frame, "auc", "epochs", 1, ["train_size"])
    assert len(effects) == 2
    assert effects["replicates"].eq(6).all()
    assert not effects["descriptive"].any()
    # the replicate's own shift is common in log odds, so only the pseudo-counts of U keep the effect from being exact
    assert effects["effect"].to_numpy() == pytest.approx(logit(0.7) - logit(0.6), abs=2e-3)
    assert (effects["high"] - effects["low"] < 0.002).all()
    assert (effects["p"] < 1e-6).all()


def test_a_null_effect_is_found_null_at_the_stated_rate():
    found = [
        contrasts(
            rows(lambda size, level: 0.6, 5, sizes=(100,), noise=0.1, seed=seed), "auc", "epochs", 1, ["train_size"]
        )
        for seed in range(400)
    ]
    rejected = np.mean([frame["p"].iloc[0] < 0.05 for frame in found])
    excluded = np.mean([not frame["low"].iloc[0] <= 0 <= frame["high"].iloc[0] for frame in found])
    assert rejected == excluded
    assert abs(rejected - 0.05) < 4 * (0.05 * 0.95 / 400) ** 0.5


def test_other_values_are_compared_in_their_own_units():
    effects = contrasts(rows(lambda size, level: 0.6), "kid", "epochs", 1, ["train_size"])
    assert effects["difference"].to_numpy() == pytest.approx(1.0)
    assert effects["effect"].to_numpy() == pytest.approx(1.0)


def test_means_average_auc_in_log_odds_and_say_when_they_are_descriptive_only():
    table = means(rows(lambda size, level: 0.6, replicates=4), "auc", ["train_size", "epochs"])
    assert table["descriptive"].all()
    assert table["replicates"].eq(4).all()
    assert table["mean"].to_numpy() == pytest.approx(expit(logit(0.6) + 0.15), abs=1e-3)
    assert ((table["low"] < table["mean"]) & (table["mean"] < table["high"])).all()


def test_log_odds_stay_finite_at_perfect_separation():
    frame = rows(lambda size, level: 0.6).assign(auc=1.0)
    odds = log_odds_of_auc(frame)
    assert np.isfinite(odds).all()
    assert odds.iloc[0] == pytest.approx(logit((10000 + 0.5) / 10001))


def test_an_unpaired_replicate_is_left_out_of_contrasts():
    frame = rows(lambda size, level: 0.6)
    frame = frame[~((frame["epochs"] == 2) & (frame["replicate"] == 0))]
    assert contrasts(frame, "auc", "epochs", 1, ["train_size"])["replicates"].eq(5).all()


def test_mixing_attacks_or_leaving_out_a_factor_is_refused():
    frame = rows(lambda size, level: 0.6)
    with pytest.raises(ValueError, match="appears twice"):
        means(frame, "auc", ["epochs"])
    with pytest.raises(ValueError, match="appears twice"):
        contrasts(pd.concat([frame, frame]), "auc", "epochs", 1, ["train_size"])
    with pytest.raises(ValueError, match="3 is not a level"):
        contrasts(frame, "auc", "epochs", 3, ["train_size"])
