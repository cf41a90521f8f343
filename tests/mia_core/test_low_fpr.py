import numpy as np
import pytest
from scipy.stats import rankdata

from mia_core.metrics.low_fpr import _tpr, _without, tpr_at_low_fpr
from tests.mia_core.coverage import RARE, low_fpr_covered
from tests.mia_core.leaking_scores import Population


def study(replicates=5, records=300, probability=0.2, gain=1.5, seed=0):
    random = np.random.default_rng(seed)
    member = random.random((replicates, records)) < probability
    return random.normal(size=member.shape) + gain * member, member


def slow_tpr(rank, member, fpr):
    """The highest TPR of all thresholds whose FPR is at most `fpr`."""
    inside, outside = rank[member], rank[~member]
    allowed = [t for t in [*np.unique(rank), np.inf] if np.mean(outside >= t) <= fpr]
    return max(np.mean(inside >= t) for t in allowed)


def slow_without(rank, member, keep, fpr):
    """TPR at `fpr` by interpolation between the TPRs of as many, and one more, false positives than it allows."""
    inside, outside = rank[member & keep], np.sort(rank[~member & keep])[::-1]
    allowed = fpr * len(outside)
    whole = int(allowed)
    one, other = (np.mean([value > outside[k] for value in inside]) for k in (whole, whole + 1))
    return one + (allowed - whole) * (other - one)


@pytest.mark.parametrize("decimals", [9, 1], ids=["untied", "tied"])
def test_tpr_is_that_of_the_lowest_rank_whose_pooled_fpr_is_at_most_the_target(decimals):
    scores, member = study()
    scores = scores.round(decimals)
    rank = rankdata(scores, axis=-1)
    found = tpr_at_low_fpr(scores, member, np.random.default_rng(0))
    assert found.tpr == slow_tpr(rank, member, 0.01)
    assert (found.hits, found.members) == (round(found.tpr * member.sum()), member.sum())
    assert found.share == member.mean()


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


def test_variance_is_that_of_one_deletion_at_a_time():
    scores, member = study(replicates=3, records=500)
    rank, random = rankdata(scores, axis=-1) / 500, np.random.default_rng(2)
    group = np.random.default_rng(2).permutation(500) % 20
    row = np.arange(3)[:, None]

    def jackknife(kept):
        values = np.array([slow_without(rank, member, np.broadcast_to(keep, rank.shape), 0.01) for keep in kept])
        count = len(values)
        return (count - 1) / count * ((values - values.mean()) ** 2).sum()

    v_rep = jackknife([row != r for r in range(3)])
    v_group = jackknife([group[None] != g for g in range(20)])
    v_block = jackknife([(row != r) | (group[None] != g) for r in range(3) for g in range(20)])
    v_rec = max(0.0, v_group - v_block)
    found = tpr_at_low_fpr(scores, member, random)
    assert found.variance == pytest.approx(v_rep + v_rec)
    assert found.df == pytest.approx(found.variance**2 / (v_rep**2 / 2 + v_rec**2 / 19))


def test_leaving_nothing_out_at_a_whole_number_of_false_positives_is_the_estimate():
    scores, member = study(replicates=2, records=1250)
    member[:] = np.arange(1250) < 250
    rank, block = rankdata(scores, axis=-1), np.zeros((2, 1250), dtype=int)
    assert _without(rank, member, block, np.zeros((1, 1), dtype=bool), 0.01)[0] == _tpr(rank, member, 0.01)


def test_persons_are_left_out_as_a_whole():
    # Records of a person repeat each other: apart, the jackknife would see four times as many records as there are.
    random = np.random.default_rng(4)
    persons = np.repeat(np.arange(100), 4)
    member = (random.random((5, 100)) < 0.25)[:, persons]
    scores = random.normal(size=100)[persons] + 0.01 * random.normal(size=(5, 400)) + member
    whole = tpr_at_low_fpr(scores, member, np.random.default_rng(0), persons)
    apart = tpr_at_low_fpr(scores, member, np.random.default_rng(0))
    assert whole.tpr == apart.tpr
    assert whole.variance > 1.3 * apart.variance


def test_limits_stay_inside_0_and_1_and_are_one_sided_halves():
    scores, member = study()
    found = tpr_at_low_fpr(scores, member, np.random.default_rng(0))
    low, high = found.interval()
    assert 0 < low < found.tpr < high < 1
    assert (found.lower(0.975), found.upper(0.975)) == (low, high)


@pytest.mark.parametrize(("gain", "ends"), [(100.0, (0.93, 1.0)), (-100.0, (0.0, 0.07))])
def test_all_or_none_called_have_exact_limits_of_one_replicates_members(gain, ends):
    # Clopper & Pearson: 60 or so of as many still leave .025^(1/60) = .94.
    scores, member = study(gain=gain)
    low, high = tpr_at_low_fpr(scores, member, np.random.default_rng(0)).interval()
    assert (low, high) == pytest.approx(ends, abs=0.015)


def test_one_replicate_has_an_estimate_and_no_limits():
    scores, member = study(replicates=1, records=1500)
    found = tpr_at_low_fpr(scores, member, np.random.default_rng(0))
    assert found.descriptive and 0 < found.tpr < 1 and np.isnan(found.interval()).all()


def test_intervals_cover():
    row = low_fpr_covered(100, Population(0.5, unequal=0.8), RARE, 5)
    assert row.good(3.5), row
