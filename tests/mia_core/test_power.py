import numpy as np
import pytest
from scipy.stats import t, ttest_1samp

from mia_core.metrics.power import ALPHA, MOST, POWER, Spread, power_of, replicates_for, smallest_effect
from mia_core.metrics.two_way import two_way_variance


@pytest.mark.parametrize(("sd", "replicates"), [(0.03, 5), (0.05, 12), (0.02, 3)])
def test_the_smallest_effect_is_found_four_times_in_five(sd, replicates):
    effect = smallest_effect(Spread(sd), replicates)
    differences = np.random.default_rng(0).normal(effect, sd, (20_000, replicates))
    found = ttest_1samp(differences, 0, axis=1).pvalue < ALPHA
    assert found.mean() == pytest.approx(POWER, abs=0.01)


@pytest.mark.parametrize("replicates", [5, 20])
def test_power_counts_what_differs_between_records(replicates):
    # Influences of 60 records: a part of their own, and one of each replicate. 1,000 studies: a share of .8 has a
    # standard error of 1.3 %; Satterthwaite's df are an approximation, and V_rec is cut at 0, which costs a little.
    random = np.random.default_rng(1)
    units, own, each, common = 60, 0.15, 0.1, 0.03
    spread = Spread((common**2 + each**2 / units) ** 0.5, own**2 / units, units)
    effect, found = smallest_effect(spread, replicates), 0
    for _ in range(1000):
        influence = random.normal(0, own, (1, units)) + random.normal(0, each, (replicates, units))
        auc = effect + influence.mean(1) + random.normal(0, common, replicates)
        variance = two_way_variance(auc, influence - influence.mean(1, keepdims=True))
        found += p_value(auc.mean(), variance) < ALPHA
    assert found / 1000 == pytest.approx(POWER, abs=0.05)


def p_value(mean, variance):
    """Two-sided."""
    return 2 * t.sf(abs(mean) / variance.total**0.5, variance.df)


def test_many_contrasts_settle_less_and_more_replicates_settle_more():
    spread = Spread(0.03)
    assert smallest_effect(spread, 5, ALPHA / 6) > smallest_effect(spread, 5) > smallest_effect(spread, 9)
    assert smallest_effect(spread, 1) is None
    assert smallest_effect(Spread(0.0), 5) == 0.0


@pytest.mark.parametrize(("sd", "contrasts"), [(0.023, 1), (0.033, 1), (0.05, 6)])
def test_the_fewest_replicates_settle_an_effect_and_one_fewer_do_not(sd, contrasts):
    spread, alpha = Spread(sd, 1e-6, 100), ALPHA / contrasts
    fewest = replicates_for(0.02, spread, alpha)
    assert smallest_effect(spread, fewest, alpha) <= 0.02 < smallest_effect(spread, fewest - 1, alpha)


def test_what_records_leave_open_no_number_of_replicates_settles():
    assert replicates_for(0.02, Spread(0.03, 0.01**2, 140)) is None
    assert replicates_for(0.04, Spread(0.03, 0.01**2, 140)) < 20
    assert replicates_for(1e-9, Spread(1.0)) is None
    assert replicates_for(0.0, Spread(1.0)) is None
    assert replicates_for(1.0, Spread(1e-6)) == 2 < MOST


def test_without_an_effect_power_is_the_level():
    assert power_of(0.0, 4, 0.05) == pytest.approx(0.05, abs=2e-3)
