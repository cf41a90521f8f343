"""Derived attacks: known answers, plain references, and nulls that are at 1/2 by construction."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.stats import norm, rankdata
from sklearn.linear_model import QuantileRegressor

from mia_core.derived import DERIVED, Evidence
from mia_core.derived.by_person import of_persons
from mia_core.derived.calibrated import calibrated
from mia_core.derived.ensemble import ensemble, ensemble_weights
from mia_core.derived.evidence import Side, all_others, normal_scores, one_way
from mia_core.derived.lira import Predicted, lira, lira_offline, predicted, predicted_variances
from mia_core.derived.quantile_regression import linear_quantile
from mia_core.derived.rmia import rmia
from mia_core.metrics.influence import aucs
from mia_core.metrics.two_way import mean_auc
from tests.mia_core.leaking_scores import Population

SINGLE = {
    "calibrated": calibrated,
    "lira": lira,
    "lira_offline": lira_offline,
    "rmia": rmia,
    "rmia_offline": partial(rmia, offline=True),
}
EVERY = {**SINGLE, "ensemble": ensemble}


def study(replicates=5, records=60, kinds=1, seed=0, probability=0.5, shift=0.8):
    """Scores [K,R,Q] and members [R,Q]."""
    random = np.random.default_rng(seed)
    member = random.random((replicates, records)) < probability
    member[:, 0], member[:, 1] = True, False
    difficulty = random.normal(size=(kinds, 1, records))
    return difficulty + random.normal(size=(kinds, replicates, records)) + shift * member, member


def derive(of, scores, member, kinds=1):
    """Leave-one-out scores [R,Q] of the first attacks."""
    return of(Evidence.leave_one_out(scores[:kinds], member))


def auc(scores, member):
    return float(aucs(scores, member).auc.mean())


# Plain references


def test_calibrated_is_the_score_minus_the_mean_out_score_of_the_others():
    scores, member = study()
    z = (scores[0] - scores[0].mean(-1, keepdims=True)) / scores[0].std(-1, keepdims=True)
    found = derive(calibrated, scores, member)
    for r, i in np.ndindex(*member.shape):
        out = [z[q, i] for q in range(len(z)) if q != r and not member[q, i]]
        if out:
            assert found[r, i] == pytest.approx(z[r, i] - np.mean(out))


def test_a_record_that_was_always_in_is_calibrated_by_its_in_scores_less_the_mean_difference():
    scores, member = study()
    member[:, 5] = True
    z = (scores[0] - scores[0].mean(-1, keepdims=True)) / scores[0].std(-1, keepdims=True)
    others, held = z[1:], member[1:]
    expected = others[:, 5].mean() - (others[held].mean() - others[~held].mean())
    assert derive(calibrated, scores, member)[0, 5] == pytest.approx(z[0, 5] - expected)


def test_rmia_is_the_log_of_the_ratio_to_the_mean_of_both_sides():
    scores, member = study()
    z = normal_scores(scores[0])
    found = derive(rmia, scores, member)
    for r, i in np.ndindex(*member.shape):
        inside = [np.exp(z[q, i]) for q in range(len(z)) if q != r and member[q, i]]
        outside = [np.exp(z[q, i]) for q in range(len(z)) if q != r and not member[q, i]]
        if inside and outside:
            p = (np.mean(inside) + np.mean(outside)) / 2
        elif outside:
            p = ((1 + 0.3) * np.mean(outside) + (1 - 0.3)) / 2
        else:
            p = np.mean(inside)
        assert found[r, i] == pytest.approx(np.log(np.exp(z[r, i]) / p))


def test_offline_a_record_without_out_trainings_has_the_median_in_place_of_a_probability():
    scores, member = study()
    member[1:, 3], member[1:, 4] = True, False
    z = normal_scores(scores[0])
    found = derive(partial(rmia, offline=True), scores, member)
    assert found[0, 3] == pytest.approx(z[0, 3])  # log p(x) = 0, neither log(1 - a) nor what IN trainings say
    assert found[0, 4] == pytest.approx(z[0, 4] - np.log((1.3 * np.exp(z[1:, 4]).mean() + 0.7) / 2))


def test_rmia_against_a_population_has_the_roc_of_the_ratio_on_one_target():
    # The paper's score: the share of a population z with ratio(x) / ratio(z) >= gamma. Monotone in ratio(x).
    random = np.random.default_rng(0)
    log_ratio, population = random.normal(size=200), random.normal(size=2000)
    member = random.random(200) < 0.5
    shares = (np.exp(log_ratio[:, None] - population) >= 1).mean(1)
    assert (np.diff(shares[np.argsort(log_ratio)]) >= 0).all()
    # Queries between the same two of the population are ties in the share; with more of them, none are left.
    assert auc(shares, member) == pytest.approx(auc(log_ratio, member), abs=2e-3)


def test_lira_of_known_parameters_is_the_ratio_of_two_normal_densities():
    score = np.linspace(-3, 3, 7)
    known = Predicted(np.full(7, 1.0), np.full(7, 0.5), np.full(7, -0.2), np.full(7, 2.0))
    expected = norm.logpdf(score, 1, 0.5**0.5) - norm.logpdf(score, -0.2, 2**0.5)
    np.testing.assert_allclose(known.log_ratio(score), expected)
    np.testing.assert_allclose(known.above_out(score), (score + 0.2) / 2**0.5)


def test_the_mean_of_k_out_scores_has_weight_k_rho_over_k_rho_plus_1_minus_rho():
    random = np.random.default_rng(1)
    rho, records, trainings = 0.6, 4000, 4
    score = random.normal(size=records) * rho**0.5 + random.normal(size=(trainings, records)) * (1 - rho) ** 0.5
    kept = random.random(score.shape) < 0.5
    count, total = kept.sum(0), np.where(kept, score, 0).sum(0)
    nothing = Side(*np.zeros((3, 1, records)))
    found = predicted(Side(count[None], total[None], np.where(kept, score**2, 0).sum(0)[None]), nothing)
    weight = count * rho / (count * rho + 1 - rho)
    mean = np.divide(total, count, out=np.zeros(records), where=count > 0)
    overall = total.sum() / count.sum()
    np.testing.assert_allclose(found.mean_out[0], overall + weight * (mean - overall), atol=0.06)
    spread = (1 - rho) + rho * (1 - weight)
    np.testing.assert_allclose(found.variance_out[0], spread, rtol=0.06)


def test_lira_predicts_in_and_out_scores_as_the_posterior_of_its_normal_model_does():
    """By the matrices of the joint normal of (b, b + d) and a record's two means."""
    random = np.random.default_rng(2)
    scores, member = Population(0.5, 0.5, 0.3).draw(random, 1, 8, 300, 0.5)
    evidence = Evidence.leave_one_out(scores[0], member[0]).normal
    outside, inside = evidence.side(False), evidence.side(True)
    found = predicted(outside, inside)
    noise, records, shifts = (float(part[0, 0]) for part in predicted_variances(outside, inside))
    shift = float((inside.overall - outside.overall)[0, 0])
    for i in range(40):
        n_out, n_in = outside.count[0, i], inside.count[0, i]
        prior_mean = np.array([outside.overall[0, 0], outside.overall[0, 0] + shift])
        prior = np.array([[records, records], [records, records + shifts]])
        seen = [k for k, n in enumerate((n_out, n_in)) if n]
        value = np.array([outside.mean[0, i], inside.mean[0, i]])[seen]
        error = np.diag([noise / n for n in (n_out, n_in) if n])
        gain = prior[:, seen] @ np.linalg.inv(prior[np.ix_(seen, seen)] + error)
        mean = prior_mean + gain @ (value - prior_mean[seen])
        left = prior - gain @ prior[seen]
        assert found.mean_out[0, i] == pytest.approx(mean[0])
        assert found.mean_in[0, i] == pytest.approx(mean[1])
        assert found.variance_out[0, i] == pytest.approx(noise + left[0, 0])
        assert found.variance_in[0, i] == pytest.approx(noise + left[1, 1])


