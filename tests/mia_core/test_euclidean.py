import math

import numpy as np
import pytest
import torch

from mia_core.attacks import ATTACKS, Knowledge
from mia_core.metrics import judge
from mia_core.models import Snapshot
from mia_core.streams import Streams
from tests.mia_core.replay import Replay, images_of_the_law


def scores_of(target, queries, generated):
    attack = ATTACKS.choose({"name": "euclidean", "generated": generated}).build()
    return attack(Snapshot(target, Streams(3)), queries, Knowledge(), Streams(4)).scores.values[0]


def test_scores_are_minus_the_distance_to_the_nearest_sample(make_dcgan):
    target = make_dcgan()
    queries = images_of_the_law(40, 0, size=8)
    samples = Snapshot(target, Streams(3)).samples(300)
    expected = -(queries.double()[:, None] - samples.double()[None]).flatten(2).norm(dim=2).min(dim=1).values
    scores = scores_of(target, queries, 300)
    torch.testing.assert_close(scores.double(), expected, rtol=1e-5, atol=1e-6)
    assert bool((scores_of(target, queries, 100) <= scores).all())


@pytest.mark.parametrize(("p", "times"), [(1.0, 1.0), (0.5, 1.0), (0.2, 2.5), (1.0, 3.0), (0.02, 1.0)])
def test_a_sampler_that_replays_members_has_the_auc_of_the_formula(p, times):
    # AUC = 1/2 + 1/2 (1 - exp(-pN/n)). At n = m = 1500 its deviation is at most .0105 (that of a rank statistic
    # without signal, sqrt(1/12 (1/n + 1/m))), so that .045 errs less than once in 50,000 seeds a case.
    n = 1500
    members, others = images_of_the_law(n, 1), images_of_the_law(n, 2)
    generated = int(times * n)
    scores = scores_of(Replay(members, p), torch.cat([members, others]), generated).numpy()
    auc = judge(scores, np.repeat([True, False], n)).auc
    assert auc == pytest.approx(0.5 + 0.5 * (1 - math.exp(-p * generated / n)), abs=0.045)
    copied = int((scores[:n] == 0).sum())
    assert copied == pytest.approx(n * (1 - math.exp(-p * generated / n)), abs=5 * math.sqrt(n / 4))
    assert (scores[n:] < 0).all()
