import numpy as np
import torch
from scipy.stats import binom, kstest

from mia_core.attacks import ATTACKS, Knowledge
from mia_core.metrics import judge
from mia_core.models import Snapshot
from mia_core.streams import Streams
from tests.mia_core.steps import floats


def scores(make_dcgan, queries, rng=1):
    attack = ATTACKS.choose("random").build()
    return attack(Snapshot(make_dcgan(), Streams(0)), queries, Knowledge(), Streams(rng)).scores.values[0]


def test_scores_are_uniform_in_0_to_1(make_dcgan, make_images):
    # Errs once in 1e6 seeds.
    found = scores(make_dcgan, floats(make_images(20_000)))
    assert 0 <= float(found.min()) < float(found.max()) < 1
    assert kstest(found.double().numpy(), "uniform").pvalue > 1e-6


def test_scores_of_records_that_are_almost_alike_are_uniform_too(make_dcgan):
    # A pixel's last bit is enough. Errs once in 1e6 seeds.
    queries = torch.zeros(2000, 1, 8, 8)
    queries[:, 0, 0, 0] = torch.arange(2000) / 2000
    assert kstest(scores(make_dcgan, queries).double().numpy(), "uniform").pvalue > 1e-6


def test_a_score_is_that_of_the_record_and_the_stream_alone(make_dcgan, make_images):
    queries = floats(make_images(50))
    found = scores(make_dcgan, queries)
    order = torch.from_numpy(np.random.default_rng(0).permutation(50))
    assert torch.equal(scores(make_dcgan, queries[order]), found[order])
    assert torch.equal(scores(make_dcgan, queries[7:8]), found[7:8])
    shared = float(np.corrcoef(found, scores(make_dcgan, queries, rng=2))[0, 1])
    assert abs(shared) < 5 / 50**0.5  # five standard errors of no correlation
    assert not torch.equal(scores(make_dcgan, queries, rng=2), found)


def test_it_tells_members_from_others_at_chance_and_its_interval_knows(make_dcgan, make_images):
    # 100 streams; intervals of 95 % cover 0.5 in 100 binomial(.95) cases: fewer than 84 has a probability of 3e-5.
    queries = floats(make_images(200))
    member = np.repeat([True, False], 100)
    found = [judge(scores(make_dcgan, queries, rng).numpy(), member) for rng in range(100)]
    covered = sum(result.auc_low <= 0.5 <= result.auc_high for result in found)
    assert binom(100, 0.95).cdf(covered) > 1e-5
    # One AUC deviates by sqrt(201 / (12 * 100 * 100)) = .041, the mean of 100 by .0041; the margin is five of them.
    assert abs(np.mean([result.auc for result in found]) - 0.5) < 0.021
