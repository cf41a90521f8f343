import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from analysis.stats.effects import t_interval
from analysis.stats.scaling import _line, _onset, against_size, onset, size_curve
from tests.analysis.synthetic import draw, study

SIZES = pd.MultiIndex.from_product([["none"], [100, 200, 400], [10]], names=("arm", "train_size", "epochs"))
LEVELS = pd.MultiIndex.from_product([["none"], [100], [10, 20, 40, 80]], names=("arm", "train_size", "epochs"))


@pytest.mark.parametrize("replicates", [5, 10, 20])
def test_slopes_on_n_cover_the_truth_and_a_line_is_found_to_fit_where_it_does(replicates):
    values = draw(np.random.default_rng(replicates), 1500, replicates, np.array([0.9, 0.6, 0.3]), SIZES)
    lines = pd.DataFrame([_line(np.array([100, 200, 400]), own) for own in values])
    covered = (lines["low"] <= -0.3) & (lines["high"] >= -0.3)
    assert 0.93 <= covered.mean() <= 0.97
    assert 0.03 <= (lines["lack_of_fit"] < 0.05).mean() <= 0.07
    plain = [np.polyfit([0, 1, 2], own.T, 1)[0].mean() for own in values[:50]]
    assert lines["slope"].to_numpy()[:50] == pytest.approx(plain)
    table = against_size(study(values[0], cells=SIZES), "white_box")
    assert table["slope"].item() == pytest.approx(plain[0])


def test_curvature_is_found_and_the_curve_is_the_fitted_lines():
    values = np.array([0.9, 0.2, 0.3]) + 0.01 * np.random.default_rng(1).normal(size=(5, 3))
    made = study(values, cells=SIZES)
    assert against_size(made, "white_box")["lack_of_fit"].item() < 1e-6
    curve = size_curve(made, "white_box", points=3)
    assert curve["train_size"].tolist() == pytest.approx([100, 200, 400])
    lines = np.polyfit([0, 1, 2], values.T, 1)
    expected = t_interval(lines[1] + lines[0])
    assert curve.loc[1, ["mean", "low", "high"]].tolist() == pytest.approx(expit(expected).tolist())


@pytest.mark.parametrize("replicates", [5, 20])
def test_onset_is_covered_and_no_onset_is_found_where_nothing_leaks(replicates):
    random = np.random.default_rng(replicates)
    truth = np.array([0.0, 0.3, 0.6, 0.9])
    over = float(expit(0.45))  # reached midway, in log epochs, between 20 and 40
    levels = np.array([10, 20, 40, 80])
    values = draw(random, 600, replicates, truth, LEVELS)
    found = pd.DataFrame([_onset(levels, own, 0.45) for own in values])
    at = 20 * 2**0.5
    covered = (found["low"] <= 1.01 * at) & (found["high"] >= at / 1.01)
    assert covered.mean() >= 0.95 - 3 * (0.95 * 0.05 / 600) ** 0.5
    whole = onset(study(values[0], cells=LEVELS), "white_box", over)
    assert whole[["epochs", "low", "high"]].iloc[0].tolist() == pytest.approx(
        found.loc[0, ["reached", "low", "high"]].tolist()
    )
    nothing = draw(random, 600, replicates, np.zeros(4), LEVELS)
    false = np.mean([_onset(levels, own, 0.45)["first_level"] is not None for own in nothing])
    assert false <= 0.025 + 3 * (0.975 * 0.025 / 600) ** 0.5


def test_onset_says_before_the_first_level_and_not_within_the_last():
    noise = 0.001 * np.random.default_rng(2).normal(size=(5, 4))
    early = onset(study(2.0 + noise, cells=LEVELS), "white_box").iloc[0]
    assert early[["first_level", "epochs", "low", "high"]].tolist() == [10, 0, 0, 0]
    late = onset(study(0.01 + noise, cells=LEVELS), "white_box").iloc[0]
    assert late[["first_level", "epochs", "low", "high"]].tolist() == [10, np.inf, np.inf, np.inf]
    steps = np.array([0.0, 0.0, 2 * logit(0.55), 1.0])
    middle = onset(study(steps + noise, cells=LEVELS), "white_box").iloc[0]
    assert middle["epochs"] == pytest.approx(20 * 2**0.5, rel=0.01)
    assert middle["low"] <= middle["epochs"] <= middle["high"]
    with pytest.raises(ValueError, match=r"got 0\.5"):
        onset(study(noise, cells=LEVELS), "white_box", 0.5)
