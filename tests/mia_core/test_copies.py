"""Copies: known answers, the plain loop, and a false-copy rate that holds."""

import numpy as np
import pytest
import torch

from mia_core.metrics.copies import fewest_unseen, find_copies, rank_of, ratios

D = 16


def records(seed, count, dimensions=D):
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed))


def persons(*parts):
    """Everybody has one record."""
    ends = np.cumsum([len(part) for part in parts])
    return [np.arange(end - len(part), end) for part, end in zip(parts, ends, strict=True)]


def plain_ratio(point, members, neighbors):
    distances = sorted(float((point.double() - member.double()).norm()) for member in members)
    return distances[0] / (sum(distances[1 : neighbors + 1]) / neighbors)


def test_ratios_are_those_of_the_plain_loop_whatever_the_blocks(monkeypatch):
    x, members = records(1, 30), records(2, 50)
    found, place = ratios(x, members, 5)
    np.testing.assert_allclose(found, [plain_ratio(point, members, 5) for point in x], rtol=1e-9)
    assert place.tolist() == [int((point - members).norm(dim=1).argmin()) for point in x]
    monkeypatch.setattr("mia_core.metrics.copies.BLOCK_ELEMENTS", 130)  # two rows at a time
    again, places = ratios(x, members, 5)
    np.testing.assert_array_equal(again, found)
    np.testing.assert_array_equal(places, place)


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_a_sampler_that_replays_members_with_probability_p_copies_that_share_and_so_many_members(p, noise):
    n, count, alpha = 100, 400, 0.02
    members, random = records(3, n), np.random.default_rng(4)
    replays = random.random(count) < p
    which = random.integers(n, size=count)
    samples = records(5, count)
    samples[replays] = members[which[replays]] + noise * records(6, count)[replays]
    unseen = records(7, 999)
    found = find_copies(samples, members, unseen, *persons(members, unseen), alpha)
    error = (alpha / count) ** 0.5 + (alpha / 999) ** 0.5
    assert replays.mean() <= found.copies <= replays.mean() + (1 - p) * (alpha + 4 * error)
    copied = len(set(which[replays].tolist()))
    assert copied <= n * found.members_copied <= copied + count * (1 - p) * (alpha + 4 * error)
    pairs = dict(found.pairs.tolist())
    assert all(pairs[sample] == which[sample] for sample in np.flatnonzero(replays).tolist())
    assert len(found.ratios) == len(found.pairs)


def test_members_copied_rise_as_the_number_of_replays_says():
    members, unseen, random = records(8, 80), records(10, 200), np.random.default_rng(9)
    found = find_copies(members[random.integers(80, size=120)], members, unseen, *persons(members, unseen))
    assert found.copies == 1
    assert found.members_copied == pytest.approx(1 - (1 - 1 / 80) ** 120, abs=4 * (0.25 / 80) ** 0.5)


@pytest.mark.long
@pytest.mark.parametrize("decimals", [None, 0])
def test_one_more_unseen_record_is_called_a_copy_with_probability_at_most_alpha(decimals):
    # Each run draws members, U calibration records and one more; rounded records have many equal ratios.
    unseen, alpha, runs = 39, 0.05, 1000
    called = 0
    generator = torch.Generator().manual_seed(11)
    for _ in range(runs):
        drawn = torch.randn(12 + unseen + 1, 2, generator=generator)
        drawn = drawn if decimals is None else drawn.round(decimals=decimals)
        members, others, fresh = drawn[:12], drawn[12:-1], drawn[-1:]
        called += find_copies(fresh, members, others, *persons(members, others), alpha, neighbors=3).copies
    error = (alpha * (1 - alpha) / runs) ** 0.5
    assert called / runs <= alpha + 3 * error
    if decimals is None:  # floor(alpha (U + 1)) / (U + 1) is alpha here, and it is reached
        assert called / runs >= alpha - 3 * error


