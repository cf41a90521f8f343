"""Attacks on gradients, of a model whose gradients have made norms."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from mia_core.attacks import ATTACKS, Knowledge
from mia_core.errors import Refused
from mia_core.metrics.blind import aucs
from mia_core.models import Model
from mia_core.streams import Streams

SHIFTS = (0.8, 0.0, 0.6, 0.0)


class Norms(Model):
    """A model of four parameters: the log norms of a record are its pixels."""

    name = "made norms"
    offers = frozenset({"gradients"})
    record_shape, device = (1, 2, 2), torch.device("cpu")
    gradient_names = ("a", "b", "c", "d")

    def samples(self, count):
        raise AssertionError("is not sampled")

    def gradients(self, x_BCHW, rng):
        return (20 * x_BCHW.flatten(1)).exp()


def records(count, seed, member):
    """Log norms N(0, 1), those of members lower by SHIFTS; as pixels."""
    drawn = torch.randn(count, 4, generator=Streams(seed).torch("x"))
    return ((drawn - torch.tensor(SHIFTS) * member) / 20).reshape(-1, 1, 2, 2)


def scores_of(spec, x, **known):
    return ATTACKS.choose(spec).build()(Norms(), x, Knowledge(**known), Streams(0)).scores.values.double().numpy()


def test_a_group_has_the_joint_norm_of_its_tensors_and_group_0_that_of_all():
    x = records(5, 1, False)
    found = scores_of({"name": "gradient_norms", "group": [0, 1, 2, 3], "groups": 3}, x)
    norms = (20 * x.double().flatten(1)).exp().numpy()
    parts = [norms, norms[:, :2], norms[:, 2:3], norms[:, 3:]]  # four tensors in three groups: the first has two
    np.testing.assert_allclose(found, [-np.log(np.linalg.norm(part, axis=1)) for part in parts], rtol=1e-4, atol=1e-5)


def test_a_gradient_of_zero_is_a_finite_score():
    class Zero(Norms):
        def gradients(self, x_BCHW, rng):
            return torch.zeros(len(x_BCHW), 4)

    attack = ATTACKS.choose({"name": "gradient_norms", "group": 1}).build()
    with pytest.raises(
        Refused, match="made norms has 4 parameter tensors, and 8 groups are too many; set `groups` lower"
    ):
        attack(Zero(), records(3, 1, False), Knowledge(), Streams(0))
    of_all = ATTACKS.choose({"name": "gradient_norms"}).build()  # no group is asked for
    assert torch.isfinite(of_all(Zero(), records(3, 1, False), Knowledge(), Streams(0)).scores.values).all()
    found = ATTACKS.choose({"name": "gradient_norms", "groups": 2}).build()
    assert found(Zero(), records(3, 1, False), Knowledge(), Streams(0)).scores.values.isfinite().all()


@pytest.mark.parametrize("group", [9, [0, 9]])
def test_a_group_that_is_not_there_is_refused_as_a_setting(group):
    with pytest.raises(Refused, match="group 9 is beyond the 8 groups"):
        ATTACKS.choose({"name": "gradient_norms", "group": group})


def test_a_classifier_on_known_records_finds_as_much_as_the_norms_laws_allow():
    # The best combination has AUC Phi(sqrt(.8^2 + .6^2) / sqrt 2) = .760; one AUC of 2,000 records deviates by .011,
    # the mean of five by .005; the margin is four of those. The norm of all four tensors tells less.
    found, whole = [], []
    for seed in range(5):
        queries = torch.cat([records(1000, 10 + seed, True), records(1000, 20 + seed, False)])
        known = {
            "known_members": records(400, 30 + seed, True), "known_non_members": records(400, 40 + seed, False),
        }  # fmt: skip
        member = (np.arange(2000) < 1000)[:, None]
        found.append(aucs(scores_of({"name": "known_gradients"}, queries, **known).T, member))
        whole.append(aucs(scores_of({"name": "gradient_norms", "groups": 2}, queries).T, member))
    assert np.mean(found) == pytest.approx(norm.cdf(1 / 2**0.5), abs=0.02)
    assert 0.5 < np.mean(whole) < np.mean(found) - 0.02
