"""Kernel densities: the numbers of scipy where it has numbers, and an order where it has none."""

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde

from mia_core.densities import Kde
from mia_core.streams import Streams


def points(count, dimension, seed):
    mixing = torch.randn(dimension, dimension, generator=Streams(seed).torch("mixing"))
    return torch.randn(count, dimension, generator=Streams(seed).torch("points")) @ mixing


@pytest.mark.parametrize("dimension", [1, 2, 7])
def test_log_densities_are_those_of_scipy(dimension):
    x, y = points(50, dimension, 0), points(200, dimension, 0) + 1
    expected = gaussian_kde(y.double().numpy().T).logpdf(x.double().numpy().T)
    np.testing.assert_allclose(Kde(y, 0.0).log_density(x), expected, rtol=1e-6)


def test_far_points_keep_their_order_where_densities_underflow():
    far = torch.arange(100.0, 1000.0, 50.0)[:, None]
    assert (gaussian_kde(points(200, 1, 0).numpy().T).pdf(far.T) == 0).all()
    assert (Kde(points(200, 1, 0), 0.0).log_density(far).diff() < 0).all()


def test_points_in_fewer_dimensions_and_points_that_are_all_alike_have_a_density():
    for y in (points(4, 7, 0), torch.ones(50, 3)):
        found = Kde(y, 1e-6).log_density(torch.cat([y, y + 1]))
        assert found.isfinite().all()
        assert found[: len(y)].min() > found[len(y) :].max()
