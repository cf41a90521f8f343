"""Extraction, authenticity, and training on samples: known answers, and slow computations of the same."""

import numpy as np
import pytest
import torch
from scipy.stats import binom
from sklearn.datasets import load_digits

from mia_core.metrics.authenticity import authenticity
from mia_core.metrics.extraction import extract, radius_of, repeated
from mia_core.metrics.synthetic_training import synthetic_accuracy
from mia_core.streams import Streams

DIMENSIONS = 40


def points(count, seed):
    return torch.randn(count, DIMENSIONS, generator=Streams(seed).torch("points"))


def replayed(members, count, p, seed, noise=0.0):
    """Each sample replays a member with probability p, with a little noise, and is else a fresh record."""
    random = Streams(seed).torch("replay")
    copied = torch.rand(count, generator=random) < p
    index = torch.randint(len(members), (count,), generator=random)
    near = members[index] + noise * torch.randn(count, DIMENSIONS, generator=random)
    return torch.where(copied[:, None], near, points(count, seed + 1000))


# Extraction


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_of_a_sampler_that_replays_as_many_members_are_extracted_as_recur_often_enough(noise):
    # The count of each of n members is binomial. Counts of members are negatively dependent, so that the number of
    # those with r has at most the deviation of independent ones; of eight draws' mean the margin is four.
    n, samples, p, repeats = 100, 300, 0.8, 3
    found = []
    for seed in range(8):
        members = points(n, seed)
        result = extract(
            replayed(members, samples, p, seed, noise), members, points(120, 500 + seed), np.arange(120), 0.01
        )
        assert result.extraction_precision == 1
        found.append(result.extracted_members)
    share = binom.sf(repeats - 1, samples, p / n)
    assert np.mean(found) == pytest.approx(n * share, abs=4 * (n * share * (1 - share) / 8) ** 0.5)


def test_what_recurs_and_is_no_member_lowers_the_precision():
    members, others = points(50, 1), points(50, 2)
    samples = torch.cat([members[:10].repeat(3, 1), others[:30].repeat(3, 1), points(60, 3)])
    found = extract(samples, members, points(120, 4), np.arange(120), 0.01)
    assert (found.extracted_members, found.extraction_precision) == (10, 0.25)


def test_a_model_of_fresh_records_repeats_hardly_anything_and_gives_no_member_away():
    samples, unseen = points(300, 1), points(120, 3)
    assert len(repeated(samples, radius_of(unseen, np.arange(120), 0.01), 3)) <= 3
    assert extract(samples, points(100, 2), unseen, np.arange(120), 0.01).extracted_members == 0


def test_a_collapsed_model_is_one_group_that_is_right_only_if_it_is_a_member():
    members = points(100, 2)
    for image, answer in ((members[7], (1, 1.0)), (points(1, 9)[0], (0, 0.0))):
        found = extract(image.repeat(200, 1), members, points(120, 3), np.arange(120), 0.01)
        assert (found.extracted_members, found.extraction_precision) == answer


def test_the_radius_is_a_rank_of_distances_between_persons_and_too_few_give_none():
    x, person = points(240, 1), np.arange(240) // 2
    distance = torch.cdist(x.double(), x.double())
    distance[torch.from_numpy(person[:, None] == person)] = torch.inf
    smallest = distance.amin(1).reshape(-1, 2).amin(1).sort().values
    assert radius_of(x, person, 0.02) == pytest.approx(float(smallest[1]))  # floor(.02 * 121) = 2
    assert radius_of(x, person, 0.005) is None
    assert extract(x, x, x, person, 0.005) is None


def test_groups_are_taken_greedily_and_share_no_sample(monkeypatch):
    line = torch.tensor([0.0, 0.9, 1.8, 2.7, 10, 10, 10, 10, 10, 20, 20])[:, None]
    whole = repeated(line, 1.0, 3)
    assert whole.tolist() == [4, 1]  # five times 10; then .9 with both sides; 2.7 is left alone, and 20 is there twice
    monkeypatch.setattr("mia_core.metrics.extraction.BLOCK_ELEMENTS", 3)
    assert repeated(line, 1.0, 3).tolist() == whole.tolist()


# Authenticity


def test_authenticity_compares_with_the_nearest_members_own_neighbor():
    members, samples = points(60, 1), torch.cat([points(50, 2), points(60, 1)[:10] + 0.1])
    to_members = torch.cdist(samples.double(), members.double())
    among = torch.cdist(members.double(), members.double()).fill_diagonal_(torch.inf).amin(1)
    expected = [bool(row.min() > among[row.argmin()]) for row in to_members]
    assert authenticity(samples, members) == np.mean(expected) < 1


def test_a_sampler_that_replays_has_the_authenticity_of_what_it_does_not_replay():
    members = points(200, 1)
    assert authenticity(members[:50], members) == 0
    far = points(50, 2) + 100
    assert authenticity(torch.cat([members[:50], far]), members) == 0.5


# Training on samples


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return x[order] / 8 - 1, y[order]


def test_real_records_as_samples_teach_nearly_what_labelled_records_teach(digits):
    x, y = digits
    found = synthetic_accuracy(x[:300], y[:300], x[300:900], x[300:900], x[900:], y[900:])
    assert found > 0.85


def test_what_teaches_nothing_is_near_chance_and_a_single_label_is_no_number(digits):
    x, y = digits
    noise = np.random.default_rng(1).uniform(-1, 1, (600, 64))
    assert synthetic_accuracy(x[:300], y[:300], noise, noise, x[900:], y[900:]) < 0.6
    one = np.repeat(x[:1], 600, axis=0)
    assert synthetic_accuracy(x[:300], y[:300], one, one, x[900:], y[900:]) is None
