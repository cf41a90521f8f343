import numpy as np
import pytest
from scipy.stats import t as student

from mia_core.metrics.influence import Aucs, aucs
from mia_core.metrics.score_interval import score_limits
from mia_core.metrics.two_way import alpha_of_look, contrast, mean_auc, two_way_variance, weighted_sum
from tests.mia_core.coverage import COINS, RARE, contrasts_covered, mean_aucs_covered
from tests.mia_core.leaking_scores import Population

RUNS = 300
DEVIATIONS = 3.5
"""Standard errors of a share of RUNS studies: beyond them is 1 in 2,000 by chance, and seeds are fixed."""


def cell(replicates=6, records=30, shift=0.8, seed=0, persons=None):
    random = np.random.default_rng(seed)
    member = random.random((replicates, records)) < 0.5
    scores = random.normal(size=records) + random.normal(size=member.shape) + shift * member
    return aucs(scores, member, persons)


def slow_variance(auc, influence):
    """V_rep, V_rec and df from sums, one replicate and record at a time."""
    replicates, units = influence.shape
    mean = sum(auc) / replicates
    v_rep = sum((a - mean) ** 2 for a in auc) / (replicates - 1) / replicates
    of_unit = [sum(influence[r][i] for r in range(replicates)) / replicates for i in range(units)]
    center = sum(of_unit) / units
    between = sum((value - center) ** 2 for value in of_unit) / (units - 1)
    within = 0.0
    for i in range(units):
        within += sum((influence[r][i] - of_unit[i]) ** 2 for r in range(replicates)) / (replicates - 1) / units
    v_rec = max(0.0, (between - within / replicates) / units)
    df = (v_rep + v_rec) ** 2 / (v_rep**2 / (replicates - 1) + v_rec**2 / (units - 1))
    return v_rep, v_rec, df


@pytest.mark.parametrize("seed", range(5))
def test_variance_is_that_of_plain_sums(seed):
    of = cell(seed=seed)
    found = two_way_variance(of.auc, of.influence)
    assert (found.between_replicates, found.between_records, found.df) == pytest.approx(
        slow_variance(of.auc.tolist(), of.influence), rel=1e-10
    )


def test_variance_by_hand():
    # Two replicates with AUCs .6 and .8, so V_rep = .02 / 2 = .01. Two records with influences (1, -1) in both: between
    # them var = 2, none within, so V_rec = 2 / 2 = 1; df = 1.01^2 / (.01^2 + 1).
    found = two_way_variance(np.array([0.6, 0.8]), np.array([[1.0, -1.0], [1.0, -1.0]]))
    assert found.between_replicates == pytest.approx(0.01)
    assert found.between_records == pytest.approx(1.0)
    assert found.df == pytest.approx(1.01**2 / 1.0001)


def test_influences_that_are_noise_alone_leave_the_variance_over_replicates():
    # (1, -1), then (-1, 1): the records' means are equal, so that V_rec is below 0 and counts as 0.
    found = two_way_variance(np.array([0.6, 0.8]), np.array([[1.0, -1.0], [-1.0, 1.0]]))
    assert (found.between_records, found.df) == (0.0, pytest.approx(1.0))


def test_limits_are_t_limits_about_the_logit_of_the_plain_mean():
    of = mean_auc(cell())
    low, high = of.interval(0.9)
    error = of.variance.total**0.5 / (of.estimate * (1 - of.estimate))
    center = np.log(of.estimate / (1 - of.estimate))
    half = student.ppf(0.95, of.variance.df) * error
    assert (low, high) == pytest.approx((1 / (1 + np.exp(half - center)), 1 / (1 + np.exp(-half - center))))
    assert of.lower(0.95) == pytest.approx(low) and of.upper(0.95) == pytest.approx(high)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
def test_p_is_the_level_at_which_the_interval_ends_at_the_null(level):
    mean, difference = mean_auc(cell()), contrast(cell(shift=0.8), cell(shift=0.2))
    for null in mean.interval(level):
        assert mean.p_value(float(null)) == pytest.approx(1 - level, rel=1e-6)
    assert mean.p_greater(float(mean.lower(level))) == pytest.approx(1 - level, rel=1e-6)
    for null in difference.interval(level):
        assert difference.p_value(float(null)) == pytest.approx(1 - level, rel=1e-6)


def test_constant_scores_have_the_score_interval_of_one_replicate():
    member = np.tile(np.arange(20) < 8, (5, 1))
    member[0, 8] = True
    of = mean_auc(aucs(np.zeros((5, 20)), member))
    assert of.estimate == 0.5 and of.variance.total == 0
    assert of.interval() == pytest.approx(score_limits(np.float64(0.5), 8, 11, 1.959964), abs=1e-6)
    assert of.p_value() == pytest.approx(1.0)


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_perfect_attacks_have_the_score_interval_of_one_replicate(end):
    member = np.tile(np.arange(20) < 8, (5, 1))
    of = mean_auc(aucs((2 * end - 1) * np.where(member, 1.0, 0.0), member))
    low, high = of.interval()
    assert of.estimate == end
    assert (low, high) == pytest.approx(score_limits(np.float64(end), 8, 12, 1.959964), abs=1e-6)
    assert (high == 1 and low < 0.95) if end else (low == 0 and high > 0.05)
    assert of.p_value() < 1e-3


