import numpy as np
import pytest
from scipy.stats import norm

from mia_core.metrics.audit import Gaussian, Profile
from mia_core.metrics.ceilings import CURVE_DELTAS, auc_ceiling, tpr_ceiling
from tests.mia_core.gaussian_sum import mu_at


def pair(epsilon, delta):
    return Profile(np.array([epsilon]), np.array([delta]))


def gaussian_profile(mu):
    return Profile(np.array([Gaussian(mu).epsilon(delta) for delta in CURVE_DELTAS]), np.array(CURVE_DELTAS))


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("delta", [0.0, 1e-5, 0.1])
def test_a_pairs_ceiling_is_the_lower_of_its_two_lines(epsilon, delta):
    for fpr in (0.0, 0.001, 0.01, 0.3, 0.8, 1.0):
        lines = min(np.exp(epsilon) * fpr + delta, 1 - np.exp(-epsilon) * (1 - delta - fpr), 1)
        assert tpr_ceiling(pair(epsilon, delta), fpr) == pytest.approx(lines, abs=1e-12)


@pytest.mark.parametrize(("epsilon", "percent"), [(1, 2.0), (2, 3.4), (4, 8.1), (8, 25)])
def test_gaussian_mechanisms_have_the_known_ceilings_at_1_percent_fpr(epsilon, percent):
    found = tpr_ceiling(Gaussian(mu_at(epsilon, 1e-5)), 0.01)
    assert 100 * found == pytest.approx(percent, abs=0.5 if percent > 9 else 0.05)


@pytest.mark.parametrize("mu", [0.0, 0.3, 1.0, 3.0])
def test_a_gaussians_ceilings_are_reached_by_the_best_test_of_two_normals(mu):
    fpr = np.linspace(0, 1, 200_001)
    roc = norm.cdf(norm.ppf(fpr) + mu)
    assert tpr_ceiling(Gaussian(mu), 0.05) == pytest.approx(norm.cdf(norm.ppf(0.05) + mu))
    assert auc_ceiling(Gaussian(mu)) == pytest.approx(np.trapezoid(roc, fpr), abs=1e-4)


@pytest.mark.parametrize("profile", [pair(1.0, 0.01), pair(3.0, 0.0), gaussian_profile(1.0)], ids=["1", "3", "many"])
def test_the_area_under_the_lines_is_exact(profile):
    fpr = np.linspace(0, 1, 20_001)
    roc = np.array([tpr_ceiling(profile, a) for a in fpr])
    assert auc_ceiling(profile) == pytest.approx(np.trapezoid(roc, fpr), abs=1e-5)


def test_area_of_a_pure_pair_by_hand():
    # e^epsilon = 3: lines 3a and 1 - (1 - a) / 3 meet at a = 1/4, TPR 3/4; area .25 * .75 / 2 + .75 * (.75 + 1) / 2.
    assert auc_ceiling(pair(np.log(3), 0.0)) == pytest.approx(0.75)


def test_no_leakage_leaves_one_half_and_no_guarantee_leaves_1():
    assert auc_ceiling(pair(0.0, 0.0)) == pytest.approx(0.5)
    assert auc_ceiling(pair(0.0, 1.0)) == auc_ceiling(pair(700.0, 0.0)) == pytest.approx(1.0)
    assert tpr_ceiling(pair(0.0, 0.0), 0.01) == pytest.approx(0.01)


@pytest.mark.parametrize("mu", [0.5, 2.0])
def test_a_profile_of_many_pairs_is_above_the_mechanisms_own_curve_and_near_it(mu):
    profile = gaussian_profile(mu)
    for fpr in (0.001, 0.01, 0.1, 0.5):
        assert 0 <= tpr_ceiling(profile, fpr) - tpr_ceiling(Gaussian(mu), fpr) < 0.01
    assert 0 <= auc_ceiling(profile) - auc_ceiling(Gaussian(mu)) < 0.003
    # One pair alone says far less of AUC.
    assert auc_ceiling(pair(Gaussian(mu).epsilon(1e-5), 1e-5)) > auc_ceiling(profile) + 0.05


def test_a_mu_from_one_pair_does_not_dominate_a_mechanism_that_leaks_more_elsewhere():
    # Randomized response of epsilon 1 has delta 0 there, and more than any Gaussian of small mu below.
    mu = mu_at(1.0, 1e-5)
    below = np.array([0.1, 0.5, 0.9])
    response = Profile(below, (np.e - np.exp(below)) / (1 + np.e))
    assert auc_ceiling(response) > auc_ceiling(Gaussian(mu))


def test_an_fpr_outside_0_and_1_is_refused():
    with pytest.raises(ValueError, match=r"FPR in \[0, 1\]"):
        tpr_ceiling(Gaussian(1.0), 1.5)