def test_normal_scores_have_mean_ranks_where_scores_are_equal():
    np.testing.assert_allclose(normal_scores(np.array([3.0, 1.0, 3.0, 9.0])), norm.ppf([0.5, 0.125, 0.5, 0.875]))


def test_persons_have_the_sum_or_the_largest_of_their_records():
    score, unit = np.array([[1.0, 5.0, 2.0, -1.0]]), np.array([7, 3, 7, 3])
    assert of_persons(score, unit, np.add).tolist() == [[3, 4, 3, 4]]
    assert of_persons(score, unit, np.maximum).tolist() == [[2, 5, 2, 5]]


def test_an_ensemble_has_fishers_weights_of_the_other_trainings():
    scores, member = study(4, 80, kinds=3)
    evidence = Evidence.leave_one_out(scores, member).normal
    found = ensemble_weights(evidence)
    for r in range(4):
        others = [q for q in range(4) if q != r]
        rows = np.concatenate([evidence.score[:, q].T for q in others])
        held = np.concatenate([member[q] for q in others])
        sides = [rows[held], rows[~held]]
        scatter = sum(((side - side.mean(0)).T @ (side - side.mean(0)) for side in sides), np.zeros((3, 3)))
        shift = (3 * (sides[0].mean(0) - sides[1].mean(0)) + 0.2) / 4
        expected = np.linalg.solve(scatter / len(rows) + 0.1 * np.eye(3), shift)
        np.testing.assert_allclose(found[r], expected)
    assert auc(ensemble(Evidence.leave_one_out(scores, member)), member) > max(auc(one, member) for one in scores)


