import numpy as np
import pytest
from scipy.stats import rankdata

from mia_core.metrics.low_fpr import pooled_roc, tpr_at_low_fpr
from tests.mia_core.coverage import RARE, low_fpr_covered
from tests.mia_core.leaking_scores import Population


def study(replicates=5, records=300, probability=0.2, gain=1.5, seed=0):
    random = np.random.default_rng(seed)
    member = random.random((replicates, records)) < probability
    return random.normal(size=member.shape) + gain * member, member


def slow_tpr(rank, member, keep=True, fpr=0.01):
    """From the ROC's points, threshold by threshold, and the straight line between the two around the FPR."""
    inside, outside = rank[member & keep], rank[~member & keep]
    points = [(0.0, 0.0)]
    for threshold in np.unique(rank)[::-1]:
        points.append((np.mean(outside >= threshold), np.mean(inside >= threshold)))
    below = max(point for point in points if point[0] <= fpr)
    above = min(point for point in points if point[0] > fpr)
    return below[1] + (above[1] - below[1]) * (fpr - below[0]) / (above[0] - below[0])


@pytest.mark.parametrize("decimals", [9, 1], ids=["untied", "tied"])
def test_tpr_is_read_off_the_roc_of_pooled_ranks(decimals):
    scores, member = study()
    scores = scores.round(decimals)
    found = tpr_at_low_fpr(scores, member, np.random.default_rng(0))
    assert found.estimate == pytest.approx(slow_tpr(rankdata(scores, axis=-1), member))
    assert found.members == member.sum() / 5
    assert found.share == member.mean()


def test_constant_scores_call_1_percent_of_members_too():
    _, member = study()
    found = tpr_at_low_fpr(np.zeros(member.shape), member, np.random.default_rng(0))
    low, high = found.interval()
    assert found.estimate == pytest.approx(0.01) and found.variance.total == pytest.approx(0)
    assert 0 <= low < 0.01 < 0.05 < high < 0.1


def test_scores_of_replicates_are_never_compared_with_each_other():
    scores, member = study()
    moved = np.exp(scores / 3) * 10.0 ** np.arange(5)[:, None] - 7
    one, other = (tpr_at_low_fpr(s, member, np.random.default_rng(0)) for s in (scores, moved))
    assert one == other


def test_fewer_than_ten_expected_false_positives_give_none():
    scores, member = study(replicates=4, records=250, probability=0.0001)
    member[:] = False
    member[:, :2] = True
    assert (~member).sum() == 992
    assert tpr_at_low_fpr(scores, member, np.random.default_rng(0)) is None
    member[:, 0] = member[0, 1] = member[1, 1] = member[2, 1] = member[3, 1] = False
    member[0, 0] = True
    assert tpr_at_low_fpr(scores[:, :250], member, np.random.default_rng(0), fpr=0.02) is not None


@pytest.mark.parametrize(("seed", "groups_say_more"), [(0, True), (4, False)])
def test_variance_is_that_of_one_deletion_at_a_time(seed, groups_say_more):
    scores, member = study(replicates=3, records=500, seed=seed)
    rank, random = rankdata(scores, axis=-1), np.random.default_rng(2)
    group = np.random.default_rng(2).permutation(500) % 20
    row = np.arange(3)[:, None]

    def jackknife(kept):
        values = np.array([slow_tpr(rank, member, keep) for keep in kept])
        count = len(values)
        return (count - 1) / count * ((values - values.mean()) ** 2).sum()

    v_rep = jackknife([row != r for r in range(3)])
    v_group = jackknife([group[None] != g for g in range(20)])
    v_block = jackknife([(row != r) | (group[None] != g) for r in range(3) for g in range(20)])
    found = tpr_at_low_fpr(scores, member, random)
    total = max(v_rep + v_group - v_block, v_rep, v_group)
    assert found.variance.total == pytest.approx(total)
    df = 19 if total == v_group else total**2 / (v_rep**2 / 2 + (total - v_rep) ** 2 / 19)
    assert found.variance.df == pytest.approx(df)
    assert (total == v_group) == groups_say_more


