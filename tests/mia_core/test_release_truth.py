"""Samplers whose leakage is known: under our attacks, what is given of them has the AUC of a formula or a simulation.

The simulation is plain NumPy, with records, samples and distances of its own.
"""

import numpy as np
import pytest
import torch
from scipy.stats import norm, rankdata

from mia_core.attacks import ATTACKS, Knowledge
from mia_core.data.images import ImageSettings
from mia_core.data.pool import to_float
from mia_core.releases import RELEASES, Form
from mia_core.streams import Streams

SIZE, MEMBERS, OTHERS, SAMPLES = 8, 80, 80, 120
RUNS = 12


def records(random, count):
    return random.integers(0, 256, (count, 1, SIZE, SIZE), dtype=np.uint8)


def replayed(random, members, p):
    samples = records(random, SAMPLES)
    hit = random.random(SAMPLES) < p
    samples[hit] = members[random.integers(0, len(members), hit.sum())]
    return samples


def noisy(random, members, strength):
    chosen = members[random.integers(0, len(members), SAMPLES)].astype(float)
    return (chosen + strength * random.normal(size=chosen.shape)).round().clip(0, 255).astype(np.uint8)


def cropped(random, members, border):
    """A member's inside, and something else around it."""
    samples, inside = records(random, SAMPLES), slice(border, SIZE - border)
    samples[..., inside, inside] = members[random.integers(0, len(members), SAMPLES)][..., inside, inside]
    return samples


def plain_auc(member_scores, other_scores):
    ranks = rankdata(np.concatenate([member_scores, other_scores]))[: len(member_scores)]
    count = len(member_scores)
    return (ranks.sum() - count * (count + 1) / 2) / (count * len(other_scores))


def plain_nearest(samples, queries):
    x, y = (images.reshape(len(images), -1).astype(float) for images in (queries, samples))
    return -((x[:, None] - y[None]) ** 2).sum(2).min(1)


def simulated(sampler, strength, runs=60):
    """Mean AUC and its standard error."""
    aucs = []
    for seed in range(runs):
        random = np.random.default_rng([1, seed])
        members, others = records(random, MEMBERS), records(random, OTHERS)
        samples = sampler(random, members, strength)
        aucs.append(plain_auc(plain_nearest(samples, members), plain_nearest(samples, others)))
    return np.mean(aucs), np.std(aucs, ddof=1) / runs**0.5


def attacked(tmp_path, sampler, strength, attack):
    """The same by a release of these samples and one of our attacks."""
    form, aucs = Form(ImageSettings(size=SIZE, channels=1)), []
    for seed in range(RUNS):
        random = np.random.default_rng([2, seed])
        members, others = records(random, MEMBERS), records(random, OTHERS)
        np.save(tmp_path / "samples.npy", sampler(random, members, strength))
        release = RELEASES.choose({"name": "samples", "root": str(tmp_path / "samples.npy")}).build(form)
        queries = to_float(torch.from_numpy(np.concatenate([members, others])))
        choice = ATTACKS.choose({"name": attack, "generated": release.count}).build()
        scores = choice(release.model(), queries, Knowledge(), Streams(seed)).scores.values[-1].numpy()
        aucs.append(plain_auc(scores[:MEMBERS], scores[MEMBERS:]))
    return np.mean(aucs), np.std(aucs, ddof=1) / RUNS**0.5


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5])
def test_a_release_that_replays_members_with_probability_p_has_the_auc_of_the_formula(tmp_path, p):
    auc, error = attacked(tmp_path, replayed, p, "euclidean")
    assert abs(auc - (0.5 + 0.5 * (1 - (1 - p / MEMBERS) ** SAMPLES))) < 2 * error


@pytest.mark.parametrize(("sampler", "strength"), [(noisy, 40.0), (noisy, 120.0), (cropped, 1), (cropped, 2)])
def test_a_release_that_changes_members_has_the_auc_of_a_simulation(tmp_path, sampler, strength):
    auc, error = attacked(tmp_path, sampler, strength, "euclidean")
    truth, of_truth = simulated(sampler, strength)
    assert truth > 0.55
    assert abs(auc - truth) < 2 * (error**2 + of_truth**2) ** 0.5


def test_samples_around_a_fitted_mean_have_the_auc_of_the_closed_form(tmp_path):
    """Records N(0, I_d), samples N(mean of n members, I_d): the AUC of <x, mean of N samples> (SCIENCE.md, section 2).

    Through a release: 8 bits, of which one gray level is 0.03 standard deviations.
    """
    n, count, scale = 40, 400, 31.875
    form = Form(ImageSettings(size=SIZE, channels=1))
    truth = norm.cdf((SIZE * SIZE / (2 * n)) ** 0.5 / (1 + n / count) ** 0.5)
    aucs = []
    for seed in range(20):
        random = np.random.default_rng([3, seed])
        members, others = random.normal(size=(2, n, SIZE * SIZE))
        drawn = members.mean(0) + random.normal(size=(count, SIZE * SIZE))
        pixels = (127.5 + scale * drawn).round().clip(0, 255).astype(np.uint8).reshape(count, 1, SIZE, SIZE)
        np.save(tmp_path / "samples.npy", pixels)
        release = RELEASES.choose({"name": "samples", "root": str(tmp_path / "samples.npy")}).build(form)
        mean = release.model().samples(count).mean(0).numpy().ravel() * 127.5 / scale
        aucs.append(plain_auc(members @ mean, others @ mean))
    assert abs(np.mean(aucs) - truth) < 2 * np.std(aucs, ddof=1) / len(aucs) ** 0.5
