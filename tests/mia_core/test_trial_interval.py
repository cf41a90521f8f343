import numpy as np
import pytest
from hypothesis import given
from scipy.special import expit, logit
from scipy.stats import norm

from mia_core.metrics.score_interval import score_limits, score_variance
from mia_core.metrics.trial_interval import trial_intervals
from tests.mia_core.coverage import rows_covered
from tests.mia_core.test_leakage import normal_scores, slow_auc, slow_delong, trials


@given(trials(largest=12))
def test_limits_are_delongs_on_the_logit_scale_or_the_score_interval(trial):
    score, member = trial
    inside, outside = score[member], score[~member]
    auc, low, high = trial_intervals(score, member)
    n, m = len(inside), len(outside)
    assert auc == pytest.approx(slow_auc(inside, outside), abs=1e-12)
    assert 0 <= low <= auc <= high <= 1 and low < high
    if min(n, m) * min(auc, 1 - auc) < 3:
        assert (low, high) == pytest.approx(score_limits(auc, n, m, norm.ppf(0.975)), abs=1e-9)


def test_an_ordinary_trial_has_delongs_error_on_the_logit_scale():
    score, member = normal_scores(60, 90, 0.8)
    auc, low, high = trial_intervals(score, member, level=0.9)
    _, below, above = slow_delong(score[member], score[~member], 0.9)
    half = (above - below) / 2 / (auc * (1 - auc))
    assert (low, high) == pytest.approx((expit(logit(auc) - half), expit(logit(auc) + half)), abs=1e-6)


@pytest.mark.parametrize(("auc", "n", "m"), [(0.97, 30, 50), (0.5, 10, 10), (0.02, 5, 80)])
def test_score_limits_are_so_many_of_their_own_standard_errors_away(auc, n, m):
    for limit in score_limits(np.float64(auc), n, m, 1.96):
        growth = 1 + ((n + m) / 2 - 1) * ((1 - limit) / (2 - limit) + limit / (1 + limit))
        assert (auc - limit) ** 2 == pytest.approx(1.96**2 * limit * (1 - limit) * growth / (n * m), rel=1e-6)


def test_score_limits_of_a_single_pair_are_wilsons():
    # One member and one non-member: a share of one trial, whose variance is A (1 - A).
    z2 = 1.96**2
    assert score_limits(np.float64(1.0), 1, 1, 1.96) == pytest.approx((1 / (1 + z2), 1.0))
    assert score_variance(np.float64(0.3), 1, 1) == pytest.approx(0.21)


def test_score_limits_mirror_at_one_half():
    low, high = score_limits(np.float64(0.9), 12, 40, 1.96)
    assert score_limits(np.float64(0.1), 12, 40, 1.96) == pytest.approx((1 - high, 1 - low))


def slow_obuchowski(score, member, persons):
    """Obuchowski (1997), section 2: the variance from sums of structural components over clusters.

    Each is taken from the mean of the others' records on its side, as far as that differs from equal sizes.
    """
    inside, outside = np.flatnonzero(member), np.flatnonzero(~member)
    table = np.array([[(score[i] > score[j]) + 0.5 * (score[i] == score[j]) for j in outside] for i in inside])
    auc, n, m = table.mean(), len(inside), len(outside)
    of_members = dict.fromkeys(persons[inside], 0.0)
    of_others = dict.fromkeys(persons[outside], 0.0)
    for a, i in enumerate(inside):
        of_members[persons[i]] += table[a].mean() - auc
    for b, j in enumerate(outside):
        of_others[persons[j]] += table[:, b].mean() - auc
    for sums, side in ((of_members, inside), (of_others, outside)):
        for person in sums:
            sums[person] *= (1 - 1 / len(sums)) / (1 - np.mean(persons[side] == person))
    k1, k0, k = len(of_members), len(of_others), len(set(persons))
    s10 = k1 / ((k1 - 1) * n) * sum(v**2 for v in of_members.values())
    s01 = k0 / ((k0 - 1) * m) * sum(v**2 for v in of_others.values())
    s11 = k / (k - 1) * sum(of_members[p] * of_others[p] for p in of_members if p in of_others)
    return auc, s10 / n + s01 / m + 2 * s11 / (n * m)


@pytest.mark.parametrize("mixed", [False, True], ids=["persons in or out", "persons on both sides"])
def test_persons_have_obuchowskis_variance(mixed):
    random = np.random.default_rng(1)
    persons = np.repeat(np.arange(40), 3)
    member = random.random(120) < 0.4 if mixed else (random.random(40) < 0.4)[persons]
    score = random.normal(size=40)[persons] + random.normal(size=120).round(1) + 0.7 * member
    auc, low, high = trial_intervals(score, member, persons)
    slow, variance = slow_obuchowski(score, member, persons)
    half = norm.ppf(0.975) * variance**0.5 / (slow * (1 - slow))
    assert (auc, low, high) == pytest.approx((slow, expit(logit(slow) - half), expit(logit(slow) + half)))


def test_perfect_separation_of_persons_counts_persons():
    persons = np.repeat(np.arange(20), 5)
    member = persons < 10
    _, low, high = trial_intervals(member.astype(float), member, persons)
    assert (low, high) == pytest.approx(score_limits(np.float64(1.0), 10, 10, norm.ppf(0.975)))


def test_a_side_of_one_record_has_an_interval():
    _, low, high = trial_intervals(np.arange(40.0), np.arange(40) == 20)
    assert 0 < low < 0.5 < high < 1


def test_many_trials_at_once_are_each_as_alone():
    random = np.random.default_rng(0)
    scores, member = random.normal(size=(5, 30)), random.random((5, 30)) < 0.5
    scores[0] = member[0]
    together = np.array(trial_intervals(scores, member))
    for i in range(5):
        assert together[:, i] == pytest.approx(trial_intervals(scores[i], member[i]))


@pytest.mark.parametrize(
    ("members", "others", "shift", "per_person", "within"),
    [(60, 60, 0.0, 1, 0.0), (70, 370, 1.5, 1, 0.0), (70, 70, 3.0, 1, 0.0), (120, 120, 1.0, 4, 0.9)],
    ids=["chance", "rare members", "near 1", "persons"],
)
def test_intervals_cover(members, others, shift, per_person, within):
    row = rows_covered(2000, members, others, shift, per_person, within)
    assert row.good(3.5), row


SIZES = np.repeat([30, 12, 6, 2, 1], [2, 4, 4, 12, 20])
"""Of 42 persons, who count as 13 of the same size."""


@pytest.mark.parametrize("shift", [1.0, 2.5])
def test_intervals_cover_where_two_persons_have_a_third_of_the_records(shift):
    # Without `left_out` and `effective` 89.8 % are covered at the smaller shift: the large persons draw the mean that
    # they are compared with, and count as all others do.
    random = np.random.default_rng(11)
    persons = np.repeat(np.arange(84), np.tile(SIZES, 2))
    member, truth = persons < 42, norm.cdf(shift / 2**0.5)
    below = above = 0
    for _ in range(1000):
        own = random.normal(size=84)[persons] * 0.9**0.5 + random.normal(size=len(persons)) * 0.1**0.5
        _, low, high = trial_intervals(own + shift * member, member, persons)
        below, above = below + (high < truth), above + (low > truth)
    assert below + above <= 60, (below, above)  # 5 %, and a standard error and a half