def with_records(targets=1, records=4000, never=2000, seed=3, shift=1.2):
    """Scores [1,R,Q] whose center and spread are linear in a pixel, members `shift` SD higher; noise [R,Q] alone."""
    random = np.random.default_rng(seed)
    pixels = random.random((records, 3)).astype(np.float32) * np.array([2, 0.1, 0.1], np.float32)
    outside = np.arange(records) >= records - never
    member = (random.random((targets, records)) < 0.3) & ~outside
    noise = random.normal(size=(targets, records)) + shift * member
    score = 5 * pixels[:, 0] + (0.2 + pixels[:, 0]) * noise
    evidence = Evidence.among(np.zeros((targets, targets), dtype=bool), score, member)
    return replace(evidence, never_member=outside, records=pixels), noise


def quantiles(evidence, **settings):
    return DERIVED.choose({"name": "quantile_regression", **settings}).build()(evidence, 0.5)


@pytest.mark.long
def test_quantile_regression_ranks_as_if_center_and_spread_of_a_record_like_this_were_known():
    """AUC of the noise alone, Phi(1.2 / sqrt 2) = .802; over 6 x 2,000 judged records it deviates by .005."""
    evidence, noise = with_records(6)
    judged = ~evidence.never_member
    member = evidence.member[:, judged]
    found = auc(quantiles(evidence)[:, judged], member)
    assert found == pytest.approx(norm.cdf(1.2 / 2**0.5), abs=0.02)
    assert found == pytest.approx(auc(noise[:, judged], member), abs=0.01)
    assert auc(evidence.score[0][:, judged], member) < found - 0.1


def test_a_linear_quantile_is_scikit_learns_and_has_its_share_of_records_above_it():
    random = np.random.default_rng(4)
    features = random.normal(size=(400, 2))
    score = features @ [1.0, -2.0] + (1 + features[:, 0] ** 2) * random.normal(size=400)
    for level in (0.5, 0.9):
        found = linear_quantile(score, features, level)
        other = QuantileRegressor(quantile=level, alpha=0, solver="highs").fit(features, score)
        np.testing.assert_allclose(found, [other.intercept_, *other.coef_], atol=1e-6)
        assert (score < found[0] + features @ found[1:]).mean() == pytest.approx(level, abs=3 / 400)


def test_quantiles_take_no_coins_and_no_scores_of_judged_records_or_of_other_targets():
    evidence, _ = with_records(2, 600, 200)
    found = quantiles(evidence)
    np.testing.assert_array_equal(quantiles(replace(evidence, member=~evidence.member)), found)
    score = evidence.score.copy()
    score[:, 0, 1:400] += 9
    score[:, 1] *= -2
    np.testing.assert_allclose(quantiles(replace(evidence, score=score))[0, 0], found[0, 0])


def test_quantiles_take_ten_never_members_beyond_them_and_for_each_coefficient():
    evidence, _ = with_records(1, 600, 99)
    with pytest.raises(ValueError, match="takes 100 records that are never members, got 99"):
        quantiles(evidence)
    assert np.isfinite(quantiles(evidence, alpha=0.2)).all()
    with pytest.raises(ValueError, match="takes 110 records"):
        quantiles(evidence, alpha=0.2, components=10)
    with pytest.raises(ValueError, match="got 0"):
        quantiles(replace(evidence, never_member=None))


# Who learns from whom


