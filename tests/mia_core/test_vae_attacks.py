"""Attacks on VAEs, on a linear Gaussian one: its likelihood is known, and so is what its mean gives away."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm
from torch import nn

from mia_core.access import view
from mia_core.attacks import ATTACKS, Knowledge
from mia_core.meter import Meter, Spent
from mia_core.metrics.blind import aucs
from mia_core.models import Stream
from mia_core.streams import Streams

PIXELS, LATENTS, VARIANCE = 64, 3, 0.5
SCALE = torch.tensor([3.0, 2.0, 1.0])
WEIGHT = SCALE * torch.linalg.qr(torch.randn(PIXELS, LATENTS, generator=Streams(0).torch("weight"))).Q
LAW = multivariate_normal(np.zeros(PIXELS), (WEIGHT @ WEIGHT.T).numpy() + VARIANCE * np.eye(PIXELS))


class Linear(nn.Module):
    """dec(z) = mean + W z, as images."""

    def __init__(self, mean):
        super().__init__()
        self.mean = mean

    def forward(self, z_BZ):
        return (self.mean + z_BZ @ WEIGHT.T).reshape(-1, 1, 8, 8)


class LinearVae(Stream):
    """x = mean + W z + normal noise, whose posterior N(P W^T (x - mean) / variance, P), P = (I + W^T W / variance)^-1.

    Encoders give variances and no covariances, so W has orthogonal columns.
    """

    name = "a linear VAE"
    offers = frozenset({"samples", "encode", "generator"})
    record_shape, device = (1, 8, 8), torch.device("cpu")

    def __init__(self, mean):
        super().__init__()
        self.generator = Linear(mean)

    def encode(self, x_BCHW):
        variance_Z = 1 / (1 + WEIGHT.square().sum(0) / VARIANCE)
        mean_BZ = (x_BCHW.flatten(1) - self.generator.mean) @ WEIGHT * variance_Z / VARIANCE
        return mean_BZ, variance_Z.log().expand_as(mean_BZ)

    def _draw(self, number):
        raise AssertionError("is not sampled")


def records(count, seed):
    """Of the VAE's own law with mean 0, beyond [-1, 1], so attacks are run without the check."""
    z, noise = (torch.randn(count, k, generator=Streams(seed).torch("x", k)) for k in (LATENTS, PIXELS))
    return (z @ WEIGHT.T + VARIANCE**0.5 * noise).reshape(-1, 1, 8, 8)


def scores_of(spec, model, x, meter=None):
    attack = ATTACKS.choose(spec).build()
    found = attack.run(view(model, attack.uses, meter), x, Knowledge(), Streams(4))
    return found.values[0].double().numpy()


@pytest.mark.parametrize("draws", [1, 7])
def test_the_bound_under_the_exact_posterior_is_the_likelihood_whatever_the_draws(draws):
    x = records(20, 1)
    found = scores_of({"name": "elbo", "draws": draws, "variance": VARIANCE}, LinearVae(torch.zeros(PIXELS)), x)
    np.testing.assert_allclose(found, LAW.logpdf(x.flatten(1).numpy()), rtol=1e-4)


class Blurred(LinearVae):
    """With a posterior that is wider than the exact one."""

    def encode(self, x_BCHW):
        mean_BZ, log_variance_BZ = super().encode(x_BCHW)
        return mean_BZ, log_variance_BZ + 1


def test_the_bound_rises_to_the_likelihood_with_the_number_of_draws():
    x = records(20, 1)
    exact = LAW.logpdf(x.flatten(1).numpy())
    one, few, many = (
        scores_of({"name": "elbo", "draws": draws, "variance": VARIANCE}, Blurred(torch.zeros(PIXELS)), x)
        for draws in (1, 30, 30_000)
    )
    # One draw's expected gap is the divergence of both posteriors: of each latent (e - 1 - 1) / 2.
    assert one.mean() < few.mean() < exact.mean()
    np.testing.assert_allclose(many, exact, atol=0.05)


def test_reconstruction_is_minus_the_mean_distance_to_decoded_draws_of_the_posterior():
    x, model = records(9, 1), LinearVae(torch.full((PIXELS,), 0.1))
    found = scores_of({"name": "vae_reconstruction", "draws": 5}, model, x)
    noise = torch.randn(5, LATENTS, generator=Streams(4).torch("posterior"))
    mean, log_variance = model.encode(x)
    decoded = [model.generator(mean + (log_variance / 2).exp() * one) for one in noise]
    expected = -torch.stack([(x - images).flatten(1).norm(dim=1) for images in decoded]).mean(0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_reconstruction_leaves_what_lies_beyond_the_decoder():
    # E ‖x - dec(z)‖^2 = ‖x - dec(mean)‖^2 + tr(W P W^T); with few latents of 64 pixels the norm is its root, nearly.
    x, model = records(200, 1), LinearVae(torch.zeros(PIXELS))
    mean, log_variance = model.encode(x)
    left = (x - model.generator(mean)).flatten(1).square().sum(1) + (WEIGHT.square() * log_variance[0].exp()).sum()
    found = scores_of({"name": "vae_reconstruction", "draws": 2000}, model, x)
    np.testing.assert_allclose(found, -left.sqrt(), rtol=0.01)


@pytest.mark.parametrize("name", ["elbo", "vae_reconstruction"])
def test_a_mean_that_was_fitted_gives_its_records_away_as_far_as_theory_says(name):
    # -‖x - mean‖^2 in whitened coordinates of dimension d: members have 2 d/n less of it on average, of a variance
    # 2 d + 4 d/n for non-members, 2 d (1 - 1/n)^2 for members. The decoder adds W z, so that reconstruction sees only
    # the 61 dimensions that W leaves, nearly. The deviation of one AUC is about .06 with 40 members, of 24 .012; the
    # margin is four.
    n, found = 20, []
    for seed in range(48):
        x = records(2 * n, 100 + seed)
        model = LinearVae(x[:n].flatten(1).mean(0))
        spec = {"name": name, "draws": 20, **({"variance": VARIANCE} if name == "elbo" else {})}
        found.append(aucs(scores_of(spec, model, x)[:, None], (np.arange(2 * n) < n)[:, None]))
    d = PIXELS if name == "elbo" else PIXELS - LATENTS
    expected = norm.cdf(2 * d / n / (2 * d * (1 - 1 / n) ** 2 + 2 * d + 4 * d / n) ** 0.5)
    assert np.mean(found) == pytest.approx(expected, abs=0.055)


def test_what_attacks_on_vaes_ask_is_counted():
    x, model = records(5, 1), LinearVae(torch.zeros(PIXELS))
    for name in ("elbo", "vae_reconstruction"):
        meter = Meter()
        scores_of({"name": name, "draws": 6}, model, x, meter)
        assert meter.spent == Spent(queries=5 * (1 + 6))


def test_a_query_is_scored_alike_in_any_batch():
    x, model = records(50, 1), LinearVae(torch.zeros(PIXELS))
    whole = scores_of({"name": "elbo", "draws": 100}, model, x)
    np.testing.assert_allclose(scores_of({"name": "elbo", "draws": 100}, model, x[45:]), whole[45:], rtol=1e-5)
