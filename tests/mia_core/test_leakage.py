from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, roc_curve

from mia_core.metrics import judge, roc
from mia_core.metrics.leakage import top_n_accuracy, tpr_at_fpr
from mia_core.metrics.trial_interval import trial_intervals

levels = st.integers(-3, 3).map(float)  # few values, so many ties


@st.composite
def trials(draw, largest=30):
    """Scores float32 and labels with both classes."""
    inside = draw(st.lists(levels, min_size=1, max_size=largest))
    outside = draw(st.lists(levels, min_size=1, max_size=largest))
    order = draw(st.permutations(range(len(inside) + len(outside))))
    score = np.array(inside + outside, dtype=np.float32)[order]
    member = np.repeat([True, False], [len(inside), len(outside)])[order]
    return score, member


def normal_scores(n, m, shift, seed=0):
    rng = np.random.default_rng(seed)
    score = np.concatenate([rng.normal(shift, 1, n), rng.normal(0, 1, m)])
    return score.astype(np.float32), np.repeat([True, False], [n, m])


def slow_auc(inside, outside):
    """Share of pairs in the right order; a tie counts half."""
    return sum((x > y) + 0.5 * (x == y) for x in inside for y in outside) / (len(inside) * len(outside))


def slow_delong(inside, outside, level):
    """DeLong et al. (1988): the covariance of the structural components, from the n x m table of pairs."""
    table = np.array([[(x > y) + 0.5 * (x == y) for y in outside] for x in inside])
    auc = table.mean()
    of_members, of_others = table.mean(axis=1), table.mean(axis=0)
    s10 = ((of_members - auc) ** 2).sum() / (len(inside) - 1)
    s01 = ((of_others - auc) ** 2).sum() / (len(outside) - 1)
    half = norm.ppf(0.5 + level / 2) * np.sqrt(s10 / len(inside) + s01 / len(outside))
    return auc, max(0, auc - half), min(1, auc + half)


def slow_top_n(score, member):
    """Average over every order of the records of the share of members in the first n of a stable sort."""
    n, shares = member.sum(), []
    for order in permutations(range(len(score))):
        first = sorted(order, key=lambda record: -score[record])[:n]
        shares.append(member[first].sum() / n)
    return np.mean(shares)


def slow_tpr(inside, outside, target):
    """Largest TPR of all thresholds whose FPR is at most the target."""
    thresholds = [*inside, *outside, np.inf]
    allowed = [t for t in thresholds if np.mean(outside >= t) <= target]
    return max(np.mean(inside >= t) for t in allowed)


@given(trials())
def test_auc_is_the_share_of_ordered_pairs_with_ties_counted_half(trial):
    # Mistake 2 of published code: ties resolved by position, with members first.
    score, member = trial
    auc = judge(score, member).auc
    assert auc == pytest.approx(slow_auc(score[member], score[~member]), abs=1e-12)
    assert auc == pytest.approx(roc_auc_score(member, score), abs=1e-12)


def test_the_interval_is_the_95_percent_one_of_a_trial():
    score, member = normal_scores(30, 50, 0.7)
    result = judge(score, member)
    assert (result.auc, result.auc_low, result.auc_high) == trial_intervals(score, member)


def test_records_of_one_person_are_one_piece_of_evidence():
    persons = np.repeat(np.arange(40), 3)
    random = np.random.default_rng(0)
    member = persons < 20
    score = (random.normal(size=40)[persons] + 0.5 * member).astype(np.float32)
    by_person, by_record = judge(score, member, persons=persons), judge(score, member)
    assert by_person.auc == by_record.auc
    # Copies of one score: three records say what one does, so the error is about the root of three times as large.
    width = by_person.auc_high - by_person.auc_low
    assert 1.5 < width / (by_record.auc_high - by_record.auc_low) < 2


@given(trials(largest=8), trials(largest=8))
def test_metrics_are_of_the_judged_and_auc_all_of_every_query(judged, others):
    score, member = (np.concatenate(parts) for parts in zip(judged, others, strict=True))
    of = np.arange(len(score)) < len(judged[0])
    persons = np.arange(len(score))
    whole, alone = judge(score, member, of, persons), judge(*judged)
    assert (whole.queries, whole.judged) == (len(score), len(judged[0]))
    assert whole.auc_all == pytest.approx(judge(score, member).auc, abs=1e-12)
    same = {name: value for name, value in vars(alone).items() if name not in ("queries", "auc_all")}
    assert {name: vars(whole)[name] for name in same} == pytest.approx(same)