@pytest.mark.parametrize("replicates", range(1, 13))
def test_of_two_replicates_never_both_learn_from_each_other_and_further_ones_change_nothing(replicates):
    uses = one_way(replicates)
    assert not (uses & uses.T).any() and (uses | uses.T)[~np.eye(replicates, dtype=bool)].all()
    if replicates >= 3:
        assert uses.any(1).all()
        np.testing.assert_array_equal(one_way(replicates + 1)[:replicates, :replicates], uses)
        assert not one_way(replicates + 1)[:replicates, replicates].any()


@pytest.mark.long
@pytest.mark.parametrize(("design", "share"), [((100, 0.5), 0.8), ((440, 70 / 440), 0.8), ((100, 0.5), 0.0)])
def test_intervals_of_an_ensemble_cover_one_half_where_nothing_leaks(design, share):
    """400 studies of 5 replicates: 95 % deviates by 1.1 %, so 91.5 % is three away; all others cover 82 to 86 %."""
    random, kinds, inside = np.random.default_rng(7), 3, 0
    for _ in range(400):
        parts = [Population(share).draw(random, 1, 5, *design) for _ in range(kinds)]
        member = parts[0][1][0]
        uses = DERIVED.find("ensemble").uses(5)
        found = ensemble(Evidence.among(uses, np.stack([part[0][0] for part in parts]), member))
        low, high = mean_auc(aucs(found, member)).interval()
        inside += low <= 0.5 <= high
    assert 0.915 <= inside / 400 <= 0.985


def test_an_ensemble_of_one_way_finds_nearly_what_one_of_all_others_does_where_it_leaks():
    """One attack leaks, the other has the same difficulty, and so is subtracted; means of 40 studies."""
    random, found = np.random.default_rng(8), []
    for _ in range(40):
        member = Population().coins(random, 1, 5, 140, 0.5)
        own = random.normal(size=(5, 140)) * 0.2**0.5
        difficulty = random.normal(size=140) * 0.8**0.5
        first = difficulty + own + 0.25 * member[0]
        second = difficulty + random.normal(size=(5, 140)) * 0.2**0.5
        pair = np.stack([first, second])
        both = [ensemble(Evidence.among(uses(5), pair, member[0])) for uses in (one_way, all_others)]
        found.append([auc(one, member[0]) for one in (*both, first)])
    one, every, base = np.mean(found, 0)
    assert one > base + 0.03 and every - 0.02 < one < every + 0.005


# Known answers


@pytest.mark.parametrize(("shadows", "rho"), [(1, 0.6), (4, 0.8), (16, 0.8)])
def test_calibration_gains_what_its_formula_says(shadows, rho):
    """AUC = Phi(delta / sqrt(2 sd_e^2 (1 + 1/k))) with k OUT shadows; 40 targets of 400 records: margin 4 SE."""
    random = np.random.default_rng(shadows)
    delta, targets, records = 0.5, 40, 400
    difficulty = random.normal(size=(targets, 1, records)) * rho**0.5
    noise = random.normal(size=(targets, 1 + shadows, records)) * (1 - rho) ** 0.5
    member = random.random((targets, records)) < 0.5
    scores = difficulty + noise
    scores[:, 0] += delta * member
    out = np.zeros((shadows, records), dtype=bool)
    found = [
        auc(calibrated(Evidence.shadows(score[:1], score[1:], out))[0], held)
        for score, held in zip(scores, member, strict=True)
    ]
    expected = norm.cdf(delta / (2 * (1 - rho) * (1 + 1 / shadows)) ** 0.5)
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / targets**0.5)


def test_lira_with_many_shadows_reaches_the_best_that_known_parameters_allow():
    """With equal gains no test beats the ratio of the two known densities, AUC Phi(delta / sqrt(2 sd_e^2))."""
    random = np.random.default_rng(0)
    rho, delta = 0.8, 0.5
    scores, member = Population(rho, shift=delta).draw(random, 1, 84, 400, 0.5)
    found = lira(Evidence.shadows(scores[0, :20], scores[0, 20:], member[0, 20:]))
    assert auc(found, member[0, :20]) == pytest.approx(norm.cdf(delta / (2 * (1 - rho)) ** 0.5), abs=0.012)


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("probability", [0.5, 70 / 440])
def test_derived_scores_find_more_where_records_differ_in_difficulty(name, probability):
    random, gains = np.random.default_rng(4), []
    for _ in range(8):
        scores, member = Population(0.8, shift=0.5).draw(random, 1, 5, 300, probability)
        gains.append(auc(derive(SINGLE[name], scores, member[0]), member[0]) - auc(scores[0], member[0]))
    assert np.mean(gains) > 0.03