def test_persons_are_counted_once_and_copies_of_one_members_are_of_one_person():
    members = records(12, 40)
    whose = np.repeat(np.arange(10), 4)
    samples = members[[0, 1, 2, 3, 4, 4, 4, 8]]
    unseen = records(13, 150)
    found = find_copies(samples, members, unseen, whose, 10 + np.arange(150))
    assert (found.copies, found.members_copied, found.persons_copied) == (1.0, 6 / 40, 3 / 10)


def test_a_member_that_is_there_more_than_k_times_is_copied_and_nothing_is_divided_by_zero():
    members = torch.cat([records(14, 30), records(15, 1).expand(8, -1)])
    found, _ = ratios(members[-1:], members, 5)
    assert found.tolist() == [0.0]


@pytest.mark.long
def test_one_more_unseen_person_is_called_copied_with_probability_at_most_alpha_however_many_records_each_has():
    # Each run draws members, and V + 1 persons of one to twelve records that resemble each other. The plain rank of
    # records, which takes each for a person of its own, calls more than twice as many persons copied.
    unseen, alpha, runs = 39, 0.05, 1000
    by_person = by_record = 0
    generator, random = torch.Generator().manual_seed(18), np.random.default_rng(19)
    for _ in range(runs):
        sizes = random.choice([1, 1, 2, 12], unseen + 1)
        centers = torch.randn(unseen + 1, 2, generator=generator)
        whose = np.repeat(np.arange(unseen + 1), sizes)
        drawn = centers[whose] + 0.2 * torch.randn(len(whose), 2, generator=generator)
        members = torch.randn(12, 2, generator=generator)
        fresh, others, persons_U = drawn[whose == unseen], drawn[whose < unseen], whose[whose < unseen]
        persons_N = unseen + 1 + np.arange(12)
        by_person += find_copies(fresh, members, others, persons_N, persons_U, alpha, 3).copies > 0
        singles = unseen + 13 + np.arange(len(others))
        by_record += find_copies(fresh, members, others, persons_N, singles, alpha, 3).copies > 0
    error = (alpha * (1 - alpha) / runs) ** 0.5
    assert alpha - 3 * error <= by_person / runs <= alpha + 3 * error
    assert by_record / runs > 2 * alpha


def test_a_persons_ratio_is_the_smallest_of_the_persons_records():
    members, unseen, samples = records(20, 40), records(21, 300), records(22, 500)
    whose = np.random.default_rng(23).integers(100, size=300)
    found = find_copies(samples, members, unseen, *persons(members), 1000 + whose, 0.05, 5)
    smallest = sorted(
        min(plain_ratio(unseen[at], members, 5) for at in np.flatnonzero(whose == one)) for one in set(whose.tolist())
    )
    threshold = smallest[rank_of(0.05, len(smallest)) - 1]
    ratios_of_samples = [plain_ratio(sample, members, 5) for sample in samples]
    assert found.pairs[:, 0].tolist() == [at for at, ratio in enumerate(ratios_of_samples) if ratio < threshold]
    assert len(found.pairs) > 0


def test_there_is_no_threshold_where_too_few_records_are_unseen():
    members, unseen = records(16, 40), records(17, 99)
    whose = persons(members, unseen)
    assert find_copies(members, members, unseen[:98], whose[0], whose[1][:98], 0.01) is None
    assert find_copies(members, members, unseen, *whose, 0.01).copies == 1
    assert find_copies(members, members, unseen, whose[0], np.minimum(whose[1], 137), 0.01) is None
    assert [rank_of(0.01, count) for count in (98, 99, 299)] == [0, 1, 3]
    assert [fewest_unseen(alpha) for alpha in (0.01, 0.05, 0.3)] == [99, 19, 3]
    assert all(rank_of(alpha, fewest_unseen(alpha)) == 1 for alpha in (0.01, 0.05, 0.07, 0.29, 0.3))
    with pytest.raises(ValueError, match="11 neighbors asked of 10 points"):
        find_copies(members, members[:10], unseen, *persons(members[:10], unseen))
