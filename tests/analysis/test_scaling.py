import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from analysis.stats.scaling import against_size, line_weights, onset, size_curve
from tests.analysis.synthetic import panel_study, study, true_auc

SIZES = pd.MultiIndex.from_product([["none"], [100, 200, 400], [10]], names=("arm", "train_size", "epochs"))
LEVELS = pd.MultiIndex.from_product([["none"], [100], [10, 20, 40, 80]], names=("arm", "train_size", "epochs"))
STUDIES = 80
MARGIN = 3 * (0.95 * 0.05 / STUDIES) ** 0.5
"""Three standard errors of a share of 95 % found in so many studies."""


@pytest.mark.slow
def test_slopes_on_n_cover_what_is_true_of_records_like_these_and_a_line_is_found_to_fit_where_it_does():
    random, gains = np.random.default_rng(1), [0.8, 0.6, 0.4]
    truth = np.array([true_auc(gain) for gain in gains])
    slope, curvature = line_weights(np.array([100.0, 200.0, 400.0]))
    bent = float(curvature @ truth)
    assert abs(bent) < 0.004  # the true values are all but on a line
    data = panel_study(random, gains, 6, SIZES, records=100, attacks=STUDIES)
    rows = pd.concat([against_size(data, attack) for attack in data.attacks])
    inside = (rows["low"] <= slope @ truth) & (slope @ truth <= rows["high"])
    assert abs(inside.mean() - 0.95) <= 0.02 + MARGIN
    assert (rows["lack_of_fit"] < 0.05).mean() <= 0.05 + MARGIN


def test_a_slope_is_the_mean_of_the_slopes_of_replicates():
    values = np.random.default_rng(2).normal(1, 0.2, (5, 3))
    made = study(values, cells=SIZES)
    auc = made.wide.pivot(index="replicate", columns="train_size", values="auc").to_numpy()
    plain = np.polyfit([0, 1, 2], auc.T, 1)[0]
    row = against_size(made, "white_box").iloc[0]
    assert row["slope"] == pytest.approx(plain.mean())


def test_curvature_is_found_and_the_curve_is_the_fitted_lines():
    values = np.array([0.9, 0.2, 0.3]) + 0.01 * np.random.default_rng(1).normal(size=(5, 3))
    made = study(values, cells=SIZES)
    assert against_size(made, "white_box")["lack_of_fit"].item() < 1e-3
    curve = size_curve(made, "white_box", points=3)
    assert curve["train_size"].tolist() == pytest.approx([100, 200, 400])
    auc = made.wide.pivot(index="replicate", columns="train_size", values="auc").to_numpy()
    lines = np.polyfit([0, 1, 2], auc.T, 1)
    assert curve["mean"].tolist() == pytest.approx([(lines[0] * at + lines[1]).mean() for at in range(3)])
    assert (curve["low"] < curve["mean"]).all() and (curve["mean"] < curve["high"]).all()


@pytest.mark.slow
def test_onset_covers_its_truth_and_no_onset_is_found_where_nothing_leaks():
    random, gains = np.random.default_rng(3), [0.0, 0.3, 0.6, 0.9]
    at = 20 * 2**0.5  # midway, in log epochs, between 20 and 40
    over = float(np.mean([true_auc(gain) for gain in gains[1:3]]))
    data = panel_study(random, gains, 6, LEVELS, records=100, attacks=40)
    rows = pd.concat([onset(data, attack, over) for attack in data.attacks])
    inside = (rows["low"] <= 1.03 * at) & (rows["high"] >= at / 1.03)
    assert inside.mean() >= 0.95 - 3 * (0.95 * 0.05 / 40) ** 0.5
    nothing = panel_study(random, [0.0, 0.0], 6, LEVELS[2:], records=60, attacks=STUDIES)
    false = [pd.notna(onset(nothing, attack)["first_level"].item()) for attack in nothing.attacks]
    assert np.mean(false) <= 0.025 + 3 * (0.975 * 0.025 / STUDIES) ** 0.5


def test_onset_says_before_the_first_level_and_not_within_the_last():
    noise = 0.001 * np.random.default_rng(1).normal(size=(5, 4))
    early = onset(study(2.0 + noise, cells=LEVELS), "white_box").iloc[0]
    assert early[["epochs", "low", "high"]].tolist() == [0, 0, 0]
    never = onset(study(-0.3 + noise, cells=LEVELS), "white_box").iloc[0]
    assert pd.isna(never["first_level"])
    assert never[["epochs", "low", "high"]].tolist() == [np.inf] * 3
    steps = logit(np.array([0.5, 0.5, 0.6, 0.75]))
    middle = onset(study(steps + noise, cells=LEVELS), "white_box").iloc[0]
    assert middle["epochs"] == pytest.approx(20 * 2**0.5, rel=0.03)
    assert middle["low"] <= middle["epochs"] <= middle["high"]
    assert expit(steps[3]) == pytest.approx(0.75)
    with pytest.raises(ValueError, match=r"got 0\.5"):
        onset(study(noise, cells=LEVELS), "white_box", 0.5)
