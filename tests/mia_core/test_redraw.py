from itertools import product

import numpy as np
import pytest

from mia_core.metrics.influence import aucs
from mia_core.metrics.redraw import adjusted_mean_aucs, independent_coins, mean_aucs, permuted_coins, redrawn
from tests.mia_core.coverage import COINS, falsely_shown
from tests.mia_core.leaking_scores import Population


def random_study(attacks=3, replicates=5, records=40, gain=0.0, seed=0):
    random = np.random.default_rng(seed)
    member = random.random((replicates, records)) < 0.5
    return [random.normal(size=member.shape) + gain * member for _ in range(attacks)], member


def test_mean_aucs_are_those_of_each_draw_alone():
    (scores,), _ = random_study(attacks=1)
    scores = scores.round(1)
    members = independent_coins(0.3, 5, 40)(np.random.default_rng(1), 7)
    np.testing.assert_allclose(mean_aucs(scores, members), [aucs(scores, m).auc.mean() for m in members])
    np.testing.assert_allclose(
        adjusted_mean_aucs(scores, members), [adjusted_mean_aucs(scores, m[None])[0] for m in members]
    )


@pytest.mark.parametrize("ties", ["none", "some rows", "all rows"])
def test_scores_of_each_draw_are_ranked_as_alone_with_ties_as_halves(ties):
    random = np.random.default_rng(3)
    scores = random.normal(size=(6, 4, 31))
    rows = {"none": [], "some rows": [1, 3], "all rows": [0, 1, 2, 3]}[ties]
    scores[:, rows] = scores[:, rows].round()
    members = random.random(scores.shape) < 0.4
    plain = [
        np.mean(
            [
                np.mean((inside[:, None] > outside) + (inside[:, None] == outside) / 2)
                for score, member in zip(draw, coins, strict=True)
                for inside, outside in [(score[member], score[~member])]
            ]
        )
        for draw, coins in zip(scores, members, strict=True)
    ]
    np.testing.assert_allclose(mean_aucs(scores, members), plain, rtol=1e-12)


def test_p_is_the_share_of_all_coins_with_an_auc_as_high():
    # One replicate of five records, two of them members: by hand over all ten pairs. Scores 4 and 2 of 0..4 give AUC
    # 5/6, which three pairs reach: (4,3) 1, (4,2) 5/6 and no other; so p = 2/10 as draws grow.
    scores, member = np.arange(5.0)[None], np.array([[False, False, True, False, True]])
    found = redrawn([scores], member, permuted_coins(member), np.random.default_rng(0), draws=20_000).of()
    assert found.statistic[0] == pytest.approx(5 / 6)
    assert found.p[0] == pytest.approx(0.2, abs=4 * (0.16 / 20_000) ** 0.5)
    assert found.p_adjusted[0] == found.p[0]


def test_p_counts_the_studys_own_coins_and_is_never_0():
    scores, member = random_study(attacks=1, gain=10.0)
    found = redrawn(scores, member, independent_coins(0.5, 5, 40), np.random.default_rng(0), draws=99).of()
    assert found.p[0] == found.p_strongest == 0.01


def test_constant_scores_are_never_shown():
    _, member = random_study()
    found = redrawn(
        [np.zeros(member.shape)], member, independent_coins(0.5, 5, 40), np.random.default_rng(0), draws=99
    ).of()
    assert found.p[0] == found.p_adjusted[0] == 1.0


def test_scores_that_use_coins_are_computed_anew_for_every_redraw():
    # An attack that adds the coins to its scores 'finds' them in any draw: as it is, it shows nothing.
    (scores,), member = random_study(attacks=1)
    law, cheat = independent_coins(0.5, 5, 40), scores + 10 * member
    frozen = redrawn([cheat], member, law, np.random.default_rng(0), draws=99).of()
    anew = redrawn([lambda coins: scores + 10 * coins], member, law, np.random.default_rng(0), draws=99).of()
    assert frozen.p[0] == 0.01
    assert anew.statistic[0] == 1.0 and anew.p[0] == 1.0