def test_extra_non_members_decide_nothing_about_a_low_fpr():
    score, member = normal_scores(50, 999, 3.0)
    score, member = np.append(score, np.zeros(500)), np.append(member, np.zeros(500, bool))
    assert judge(score, member).tpr_at_1pct_fpr is not None
    assert judge(score, member, np.arange(len(score)) < 1049).tpr_at_1pct_fpr is None


@given(trials(largest=3))
def test_top_n_accuracy_is_the_average_over_all_ways_to_break_ties(trial):
    # Mistake 2 of published code.
    score, member = trial
    assert judge(score, member).accuracy_top_n == pytest.approx(slow_top_n(score, member), abs=1e-12)


def test_top_n_accuracy_equals_random_tie_breaks_at_a_larger_size():
    # 4,000 random orders; the mean's deviation is below .5 sqrt(1/40/4000) = .00125, and the margin four of them.
    rng = np.random.default_rng(0)
    score, member = rng.integers(0, 4, 100).astype(np.float32), rng.random(100) < 0.4
    n, shares = member.sum(), []
    for _ in range(4000):
        order = rng.permutation(100)
        shares.append(member[order[np.argsort(-score[order], kind="stable")[:n]]].mean())
    assert judge(score, member).accuracy_top_n == pytest.approx(np.mean(shares), abs=0.005)


@given(trials())
def test_corrected_top_n_accuracy_is_the_advantage(trial):
    score, member = trial
    result = judge(score, member)
    a, pi = result.accuracy_top_n, member.mean()
    assert result.baseline_top_n == pytest.approx(pi, abs=1e-12)
    assert (a - pi) / (1 - pi) == pytest.approx(result.advantage, abs=1e-12)
    assert result.balanced_accuracy == pytest.approx((1 + result.advantage) / 2, abs=1e-12)


def test_advantage_and_balanced_accuracy_are_those_of_the_n_highest_scores():
    score, member = normal_scores(40, 90, 0.8, seed=3)
    called = np.zeros(130, dtype=bool)
    called[np.argsort(-score)[:40]] = True
    result = judge(score, member)
    assert result.queries == 130
    assert result.accuracy_top_n == pytest.approx(called[member].mean())
    assert result.advantage == pytest.approx(called[member].mean() - called[~member].mean())
    assert result.balanced_accuracy == pytest.approx(balanced_accuracy_score(member, called))


@given(trials())
def test_roc_is_sklearns_with_every_threshold(trial):
    score, member = trial
    fpr, tpr = roc(score, member)
    slow_fpr, slow_tpr_, _ = roc_curve(member, score, drop_intermediate=False)
    np.testing.assert_allclose(fpr, slow_fpr)
    np.testing.assert_allclose(tpr, slow_tpr_)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)


