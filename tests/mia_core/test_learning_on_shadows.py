"""What is chosen or fitted on shadows: by their labels alone, and by no number of the target's."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mia_core.derived import DERIVED, Evidence
from mia_core.derived.best_on_shadows import auc_on_shadows
from mia_core.derived.shadow_classifier import classified
from mia_core.metrics.influence import aucs

NAMES = ("best_on_shadows", "shadow_classifier")


def drawn(shifts, seed=0, targets=3, shadows=4, records=200):
    """Scores [K,R,Q] of targets and [K,S,Q] of shadows whose members are `shifts` [K] higher, and both's members."""
    random = np.random.default_rng(seed)
    member = random.random((targets + shadows, records)) < 0.5
    shift = np.array(shifts)[:, None, None]
    score = random.normal(size=(len(shifts), targets + shadows, records)) + shift * member
    return score[:, :targets], score[:, targets:], member[:targets], member[targets:]


def attacked(name, score, reference, member):
    return DERIVED.choose(name).build()(Evidence.shadows(score, reference, member), 0.5)


def auc(scores, member):
    return float(aucs(scores, member).auc.mean())


def test_the_attack_with_the_largest_mean_auc_under_shadows_is_taken():
    score, reference, _, held = drawn((0.2, 1.0, 0.5))
    each = np.array([[auc(reference[k, s][None], held[s][None]) for s in range(4)] for k in range(3)])
    found = auc_on_shadows(Evidence.shadows(score, reference, held))
    np.testing.assert_allclose(found, np.broadcast_to(each.mean(1), (3, 3)))
    np.testing.assert_array_equal(attacked("best_on_shadows", score, reference, held), score[1])


def test_equal_scores_count_half_and_of_equal_attacks_the_first_is_taken():
    score, reference, _, held = drawn((1.0, 1.0))
    reference = np.stack([reference[0], reference[0]])
    np.testing.assert_array_equal(attacked("best_on_shadows", score, reference, held), score[0])
    assert (auc_on_shadows(Evidence.shadows(score, np.zeros_like(reference), held)) == 0.5).all()


def test_a_classifier_is_scikit_learns_logistic_regression_on_all_shadows_scores():
    score, reference, _, held = drawn((0.2, 1.0, 0.5))
    plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    plain.fit(reference.reshape(3, -1).T, held.ravel())
    expected = plain.decision_function(score.reshape(3, -1).T).reshape(3, -1)
    np.testing.assert_allclose(attacked("shadow_classifier", score, reference, held), expected, atol=1e-6)


def test_a_classifier_of_two_independent_scores_finds_as_much_as_their_normal_laws_allow():
    # The best combination of shifts a and b has AUC Phi(sqrt(a^2 + b^2) / sqrt 2); one AUC of 400 records deviates by
    # .024, the mean of twenty by .0055; the margin is four of those, and what a fit on 1,600 rows loses.
    found = []
    for seed in range(5):
        score, reference, member, held = drawn((0.8, 0.6), seed, targets=4, shadows=4, records=400)
        found.append(auc(attacked("shadow_classifier", score, reference, held), member))
    assert np.mean(found) == pytest.approx(norm.cdf(1 / 2**0.5), abs=0.025)


@pytest.mark.parametrize("name", NAMES)
def test_a_score_depends_on_no_other_query_and_on_no_other_target(name):
    # Mistake 8 of published code: features scaled by the target's own statistics.
    score, reference, _, held = drawn((0.2, 1.0))
    found = attacked(name, score, reference, held)
    changed = score.copy()
    changed[:, 0, 10:] = 7.0
    changed[:, 1] = -5.0
    again = attacked(name, changed, reference, held)
    np.testing.assert_allclose(again[0, :10], found[0, :10])
    np.testing.assert_allclose(again[2], found[2])


@pytest.mark.parametrize("name", NAMES)
def test_targets_that_leak_nothing_are_at_one_half_though_the_best_of_many_is_taken(name):
    found = []
    for seed in range(60):
        score, reference, member, held = drawn((0.0,) * 8, seed)
        found.append(auc(attacked(name, score, reference, held), member))
    assert np.mean(found) == pytest.approx(0.5, abs=4 * np.std(found) / 60**0.5)


@pytest.mark.parametrize("name", NAMES)
def test_alternative_coins_of_shadows_are_computed_as_one_by_one(name):
    score, reference, _, held = drawn((0.3, 0.3))
    coins = np.stack([held, ~held, np.roll(held, 1, 1)])
    together = attacked(name, score, reference, coins)
    for one, found in zip(coins, together, strict=True):
        np.testing.assert_allclose(found, attacked(name, score, reference, one), atol=1e-10)


def test_targets_with_references_of_their_own_are_classified_by_those():
    score, _, member, _ = drawn((0.2, 1.0), targets=4)
    together = classified(Evidence.leave_one_out(score, member))
    for r in range(4):
        others = [q for q in range(4) if q != r]
        alone = classified(Evidence.shadows(score[:, r : r + 1], score[:, others], member[others]))
        np.testing.assert_allclose(together[r], alone[0], atol=1e-6)
