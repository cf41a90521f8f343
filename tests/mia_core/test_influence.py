import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mia_core.metrics.influence import ROWS_AT_ONCE, aucs, effective


@st.composite
def studies(draw):
    """Scores [R, J] of few values, so with many ties, members of both kinds in each row, and persons [J] or None."""
    replicates, records = draw(st.integers(1, 4)), draw(st.integers(2, 12))
    scores = draw(arrays(float, (replicates, records), elements=st.integers(-2, 2).map(float)))
    persons = draw(st.none() | arrays(int, records, elements=st.integers(0, 4)))
    coin = np.arange(records) if persons is None else persons
    coins = draw(arrays(bool, (replicates, 13)))[:, coin]
    coins[coins.all(1) | ~coins.any(1)] = coin == coin[0]
    if (coins.all(1) | ~coins.any(1)).any():  # a single person
        persons, coins = None, np.tile(np.arange(records) == 0, (replicates, 1))
    return scores, coins, persons


def slow_aucs(score, member, persons):
    """AUC and influences of one replicate, pair by pair."""
    inside, outside = np.flatnonzero(member), np.flatnonzero(~member)
    table = np.array([[(score[i] > score[j]) + 0.5 * (score[i] == score[j]) for j in outside] for i in inside])
    auc = table.mean()
    whose = list(range(len(score))) if persons is None else persons.tolist()
    names = sorted(set(whose))
    influence = dict.fromkeys(names, 0.0)
    for a, i in enumerate(inside):
        influence[whose[i]] += (table[a].mean() - auc) * len(names) / len(inside)
    for b, j in enumerate(outside):
        influence[whose[j]] += (table[:, b].mean() - auc) * len(names) / len(outside)
    return auc, [influence[name] for name in names]


@given(studies())
def test_aucs_and_influences_are_those_of_all_pairs_with_ties_half(study):
    scores, member, persons = study
    found = aucs(scores, member, persons)
    for r in range(len(scores)):
        auc, influence = slow_aucs(scores[r], member[r], persons)
        assert found.auc[r] == pytest.approx(auc, abs=1e-12)
        np.testing.assert_allclose(found.influence[r], influence, atol=1e-10)
    np.testing.assert_allclose(found.influence.sum(-1), 0, atol=1e-9)
    whose = np.arange(member.shape[1]) if persons is None else persons
    assert found.members.tolist() == [len(set(whose[row])) for row in member]
    assert (found.members + found.non_members == found.units).all()


def test_an_influence_is_the_change_of_the_auc_per_share_of_weight():
    # By hand: members 3 and 1 against others 2 and 0: pairs right 3 of 4. Member 3 is above both, member 1 above one.
    found = aucs(np.array([3.0, 1.0, 2.0, 0.0]), np.array([True, True, False, False]))
    assert found.auc == 0.75
    assert found.influence.tolist() == [0.25 * 2, -0.25 * 2, -0.25 * 2, 0.25 * 2]


@pytest.mark.parametrize("order", ["members first", "members last"])
def test_constant_scores_give_exactly_one_half_and_no_influence_whatever_the_order(order):
    # Mistake 2 of published code.
    member = np.arange(7) < 3 if order == "members first" else np.arange(7) >= 4
    found = aucs(np.zeros((2, 7)), np.tile(member, (2, 1)))
    assert found.auc.tolist() == [0.5, 0.5]
    assert not found.influence.any()


def test_perfect_separation_is_1_without_influence():
    found = aucs(np.array([0.0, 1.0, 2.0, 3.0]), np.array([False, False, True, True]))
    assert found.auc == 1.0 and not found.influence.any()


def test_more_rows_than_are_sorted_at_once_and_leading_axes_change_nothing():
    random = np.random.default_rng(0)
    scores = random.normal(size=(3, ROWS_AT_ONCE, 9)).round(1)
    member = random.random(scores.shape) < 0.5
    member[..., 0], member[..., 1] = True, False
    together = aucs(scores, member)
    for i in range(3):
        alone = aucs(scores[i], member[i])
        np.testing.assert_array_equal(together[i].influence, alone.influence)
        np.testing.assert_array_equal(together.auc[i], alone.auc)
        assert together[i].units == 9


@pytest.mark.parametrize(
    ("score", "member", "persons", "message"),
    [
        ([0.0, np.nan], [True, False], None, "1 of 2 scores are NaN"),
        ([0.0, 1.0], [True, True], None, "needs members and non-members"),
        ([0.0, 1.0], [False, False], None, "needs members and non-members"),
        ([0.0], [True, False], None, "do not match"),
        ([0.0, 1.0], [True, False], [0], "do not match"),
        ([0.0, 1.0, 2.0], [True, False, True], [0, 0, 1], "one person are IN and OUT"),
    ],
    ids=["nan", "members only", "others only", "lengths", "persons", "half a person"],
)
def test_what_cannot_be_judged_is_refused(score, member, persons, message):
    with pytest.raises(ValueError, match=message):
        aucs(np.array(score), np.array(member), None if persons is None else np.array(persons))


def test_units_of_different_sizes_count_as_fewer_of_the_same_size():
    assert effective(np.array([1, 2, 3])) == pytest.approx(36 / 14)
    assert effective(np.array([[4, 4, 4], [0, 0, 7]])).tolist() == [3, 1]
