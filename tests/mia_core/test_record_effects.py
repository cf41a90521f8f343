"""Studies with a known share of leaking records: what is claimed of single records, and how often it holds."""

import numpy as np
import pytest
from scipy.stats import norm

from mia_core.metrics.record_effects import (
    coin_p_values,
    differences,
    false_discovery_rates,
    leaking_share,
    least_p,
    moderated,
    robust_quantile,
    shrunk,
)
from mia_core.metrics.split_half import split_half

pytestmark = pytest.mark.long

J = 140


def drawn(random, replicates, effect, probability=0.5):
    """Scores and members [J, R] of records that differ in difficulty and in noise."""
    member = random.random((len(effect), replicates)) < probability
    noise = np.exp(0.3 * random.normal(size=(len(effect), 1)))
    scores = random.normal(size=(len(effect), 1)) + effect[:, None] * member
    return scores + noise * random.normal(size=member.shape), member


def leaking(random, share):
    """Effects [J]: half a standard deviation and an exponential part where a record leaks, else 0."""
    return np.where(np.arange(J) < share * J, 0.5 + 2 * random.exponential(size=J), 0.0)


@pytest.mark.parametrize("share", [0, 0.1, 0.5])
@pytest.mark.parametrize(("replicates", "studies"), [(5, 200), (10, 100), (20, 20)])
def test_records_called_are_rarely_false_and_the_share_is_bounded_from_below(replicates, studies, share):
    # A share of false calls has a standard deviation of at most .22 = (.05 x .95)^(1/2) where none leaks, less else;
    # margins are three standard errors over studies.
    random = np.random.default_rng(replicates)
    false, estimates, below, power = [], [], [], []
    for _ in range(studies):
        effect = leaking(random, share)
        scores, member = drawn(random, replicates, effect)
        p, higher = coin_p_values(scores, member, 0.5, random)
        known = ~np.isnan(p)
        assert (known == (member.any(1) & ~member.all(1))).all()
        called = false_discovery_rates(p[known]) <= 0.05
        leaks = effect[known] > 0
        false.append((called & ~leaks).sum() / max(1, called.sum()))
        power.append((called & leaks).sum() / max(1, leaks.sum()))
        found = leaking_share(p[known], higher[known], int(known.sum()))
        estimates.append(found.estimate)
        below.append(found.low <= share)
    assert np.mean(false) <= 0.05 + 3 * np.std(false) / studies**0.5
    assert np.mean(below) >= 0.95 - 3 * (0.05 * 0.95 / studies) ** 0.5
    assert np.mean(estimates) <= share + 0.05  # clipped at 0, so that its mean is a little above 0 where none leaks
    if share:
        assert np.mean(estimates) > 0.6 * share
    if share == 0.5 and replicates > 5:
        assert np.mean(power) > 0.5


@pytest.mark.parametrize("share", [0, 0.1, 0.5])
@pytest.mark.parametrize(("replicates", "studies"), [(5, 200), (10, 100), (20, 100)])
def test_shrunk_intervals_hold_95_percent_of_records_and_are_shorter_than_those_of_single_records(
    replicates, studies, share
):
    random = np.random.default_rng(10 + replicates)
    inside, shorter, nearer = [], [], []
    for _ in range(studies):
        effect = leaking(random, share)
        found = differences(*drawn(random, replicates, effect))
        center, low, high = shrunk(found)
        truth = effect[found.both]
        inside.append(((low <= truth) & (truth <= high)).mean())
        shorter.append((high - low).mean() / (2 * 1.96 * found.error.mean()))
        nearer.append(((center - truth) ** 2).mean() / ((found.difference - truth) ** 2).mean())
    assert np.mean(inside) >= 0.95 - 3 * np.std(inside) / studies**0.5
    assert np.mean(shorter) < 1.1 and np.mean(nearer) < 0.95
    if not share:
        assert np.mean(shorter) < 0.75


@pytest.mark.parametrize("probability", [0.5, 0.159])
def test_p_values_of_records_without_effect_are_exact_whatever_the_scores(probability):
    # Skewed scores with outliers, which no t distribution describes.
    random = np.random.default_rng(3)
    member = random.random((40_000, 6)) < probability
    scores = random.standard_t(1, size=member.shape) ** 3
    p, higher = coin_p_values(scores, member, probability, random)
    p, higher = p[~np.isnan(p)], higher[~np.isnan(p)]
    between = higher + (p - higher) * random.random(len(p))  # uniform when both ends are right
    for level in (0.05, 0.2, 0.5, 0.9):
        margin = 4 * (level * (1 - level) / len(p)) ** 0.5
        assert (p <= level).mean() <= level + margin
        assert (between <= level).mean() == pytest.approx(level, abs=margin)
    assert p.min() >= least_p(6, probability) - 1e-12