def test_few_wrong_pairs_are_no_base_for_a_t_interval():
    # One wrong pair of 96 in one replicate of five: a logit t interval would end at .98.
    member = np.tile(np.arange(20) < 8, (5, 1))
    scores = np.where(member, 1.0, 0.0) + np.arange(20) / 1000
    scores[0, 0] = 0.0185
    of = mean_auc(aucs(scores, member))
    assert 0.99 < of.estimate < 1
    assert of.lower(0.975) == pytest.approx(score_limits(of.estimate, 8, 12, 1.959964)[0], abs=1e-6)


def test_one_replicate_has_an_estimate_and_no_limits():
    of = mean_auc(cell(replicates=1))
    assert of.descriptive and 0 < of.estimate < 1
    assert np.isnan(of.interval()).all()


@pytest.mark.parametrize(("replicates", "descriptive"), [(2, True), (4, True), (5, False)])
def test_fewer_than_five_replicates_are_descriptive(replicates, descriptive):
    of = cell(replicates)
    assert mean_auc(of).descriptive == contrast(of, of).descriptive == descriptive


def test_a_weighted_sum_is_the_variance_of_summed_values_and_influences():
    cells, weights = [cell(seed=s) for s in range(3)], [0.5, -1.0, 2.0]
    of = weighted_sum(cells, weights)
    auc = sum(w * c.auc for w, c in zip(weights, cells, strict=True))
    influence = sum(w * c.influence for w, c in zip(weights, cells, strict=True))
    v_rep, v_rec, df = slow_variance(auc.tolist(), influence)
    assert of.estimate == pytest.approx(auc.mean())
    half = student.ppf(0.975, df) * (v_rep + v_rec) ** 0.5
    assert of.interval() == pytest.approx((auc.mean() - half, auc.mean() + half))
    assert (of.lower(0.975), of.upper(0.975)) == pytest.approx(of.interval())


def test_a_cell_less_itself_is_no_difference():
    of = contrast(cell(), cell())
    low, high = of.interval()
    assert of.estimate == 0 and low < 0 < high and of.p_value() == 1.0


def test_cells_that_never_vary_are_compared_by_their_score_intervals():
    # Perfect against constant: A = 1 and .5, and no variance. Square-and-add of the two score intervals.
    member = np.tile(np.arange(40) < 20, (5, 1))
    perfect, constant = aucs(np.where(member, 1.0, 0.0), member), aucs(np.zeros((5, 40)), member)
    of = contrast(perfect, constant)
    low, high = of.interval()
    one, half = (score_limits(np.float64(a), 20, 20, 1.959964) for a in (1.0, 0.5))
    assert low == pytest.approx(0.5 - ((1 - one[0]) ** 2 + (half[1] - 0.5) ** 2) ** 0.5, abs=1e-6)
    assert high == pytest.approx(0.5 + (0.5 - half[0]), abs=1e-6)
    assert of.p_value() < 0.001 < of.p_value(0.4)
    assert contrast(perfect, perfect).p_value() == 1.0


def test_batches_of_cells_have_each_cells_limits():
    cells = [cell(seed=0), cell(seed=1, shift=0.0), aucs(np.zeros((6, 30)), np.tile(np.arange(30) < 15, (6, 1)))]
    together = Aucs(*(np.stack([getattr(c, n) for c in cells]) for n in ("auc", "influence", "members", "non_members")))
    of, difference = mean_auc(together), contrast(together, together[::-1])
    for i, one in enumerate(cells):
        alone = mean_auc(one)
        assert [end[i] for end in of.interval()] == pytest.approx(list(alone.interval()))
        assert of.p_value()[i] == pytest.approx(alone.p_value())
        assert difference.p_value()[i] == pytest.approx(contrast(one, cells[2 - i]).p_value())


def test_cells_of_different_panels_are_refused():
    with pytest.raises(ValueError, match="needs one shape"):
        contrast(cell(records=30), cell(records=31))


def test_looks_spend_alpha_and_no_more():
    assert alpha_of_look(1) == pytest.approx(0.0304, abs=1e-4)
    assert 0.0499 < sum(alpha_of_look(k) for k in range(1, 2000)) < 0.05
    with pytest.raises(ValueError, match="from 1"):
        alpha_of_look(0)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("design", [COINS, RARE], ids=["coins", "rare members"])
def test_intervals_of_means_cover_at_every_record_share(design, share):
    for row in mean_aucs_covered(RUNS, Population(share, unequal=0.8), design, (5, 10)):
        assert row.good(DEVIATIONS), row


def test_unequal_leakage_undoes_a_t_interval_over_replicates_and_not_the_two_way_one():
    (row,) = mean_aucs_covered(RUNS, Population(0.8, unequal=0.8), COINS, (20,))
    assert row.over_replicates < 0.85
    assert row.good(DEVIATIONS), row


def test_intervals_cover_where_persons_have_several_records():
    population = Population(0.5, unequal=0.8, per_person=4, within=0.9)
    for row in mean_aucs_covered(RUNS, population, (240, 0.5), (5,)):
        assert row.good(DEVIATIONS), row


@pytest.mark.parametrize("gains", [(1.0, 1.0), (1.0, 0.5), (1.0, 0.7, 0.3)], ids=["none", "two cells", "slope"])
def test_contrasts_of_cells_that_share_records_and_coins_cover(gains):
    for row in contrasts_covered(RUNS, Population(0.5, unequal=0.8, common_noise=0.5), COINS, (5, 10), gains):
        assert row.good(DEVIATIONS), row
