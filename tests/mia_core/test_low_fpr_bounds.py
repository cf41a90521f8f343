"""Bounds of a TPR and of worst persons, against plain references over all thresholds and hypotheses."""

import numpy as np
import pytest
from scipy.stats import beta, binom, chi2

from mia_core.metrics.low_fpr_bounds import share_bounds, tpr_bounds
from mia_core.metrics.worst_persons import WORST, person_scores, worst_persons
from tests.mia_core.releases import release, shift_of, tpr_of


def slow_bounds(score, member, tail, fpr):
    """The TPRs, on a grid, that some threshold does not reject; a tie counts as each bound needs it."""
    inside, outside = score[member], score[~member]
    product = np.exp(-chi2.isf(0.75 * tail, 4) / 2)
    grid = np.linspace(0, 1, 4001)
    kept_low, kept_high = np.zeros(len(grid), bool), np.zeros(len(grid), bool)
    ordered = np.sort(outside)[::-1]
    for called in range(len(outside) + 1):
        following = ordered[called] if called < len(outside) else -np.inf
        most = int((inside >= following).sum())
        least = int((inside > ordered[called - 1]).sum()) if called else 0
        above, below = binom.sf(called - 1, len(outside), fpr), binom.cdf(called, len(outside), fpr)
        kept_high |= (above > tail / 4) & (above * binom.cdf(most, len(inside), grid) > product)
        kept_low |= (below > tail / 4) & (below * binom.sf(least - 1, len(inside), grid) > product)
    return grid[kept_low].min(), grid[kept_high].max()


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("n", "m", "auc", "fpr"), [(40, 60, 0.5, 0.1), (120, 300, 0.8, 0.02), (30, 25, 0.99, 0.2)])
def test_bounds_are_the_tprs_that_some_threshold_does_not_reject(n, m, auc, fpr, ties):
    random = np.random.default_rng(n)
    member = np.arange(n + m) < n
    score = random.normal(size=n + m) + shift_of(auc) * member
    score = np.round(score, 0 if ties else 9)
    assert tpr_bounds(score, member, 0.05, fpr=fpr) == pytest.approx(slow_bounds(score, member, 0.05, fpr), abs=4e-4)


def test_few_non_members_leave_a_lower_bound_of_a_strong_attack():
    random = np.random.default_rng(5)
    member = np.arange(1440) < 720
    score = random.normal(size=1440) + 4 * member
    assert tpr_bounds(score, member, 0.05 / 11)[0] > 0.5


def test_either_bound_misses_in_at_most_5_percent_of_400_trials():
    random = np.random.default_rng(1)
    missed = np.zeros((2, 2))
    for row, (auc, members, others) in enumerate([(0.55, 1000, 1000), (0.8, 150, 400)]):
        for _ in range(200):
            made = release(random, (auc,), members, others)
            low, high = tpr_bounds(made.score[0], made.member, 0.05)
            missed[row] += low > tpr_of(auc), high < tpr_of(auc)
    assert (missed <= int(binom.isf(0.01, 200, 0.05))).all()


def test_records_of_one_person_that_are_equal_count_as_one():
    random = np.random.default_rng(2)
    score, member = random.normal(size=600), np.arange(600) < 200
    person = np.repeat(np.arange(600), 4)
    of_persons = tpr_bounds(np.repeat(score, 4), np.repeat(member, 4), 0.05, person, fpr=0.05)
    assert of_persons == pytest.approx(tpr_bounds(score, member, 0.05, fpr=0.05), abs=1e-9)
    low, high = tpr_bounds(np.repeat(score, 4), np.repeat(member, 4), 0.05, fpr=0.05)
    assert of_persons[0] < low < high < of_persons[1]


def test_a_score_that_knows_nothing_and_one_that_knows_all():
    member = np.arange(2000) < 1000
    low, high = tpr_bounds(np.zeros(2000), member, 0.05)
    assert low == 0 and high == 1  # one tie: every threshold calls nobody or everybody
    low, high = tpr_bounds(member.astype(float), member, 0.05)
    assert low > 0.99 and high == 1


def test_shares_have_clopper_and_pearsons_bounds():
    assert share_bounds(3, 50, 0.05) == pytest.approx((beta.ppf(0.05, 3, 48), beta.isf(0.05, 4, 47)))
    assert share_bounds(0, 50, 0.05) == pytest.approx((0, 1 - 0.05 ** (1 / 50)))
    assert share_bounds(50, 50, 0.05) == pytest.approx((0.05 ** (1 / 50), 1))


def test_worst_persons_are_the_members_who_stand_out_most_and_others_as_high():
    random = np.random.default_rng(3)
    member = np.arange(700) < 200
    score = random.normal(size=700) + 1.0 * member
    found = worst_persons(score, member, 0.01, 0.05)
    threshold = sorted(score[member])[-WORST]
    others = int((score[~member] >= threshold).sum())
    t, f = WORST / 200, others / 500
    assert (found.named, found.others) == (WORST, others) and found.share == pytest.approx(t / (t + f))
    assert found.high == pytest.approx(t / (t + beta.ppf(0.05, others, 501 - others)))
    assert found.low == pytest.approx(t / (t + tpr_bounds(score, ~member, 0.01, fpr=t)[1]))
    assert found.low < found.share < found.high
    assert found.first == int((score[member] > score[~member].max()).sum())


def test_worst_persons_of_too_few_and_of_a_score_that_knows_nothing():
    member = np.arange(100) < WORST - 1
    assert worst_persons(np.arange(100.0), member, 0.05, 0.05) is None
    found = worst_persons(np.zeros(200), np.arange(200) < 100, 0.05, 0.05)
    assert (found.share, found.named, found.others, found.first) == (0.5, 100, 100, 0)
    assert found.low == 0.5 < found.high < 0.51


@pytest.mark.long
def test_a_bound_of_worst_persons_is_above_their_true_share_in_95_percent():
    random, missed = np.random.default_rng(4), 0
    for _ in range(200):
        made = release(random, (0.6,))
        found = worst_persons(made.score[0], made.member, 0.05, 0.05)
        threshold = np.sort(made.score[0][made.member])[-WORST]
        others = release(random, (0.6,), 1, 50_000).score[0][1:]
        f = (others >= threshold).mean()
        missed += found.high < 0.02 / (0.02 + f)
    assert missed <= int(binom.isf(0.01, 200, 0.05))


def test_a_person_has_the_best_of_several_records_adjusted_for_their_number():
    score = np.array([4.0, 1.0, 3.0, 2.0, 0.0])
    member = np.array([True, True, False, False, True])
    persons = np.array([0, 0, 1, 2, 1])  # person 1 is on both sides, and counts on each
    found, inside = person_scores(score, member, persons)
    assert inside.tolist() == [True, False, True, False]
    share = {4.0: 0.2, 3.0: 0.4, 2.0: 0.6, 1.0: 0.8, 0.0: 1.0}  # of records at least as high
    expected = [-(1 - (1 - share[4.0]) ** 2), -share[3.0], -share[0.0], -share[2.0]]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("score", [np.zeros(3), np.array([0.0, np.nan, 1.0, 2.0])])
def test_scores_that_do_not_fit_are_refused(score):
    member = np.array([True, True, False, False])
    with pytest.raises(ValueError, match="match"):
        tpr_bounds(score, member, 0.05)
    with pytest.raises(ValueError, match="match"):
        worst_persons(score, member, 0.05, 0.05)