def test_persons_are_left_out_as_a_whole():
    # Records of a person repeat each other: apart, the jackknife would see four times as many records as there are.
    random = np.random.default_rng(4)
    persons = np.repeat(np.arange(100), 4)
    member = (random.random((5, 100)) < 0.25)[:, persons]
    scores = random.normal(size=100)[persons] + 0.01 * random.normal(size=(5, 400)) + member
    whole = tpr_at_low_fpr(scores, member, np.random.default_rng(0), persons)
    apart = tpr_at_low_fpr(scores, member, np.random.default_rng(0))
    assert whole.estimate == apart.estimate
    assert whole.variance.total > 1.3 * apart.variance.total


def test_limits_stay_inside_0_and_1_and_are_one_sided_halves():
    scores, member = study()
    found = tpr_at_low_fpr(scores, member, np.random.default_rng(0))
    low, high = found.interval()
    assert 0 < low < found.estimate < high < 1
    assert (found.lower(0.975), found.upper(0.975)) == (low, high)


@pytest.mark.parametrize(("gain", "ends"), [(100.0, (0.93, 1.0)), (-100.0, (0.0, 0.07))])
def test_all_or_none_called_have_exact_limits_of_one_replicates_members(gain, ends):
    # Clopper & Pearson: 60 or so of as many still leave .025^(1/60) = .94.
    scores, member = study(gain=gain)
    low, high = tpr_at_low_fpr(scores, member, np.random.default_rng(0)).interval()
    assert (low, high) == pytest.approx(ends, abs=0.015)


def test_what_cannot_be_ranked_is_refused():
    scores, member = study()
    scores[0, 0] = np.nan
    for wrong in ((scores, member), (scores[:, 1:], member), (np.zeros(member.shape), np.zeros_like(member))):
        with pytest.raises(ValueError, match="needs members"):
            tpr_at_low_fpr(*wrong, np.random.default_rng(0))


def test_one_replicate_has_an_estimate_and_no_limits():
    scores, member = study(replicates=1, records=1500)
    found = tpr_at_low_fpr(scores, member, np.random.default_rng(0))
    assert found.descriptive and 0 < found.estimate < 1 and np.isnan(found.interval()).all()


def test_intervals_cover():
    row = low_fpr_covered(100, Population(0.5, unequal=0.8), RARE, 5)
    assert row.good(3.5), row


@pytest.mark.long
@pytest.mark.parametrize("replicates", [5, 10])
def test_points_of_the_pooled_roc_hold_at_higher_fprs_too(replicates):
    # Four points of each curve; 3 standard errors of 150 studies at 94 % are 5.8 %.
    random, fprs = np.random.default_rng(replicates), np.array([0.01, 0.05, 0.2, 0.6])
    population = Population(share=0.8, unequal=0.8)
    truth = [population.tpr_of_ranks(random, 440, 0.159, fpr) for fpr in fprs]
    scores, member = population.draw(random, 150, replicates, 440, 0.159)
    inside = []
    for run in range(150):
        found = pooled_roc(scores[run], member[run], random, fprs)
        inside.append([low <= at <= high for at, (low, high) in zip(truth, (f.interval() for f in found), strict=True)])
        assert (np.diff([float(one.estimate) for one in found]) >= 0).all()
    assert (np.mean(inside, axis=0) >= 0.94 - 0.058).all()


def test_fprs_of_the_pooled_roc_lie_between_0_and_1():
    with pytest.raises(ValueError, match=r"between 0 and 1, got 0\.1 to 1\.0"):
        pooled_roc(np.zeros((2, 9)), np.eye(2, 9, dtype=bool), np.random.default_rng(1), np.array([0.1, 1.0]))