def test_coins_drawn_for_many_replicates_agree_with_all_of_them(monkeypatch):
    random = np.random.default_rng(4)
    scores, member = drawn(random, 8, np.linspace(0, 2, 50))
    exact, _ = coin_p_values(scores, member, 0.5, random)
    from mia_core.metrics import record_effects

    assert least_p(8, 0.5) == pytest.approx(1 / 254)
    monkeypatch.setattr(record_effects, "MOST_PATTERNS", 200)  # fewer than 2^8
    draws = np.mean([coin_p_values(scores, member, 0.5, random)[0] for _ in range(60)], axis=0)
    known = ~np.isnan(exact)
    assert draws[known] == pytest.approx(exact[known], abs=0.02)
    assert least_p(8, 0.5) == 1 / 201


def test_the_order_of_p_values_is_that_of_the_two_sided_t_of_a_record():
    random = np.random.default_rng(5)
    scores = random.normal(size=(1, 6))
    patterns = (np.arange(1, 63)[:, None] >> np.arange(6)) & 1 == 1
    p = np.array([coin_p_values(scores, pattern[None], 0.5, random)[0][0] for pattern in patterns])
    own = np.array([_t(scores[0], pattern) for pattern in patterns])
    assert (p.argsort() == (-own).argsort()).all()


def _t(scores, side):
    inside, outside = scores[side], scores[~side]
    squares = ((inside - inside.mean()) ** 2).sum() + ((outside - outside.mean()) ** 2).sum()
    return (inside.mean() - outside.mean()) / (squares * (1 / len(inside) + 1 / len(outside))) ** 0.5


def test_robust_quantiles_bound_every_bias_of_that_mean_square():
    # Known: 1.96 without bias; and no distribution of the bias leaves more than 5 % outside.
    assert robust_quantile(np.array([0.0])) == pytest.approx(1.96, abs=1e-3)
    for mean_square in (0.1, 1.0, 5.0):
        c = robust_quantile(np.array([mean_square]))[0]
        worst = 0.0
        for rare in np.linspace(0.01, 1, 200):  # b^2 is mean_square / rare with probability rare, else 0
            b = (mean_square / rare) ** 0.5
            outside = rare * (norm.cdf(-c - b) + norm.cdf(-c + b)) + (1 - rare) * 2 * norm.cdf(-c)
            worst = max(worst, outside)
        assert worst == pytest.approx(0.05, abs=5e-4)
    assert (np.diff(robust_quantile(np.geomspace(1e-3, 1e6, 50))) > 0).all()


def test_moderated_variances_are_limmas_on_a_worked_example():
    # Variances drawn around one value are pooled as a whole; unequal ones are drawn toward their middle, in order.
    random = np.random.default_rng(1)
    freedom = np.full(4000, 3.0)
    same, total = moderated(random.chisquare(3, 4000) / 3, freedom)
    assert same.std() < 0.1 and total.min() > 50
    true = 1 / random.gamma(4, 1 / 4, 4000)  # scaled inverse chi-square of 8 degrees around 1
    own = true * random.chisquare(3, 4000) / 3
    found, total = moderated(own, freedom)
    assert total[0] - 3 == pytest.approx(8, rel=0.25)
    assert found == pytest.approx(
        (3 * own + (total[0] - 3) * np.median((found * total - 3 * own) / (total - 3))) / total
    )
    assert ((found - true) ** 2).mean() < 0.5 * ((own - true) ** 2).mean()


def test_constant_scores_leave_nothing_known_and_claim_nothing():
    member = np.random.default_rng(6).random((30, 5)) < 0.5
    found = differences(np.zeros(member.shape), member)
    assert np.isnan(found.error).all() and np.isnan(shrunk(found)[0]).all()
    p, higher = coin_p_values(np.zeros(member.shape), member, 0.5, np.random.default_rng(7))
    assert (p[found.both] == pytest.approx(1.0)) and (higher[found.both] == 0).all()
    assert leaking_share(p[found.both], higher[found.both], int(found.both.sum())).low == 0
    with pytest.raises(ValueError, match="3 replicates"):
        differences(np.zeros((4, 2)), np.zeros((4, 2), bool))


@pytest.mark.parametrize("replicates", [5, 10])
def test_reliability_is_the_share_of_spread_that_is_the_records_own(replicates, monkeypatch):
    monkeypatch.setattr("mia_core.metrics.split_half.RESAMPLES", 50)
    random = np.random.default_rng(replicates)
    for spread in (0.0, 1.0):
        halves, expected = [], []
        for _ in range(20):
            member = random.random((300, replicates)) < 0.5
            effect = 0.5 + spread * random.normal(size=300)
            values = random.normal(size=(300, 1)) + member * effect[:, None] + random.normal(size=member.shape)
            usable = np.minimum(member.sum(1), (~member).sum(1)) >= 2
            halves.append(split_half(values[usable], member[usable], random).reliability)
            noise = (1 / member[usable].sum(1) + 1 / (~member[usable]).sum(1)).mean()
            expected.append(spread**2 / (spread**2 + noise))
        assert np.mean(halves) == pytest.approx(np.mean(expected), abs=0.06)
