"""Attacks on VAEs, on a linear Gaussian one: its likelihood is known, and so is what its mean gives away."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm
from torch import nn

from mia_core.access import view
from mia_core.attacks import ATTACKS, Knowledge
from mia_core.attacks.pfami import CROPS, cropped
from mia_core.meter import Meter, Spent
from mia_core.metrics.blind import aucs
from mia_core.models import Snapshot, Stream
from mia_core.streams import Streams
from mia_core.targets import TARGETS

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
    record_shape, device, deviation = (1, 8, 8), torch.device("cpu"), VARIANCE**0.5

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
    found = scores_of({"name": "elbo", "draws": draws}, LinearVae(torch.zeros(PIXELS)), x)
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
        scores_of({"name": "elbo", "draws": draws}, Blurred(torch.zeros(PIXELS)), x) for draws in (1, 30, 30_000)
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
        found.append(aucs(scores_of({"name": name, "draws": 20}, model, x)[:, None], (np.arange(2 * n) < n)[:, None]))
    d = PIXELS if name == "elbo" else PIXELS - LATENTS
    expected = norm.cdf(2 * d / n / (2 * d * (1 - 1 / n) ** 2 + 2 * d + 4 * d / n) ** 0.5)
    assert np.mean(found) == pytest.approx(expected, abs=0.055)


def test_pfami_is_the_mean_relative_growth_of_the_loss_with_the_same_numbers_in_all_neighbors():
    x, mean, crops = records(9, 1), torch.full((PIXELS,), 0.1), (0.9, 0.6)
    noise = torch.randn(5, LATENTS, generator=Streams(4).torch("posterior")).double().numpy()
    weight, spread = WEIGHT.double().numpy(), 1 / (1 + WEIGHT.double().square().sum(0).numpy() / VARIANCE)

    def loss(images):
        away = images.flatten(1).double().numpy() - 0.1
        center = away @ weight * spread / VARIANCE
        decoded = [(center + spread**0.5 * one) @ weight.T for one in noise]
        error = np.mean([((away - other) ** 2).sum(1) for other in decoded], axis=0)
        return error / (2 * VARIANCE) + (center**2 + spread - 1 - np.log(spread)).sum(1) / 2

    expected = np.mean([(loss(cropped(x, part)) - loss(x)) / loss(x) for part in crops], axis=0)
    found = scores_of({"name": "pfami_vae", "draws": 5, "crops": crops}, LinearVae(mean), x)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def growth(x, mean):
    """What many draws bring PFAMI to under the exact posterior, where the bound is the likelihood: its relative growth.

    -log p(x) without the constant of p(x | z) is half of (x - mean)^T C^-1 (x - mean) + log |C| - D log variance.
    """
    precision = np.linalg.inv(LAW.cov)
    constant = np.linalg.slogdet(LAW.cov)[1] - PIXELS * np.log(VARIANCE)

    def loss(images):
        away = (images.flatten(1) - mean).double().numpy()
        return ((away @ precision) * away).sum(1) + constant

    return np.mean([loss(cropped(x, part)) / loss(x) - 1 for part in CROPS], axis=0)


def test_pfami_under_the_exact_posterior_is_the_relative_growth_of_minus_the_log_likelihood():
    # The mean of N draws has error (1 / N) ‖W sqrt(P) e‖^2 / variance, of 3 latents: 3,000 make it .001 of L.
    x, mean = records(30, 1), torch.full((PIXELS,), 0.1)
    found = scores_of({"name": "pfami_vae", "draws": 3000}, LinearVae(mean), x)
    np.testing.assert_allclose(found, growth(x, mean), atol=0.01)


def fitted_mean_auc(of, seeds):
    """Mean AUC of scores of 20 members, on which the model's mean was fitted, against 20 others."""
    member = (np.arange(40) < 20)[:, None]
    return np.mean(
        [aucs(of(records(40, seed), records(40, seed)[:20].flatten(1).mean(0))[:, None], member) for seed in seeds]
    )


@pytest.mark.long
def test_pfami_tells_the_records_of_a_fitted_mean_as_far_as_the_likelihoods_growth_does():
    # The exact growth on other records has the mean AUC that the attack has on these: each AUC deviates by about .09
    # with 20 and 20, the mean of 200 by .0064, that of 400 by .0045; the margin is four of the difference's.
    expected = fitted_mean_auc(growth, range(1000, 1400))
    found = fitted_mean_auc(lambda x, mean: scores_of({"name": "pfami_vae"}, LinearVae(mean), x), range(100, 300))
    assert expected > 0.55
    assert found == pytest.approx(expected, abs=0.031)


def test_pfami_on_a_model_of_other_records_gives_one_half():
    # The deviation of the mean of 48 AUCs of 20 and 20 is .013; the margin is four.
    def of(x, mean):
        return scores_of({"name": "pfami_vae"}, LinearVae(torch.full((PIXELS,), 0.1)), x)

    assert fitted_mean_auc(of, range(300, 348)) == pytest.approx(0.5, abs=0.052)


@pytest.mark.parametrize(("name", "cost"), [("elbo", 7), ("vae_reconstruction", 7), ("pfami_vae", 4 * 7)])
def test_what_attacks_on_vaes_ask_is_counted(name, cost):
    x, model, meter = records(5, 1), LinearVae(torch.zeros(PIXELS)), Meter()
    scores_of({"name": name, "draws": 6}, model, x, meter)
    assert meter.spent == Spent(queries=5 * cost)


class Likeless(LinearVae):
    """Without a normal likelihood of pixels."""

    name, deviation = "a likeless VAE", None


@pytest.mark.parametrize("name", ["elbo", "pfami_vae"])
def test_a_likelihood_has_the_models_variance_unless_one_is_set_and_is_refused_without_either(name):
    x, mean = records(5, 1), torch.zeros(PIXELS)
    own, same, other = (scores_of({"name": name, **given}, LinearVae(mean), x) for given in (
        {}, {"variance": VARIANCE}, {"variance": 2.0},
    ))  # fmt: skip
    np.testing.assert_allclose(own, same, rtol=1e-6)
    assert np.abs(own - other).min() > 1e-3
    reason = "a likeless VAE has no normal likelihood of pixels, whose variance could be taken; set `variance`"
    assert ATTACKS.choose(name).build().unfit(Likeless(mean).facts) == reason
    assert ATTACKS.choose({"name": name, "variance": 1.0}).build().unfit(Likeless(mean).facts) is None


@pytest.mark.parametrize(
    ("target", "deviation"),
    [
        ({"name": "vae", "deviation": 0.7}, 0.7),
        ({"name": "vae", "likelihood": "bernoulli"}, None),
        ("vae_gan", None),
    ],
)
def test_a_target_says_the_deviation_of_its_pixels(target, deviation):
    found = TARGETS.choose(target).build((1, 8, 8))
    assert found.facts.deviation == deviation == Snapshot(found, Streams(0)).facts.deviation


def test_a_query_is_scored_alike_in_any_batch():
    x, model = records(50, 1), LinearVae(torch.zeros(PIXELS))
    whole = scores_of({"name": "elbo", "draws": 100}, model, x)
    np.testing.assert_allclose(scores_of({"name": "elbo", "draws": 100}, model, x[45:]), whole[45:], rtol=1e-5)