def test_lira_takes_members_to_score_higher_whatever_a_few_coins_say():
    """Where members score lower in all replicates it is wrong in all, and does not turn around to be right in all."""
    random = np.random.default_rng(5)
    for form in (lira, lira_offline):
        scores, member = Population(0.5, shift=-0.5).draw(random, 1, 5, 300, 0.5)
        assert auc(derive(form, scores, member[0]), member[0]) < 0.45


# A target's own coins never enter


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("form", ["leave_one_out", "forward"])
def test_a_replicates_own_coins_change_nothing_of_its_scores(name, form):
    scores, member = study(kinds=3 if name == "ensemble" else 1)
    found = EVERY[name](getattr(Evidence, form)(scores, member))
    for r in range(len(member)):
        other = member.copy()
        other[r] = ~member[r]
        again = EVERY[name](getattr(Evidence, form)(scores, other))
        np.testing.assert_array_equal(again[r], found[r])
        unchanged = slice(0, r + 1) if form == "forward" else slice(r, r + 1)
        np.testing.assert_array_equal(again[unchanged], found[unchanged])
        assert not np.array_equal(again, found) or (form == "forward" and r == len(member) - 1)


def test_the_first_replicate_has_no_reference_forward_and_keeps_its_order():
    scores, member = study()
    for of in SINGLE.values():
        found = of(Evidence.forward(scores, member))
        np.testing.assert_array_equal(rankdata(found[0]), rankdata(scores[0, 0]))


@pytest.mark.parametrize("name", EVERY)
def test_alternative_coins_are_computed_together_as_one_by_one(name):
    scores, member = study(kinds=2 if name == "ensemble" else 1)
    coins = np.stack([member, np.roll(member, 1, 0), np.roll(member, 2, 1)])
    together = EVERY[name](Evidence.leave_one_out(scores, coins))
    for one, found in zip(coins, together, strict=True):
        np.testing.assert_allclose(found, EVERY[name](Evidence.leave_one_out(scores, one)), atol=1e-10)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    ("population", "design"),
    [
        (Population(0.8), (140, 0.5)),
        (Population(0.8), (440, 70 / 440)),
        (Population(0.5, per_person=4, within=1.0), (160, 0.5)),
    ],
    ids=["fair", "rare", "duplicates"],
)
def test_targets_that_leak_nothing_are_at_one_half(name, population, design):
    """100 studies of 5 replicates; the margin is 4 standard errors of their mean."""
    random, kinds = np.random.default_rng(6), 2 if name == "ensemble" else 1
    found = []
    for _ in range(100):
        parts = [population.draw(random, 1, 5, *design) for _ in range(kinds)]
        member = parts[0][1][0]
        scores = np.stack([part[0][0] for part in parts])
        found.append(auc(derive(EVERY[name], scores, member, kinds), member))
    assert np.mean(found) == pytest.approx(0.5, abs=4 * np.std(found) / 10)


# Edges


@pytest.mark.parametrize("name", DERIVED.names())
def test_every_derived_attack_gives_finite_scores_of_constant_ones_and_of_one_sided_records(name):
    settings = {"alpha": 0.4, "components": 1} if name == "quantile_regression" else {}
    attack = DERIVED.choose({"name": name, **settings}).build()
    unit = np.arange(60) // 2
    about = {"never_member": np.arange(60) >= 35, "records": np.random.default_rng(9).random((60, 4))}
    for scores in (np.zeros((1, 3, 60)), study(3)[0]):
        for member in (study(3)[1], np.arange(60)[None] % np.array([[2], [2], [2]]) == 0):
            for evidence in (Evidence.leave_one_out, Evidence.forward):
                found = attack(replace(evidence(scores, member, unit), **about), 0.5)
                assert found.shape == (3, 60) and np.isfinite(found).all()


def test_evidence_of_other_shapes_is_refused():
    scores, member = study()
    with pytest.raises(ValueError, match="derived attacks"):
        Evidence.leave_one_out(scores[0], member[:, 1:])
    with pytest.raises(ValueError, match="takes one attack"):
        calibrated(Evidence.leave_one_out(study(kinds=2)[0], member))
    with pytest.raises(ValueError, match=r"60 queries, and \[59\] are described"):
        replace(Evidence.leave_one_out(scores, member), never_member=np.zeros(59, dtype=bool))