@pytest.mark.parametrize("target", [0.01, 0.02, 0.1])
@pytest.mark.parametrize("values", [20, 300, 10**9])
@pytest.mark.parametrize("seed", range(3))
def test_tpr_at_fpr_is_that_of_the_best_threshold_allowed(target, values, seed):
    # Mistake 4 of published code: TPR read at the nearest or interpolated FPR.
    rng = np.random.default_rng(seed)
    outside = rng.integers(0, values, 1003).astype(np.float32)
    inside = (rng.integers(0, values, 57) + values // 10).astype(np.float32)
    assert tpr_at_fpr(inside, outside, target) == slow_tpr(inside, outside, target)


def test_tpr_at_fpr_uses_all_false_positives_it_may_have():
    outside = np.arange(1000, dtype=np.float32)
    inside = np.array([991.0, 989.5, 989.0, 5.0], dtype=np.float32)
    assert tpr_at_fpr(inside, outside, 0.01) == 0.5  # >= 989.5: ten false positives
    assert tpr_at_fpr(inside, outside, 0.011) == 0.75  # >= 989: eleven


@pytest.mark.parametrize(("others", "one", "tenth"), [(999, False, False), (1000, True, False), (10_000, True, True)])
def test_tpr_at_low_fpr_is_reported_from_ten_expected_false_positives_on(others, one, tenth):
    score, member = normal_scores(50, others, 3.0)
    result = judge(score, member)
    assert (result.tpr_at_1pct_fpr is not None) == one
    assert (result.tpr_at_01pct_fpr is not None) == tenth
    if tenth:
        assert result.tpr_at_01pct_fpr == slow_tpr(score[member], score[~member], 0.001)
        assert result.tpr_at_1pct_fpr == slow_tpr(score[member], score[~member], 0.01)


@given(trials(), st.randoms(use_true_random=False))
def test_results_do_not_depend_on_the_order_of_records(trial, random):
    # Mistake 2 of published code.
    score, member = trial
    order = list(range(len(score)))
    random.shuffle(order)
    expected, result = judge(score, member), judge(score[order], member[order])
    assert vars(result) == pytest.approx(vars(expected), abs=1e-12)


@given(trials())
def test_results_depend_on_ranks_only_and_mirror_with_the_sign(trial):
    score, member = trial
    result = judge(score, member)
    assert vars(judge(np.exp(score), member)) == vars(result)
    mirrored = judge(-score, member)
    assert mirrored.auc == pytest.approx(1 - result.auc, abs=1e-12)
    assert mirrored.auc_low == pytest.approx(1 - result.auc_high, abs=1e-12)


def test_scores_that_differ_in_double_precision_only_are_ties():
    # Results come from the stored float32.
    score = np.array([1 + 1e-12, 1.0, 1 + 2e-12, 1.0])
    assert judge(score, np.array([True, False, True, False])).auc == 0.5


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize(
    ("score", "member", "message"),
    [
        ([0.0, np.nan, 1.0], [True, False, True], "finite"),
        ([0.0, np.inf, 1.0], [True, False, True], "finite"),
        ([0.0, 1e300, 1e301], [True, False, True], "finite"),
        ([0.0, 1.0], [True, True], "needs members and non-members, got 2 and 0"),
        ([0.0, 1.0], [False, False], "needs members and non-members, got 0 and 2"),
        ([], [], "needs members and non-members|do not match"),
        ([0.0, 1.0, 2.0], [True, False], "do not match"),
        ([[0.0, 1.0]], [[True, False]], "do not match"),
        ([0.0, 1.0], [1, 0], "do not match"),
    ],
    ids=["nan", "inf", "beyond float32", "members only", "others only", "empty", "lengths", "matrix", "integers"],
)
def test_what_cannot_be_judged_is_refused(score, member, message):
    with pytest.raises(ValueError, match=f"judge: .*({message})"):
        judge(np.array(score), np.array(member, dtype=bool if not score else None))


def test_judged_records_of_one_kind_are_refused():
    with pytest.raises(ValueError, match="needs members and non-members, got 0 and 1"):
        judge(np.arange(3.0), np.array([True, False, False]), np.array([False, True, False]))


@given(trials(), st.integers(1, 4), st.integers(1, 4))
def test_top_n_accuracy_in_a_pool_of_another_share_is_that_of_records_repeated(trial, copies, others):
    # A pool in which each member stands `copies` times and each non-member `others` times has that share, the same ROC.
    score, member = trial
    inside, outside = score[member], score[~member]
    repeated = np.repeat(inside, copies), np.repeat(outside, others)
    share = len(repeated[0]) / sum(map(len, repeated))
    both = np.concatenate(repeated)
    label = np.repeat([True, False], [len(part) for part in repeated])
    assert top_n_accuracy(inside, outside, share) == pytest.approx(judge(both, label).accuracy_top_n, abs=1e-12)


@pytest.mark.long
@pytest.mark.parametrize("n", [30, 300])
def test_top_n_accuracy_at_the_papers_ratio_does_not_move_with_n_as_the_raw_one_does(n):
    score, member = normal_scores(10 * n, 10_000, 1.0)
    found = judge(score, member)
    # At a tenth of members and normal scores one deviation apart: TPR = 1 - F(t - 1) where .1 TPR + .9 FPR = .1.
    tpr = next(norm.sf(t - 1) for t in np.linspace(0, 4, 40_001) if 0.1 * norm.sf(t - 1) + 0.9 * norm.sf(t) <= 0.1)
    assert found.accuracy_top_10pct == pytest.approx(tpr, abs=4 * 0.5 / (10 * n) ** 0.5)
    assert judge(np.zeros(50), member[:50] & (np.arange(50) < 5)).accuracy_top_10pct == pytest.approx(0.1)
