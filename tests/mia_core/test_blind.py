import numpy as np
import pytest
from scipy.stats import kstest

from mia_core.metrics import blind as module
from mia_core.metrics import judge
from mia_core.metrics.blind import FOLDS, RIDGE, aucs, blind_to, permuted, predictor, smallest_found
from mia_core.metrics.blind import blind as classify
from mia_core.streams import Streams


def coins(count, seed, share=0.5):
    return np.random.default_rng(seed).random(count) < share


def smooth(count, seed=0):
    """Records that look alike, uint8 [count,1,8,8]: four patterns in varying strength, and a little noise."""
    random = np.random.default_rng(seed)
    patterns = np.random.default_rng(7).normal(size=(4, 64))
    pixels = 128 + 20 * random.normal(size=(count, 4)) @ patterns / 2 + 3 * random.normal(size=(count, 64))
    return pixels.clip(0, 255).astype(np.uint8).reshape(count, 1, 8, 8)


def points(images):
    """Pixels as the classifier sees them, float64 [N,D]."""
    return images.reshape(len(images), -1) / 255


@pytest.mark.long
def test_p_is_uniform_under_fair_coins():
    # 300 draws; a test that errs once in 1000 seeds, and the stated 5 % within four standard errors.
    p = np.array([classify(smooth(60, s), coins(60, s), np.arange(60), Streams(s), 99).p_value for s in range(300)])
    assert kstest(p, "uniform").pvalue > 1e-3
    assert abs((p <= 0.05).mean() - 0.05) < 4 * (0.05 * 0.95 / 300) ** 0.5


@pytest.mark.long
def test_p_is_uniform_for_whole_groups_too_though_their_records_are_alike():
    def one(seed):
        units = np.repeat(np.arange(30), 3)
        images = np.repeat(smooth(30, seed), 3, axis=0) + np.random.default_rng(seed).integers(0, 2, (90, 1, 8, 8))
        return classify(images.astype(np.uint8), coins(30, seed)[units], units, Streams(seed), 99).p_value

    p = np.array([one(seed) for seed in range(300)])
    assert kstest(p, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("shift", [3, 6])
def test_members_that_are_a_little_brighter_are_found(shift):
    found = []
    for seed in range(10):
        member = coins(150, seed)
        images = smooth(150, seed) + (shift * member[:, None, None, None]).astype(np.uint8)
        result = classify(images, member, np.arange(150), Streams(seed), 99)
        found.append(result.p_value)
        assert judge(result.score, member).auc > 0.6
    assert max(found) <= 0.05


def slow_predictions(images, labels, unit, streams):
    """Kernel ridge regression with an intercept, solved anew in each fold for one labelling."""
    pixels = images.reshape(len(images), -1) / 255
    squared = ((pixels[:, None] - pixels[None]) ** 2).sum(2)
    kernel = np.exp(-squared / (2 * np.median(squared)))
    fold = streams.numpy("folds").permutation(unit.max() + 1)[unit] % FOLDS
    result = np.zeros(len(images))
    for number in range(FOLDS):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        # minimize |y - K a - b|^2 + ridge a'Ka: (K + ridge) a + b = y, sum a = 0
        system = np.block([[kernel[np.ix_(train, train)] + RIDGE * np.eye(len(train)), np.ones((len(train), 1))],
                           [np.ones((1, len(train))), np.zeros((1, 1))]])  # fmt: skip
        weights = np.linalg.solve(system, np.append(labels[train], 0.0))[:-1]
        towards = kernel[np.ix_(test, train)] - kernel[np.ix_(train, train)].mean(0)
        result[test] = towards @ weights
    return result


def test_permuting_is_refitting():
    unit = np.repeat(np.arange(20), 2)
    images, labels = smooth(40), coins(20, 1)
    hat = predictor(points(images), unit, Streams(3))
    draws = permuted(labels, unit, np.random.default_rng(0), 8)
    assert draws.shape == (40, 9)
    for column in range(9):
        slow = slow_predictions(images, draws[:, column].astype(float), unit, Streams(3))
        assert hat @ draws[:, column] == pytest.approx(slow, abs=1e-8)


def test_permutations_keep_units_whole_and_their_number_of_members():
    unit = np.random.default_rng(0).integers(0, 12, 40)
    _, unit = np.unique(unit, return_inverse=True)
    labels = coins(unit.max() + 1, 2)
    draws = permuted(labels, unit, np.random.default_rng(0), 50)
    assert np.array_equal(draws[:, 0], labels[unit])
    for column in draws.T:
        assert all(len(set(column[unit == one])) == 1 for one in range(unit.max() + 1))
        assert sum(column[unit == one][0] for one in range(unit.max() + 1)) == labels.sum()
    assert len({column.tobytes() for column in draws.T}) > 40


def test_no_record_is_predicted_from_its_own_unit():
    unit = np.repeat(np.arange(15), 3)
    hat = predictor(points(smooth(45)), unit, Streams(0))
    assert not hat[unit[:, None] == unit[None]].any()
    assert hat.any(1).all()


def test_aucs_of_many_labellings_are_those_of_one_by_one():
    random = np.random.default_rng(0)
    labels = random.random((50, 6)) < 0.4
    scores = random.integers(0, 9, (50, 6)).astype(np.float32)
    assert aucs(scores, labels) == pytest.approx([judge(s, m).auc for s, m in zip(scores.T, labels.T, strict=True)])


def test_large_splits_are_looked_at_in_part_with_the_members_first(monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 40)
    member = coins(600, 0, share=0.1)
    result = classify(smooth(600), member, np.arange(600), Streams(0), 99)
    assert member[result.queries].sum() == min(40, member.sum())
    assert len(result.queries) == len(result.score) == 40 + min(40, member.sum())
    assert (np.diff(result.queries) > 0).all()


def test_one_sided_labels_are_refused():
    with pytest.raises(ValueError, match="members and non-members, got 0 members of 8"):
        classify(smooth(8), np.zeros(8, bool), np.arange(8), Streams(0), 99)


def test_the_smallest_auc_is_found_with_the_stated_probability():
    # AUCs that vary as they do under permutation, about the value that is said to be found: 80 % exceed the threshold.
    null = np.random.default_rng(0).normal(0.5, 0.03, 20_000)
    smallest = smallest_found(null)
    assert smallest == pytest.approx(0.5 + 0.03 * (1.645 + 0.842), abs=2e-3)
    found = np.random.default_rng(1).normal(smallest, 0.03, 20_000) > np.quantile(null, 0.95)
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_shifts_that_are_well_above_the_smallest_auc_are_found_and_more_records_find_less():
    def one(count, seed):
        member = np.arange(count) % 2 == 0
        facts = np.random.default_rng(seed).normal(size=(count, 3)) + 2.5 * member[:, None]
        return blind_to(lambda chosen: facts[chosen], member, np.arange(count), Streams(seed), 199)

    few, many = one(60, 0), one(240, 0)
    assert few.p_value <= 0.05 and judge(few.score, np.arange(60) % 2 == 0).auc > few.smallest_auc
    assert 0.5 < many.smallest_auc < few.smallest_auc


def test_facts_that_are_all_equal_find_nothing():
    facts, member = np.zeros((40, 1)), np.arange(40) % 2 == 0
    assert blind_to(lambda chosen: facts[chosen], member, np.arange(40), Streams(0), 99).p_value == 1