def test_a_leaking_attack_is_named_strongest_and_costs_its_rivals_nothing_but_the_correction():
    scores, member = random_study(attacks=4)
    scores[2] += 0.8 * member
    found = redrawn(scores, member, independent_coins(0.5, 5, 40), np.random.default_rng(0), draws=999).of()
    assert found.strongest == 2 and found.p_strongest == 0.001
    assert (found.p_adjusted >= found.p).all()


def test_the_maximum_over_attacks_is_of_statistics_in_their_own_spreads():
    # Attacks on 8 and 200 records have AUCs of very different spread; the noisy one must not hide the other.
    random = np.random.default_rng(3)
    member = random.random((5, 200)) < 0.5
    noisy = np.where(np.arange(200) < 8, random.normal(size=(5, 200)), 0.0)
    found = redrawn(
        [noisy, random.normal(size=(5, 200)) + 0.4 * member], member, independent_coins(0.5, 5, 200), random
    ).of()
    assert found.strongest == 1 and found.p_strongest < 0.01


def test_independent_coins_are_drawn_by_person_with_their_probability_and_never_all_alike():
    persons = np.repeat(np.arange(4), [3, 1, 2, 4])
    members = independent_coins(0.2, 2, 10, persons)(np.random.default_rng(0), 20_000)
    assert members.shape == (20_000, 2, 10)
    coins = members[..., [0, 3, 4, 6]]
    np.testing.assert_array_equal(members, coins[..., persons])
    assert coins.any(-1).all() and not coins.all(-1).any()
    every = np.array([c for c in product([0, 1], repeat=4) if 0 < sum(c) < 4])
    weight = 0.2 ** every.sum(1) * 0.8 ** (4 - every.sum(1))
    expected = (every * (weight / weight.sum())[:, None]).sum(0)
    np.testing.assert_allclose(coins.mean((0, 1)), expected, atol=4 * (0.25 / 40_000) ** 0.5)


def test_permuted_coins_keep_the_number_of_members_and_persons_whole():
    member = np.array([[True, True, False, False, False], [False, False, True, True, True]])
    persons = np.array([0, 0, 1, 2, 3])
    members = permuted_coins(member, persons)(np.random.default_rng(0), 4000)
    coins = members[..., [0, 2, 3, 4]]
    np.testing.assert_array_equal(members, coins[..., persons])
    assert (coins.sum(-1) == [1, 3]).all()
    np.testing.assert_allclose(coins.mean(0), [[0.25] * 4, [0.75] * 4], atol=4 * (0.1875 / 4000) ** 0.5)


def test_nothing_to_test_is_refused():
    scores, member = random_study()
    law = independent_coins(0.5, 5, 40)
    with pytest.raises(ValueError, match="needs attacks and draws"):
        redrawn([], member, law, np.random.default_rng(0))
    with pytest.raises(ValueError, match="do not match"):
        redrawn([scores[0][:, 1:]], member, law, np.random.default_rng(0), draws=9)
    with pytest.raises(ValueError, match="between 0 and 1"):
        independent_coins(1.0, 5, 40)
    with pytest.raises(ValueError, match="single unit"):
        independent_coins(0.5, 5, 40, np.zeros(40))


@pytest.mark.long
@pytest.mark.parametrize("variate", [False, True], ids=["plain", "with variate"])
def test_attacks_at_chance_are_shown_in_5_percent_of_studies(variate):
    # 200 studies: the standard error of 5 % is 1.5 %.
    row = falsely_shown(200, Population(0.8), (40, 0.5), 5, 1 if variate else 3, variate)
    assert row.good(3.5), row


def test_ten_attacks_cost_far_less_power_than_bonferroni():
    # Five replicates of fair coins; one attack of ten has a gain of .4. Bonferroni's t test has 4 degrees of freedom.
    random, together, corrected = np.random.default_rng(5), 0, 0
    law = independent_coins(COINS[1], 5, COINS[0])
    for seed in range(40):
        scores, member = random_study(10, 5, COINS[0], seed=seed)
        scores[0] = scores[0] + 0.4 * member
        found = redrawn(scores, member, law, random, draws=199).of()
        together += found.p_adjusted[0] <= 0.05
        auc = aucs(scores[0], member).auc
        corrected += (auc.mean() - 0.5) / (auc.std(ddof=1) / 5**0.5) > 5.5976  # t_4 at .05 / 20
    assert together > 1.3 * corrected
