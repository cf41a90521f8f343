"""The variational autoencoder: its bound of the likelihood, against distributions and closed forms."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, MultivariateNormal, Normal, kl_divergence

from mia_core.models import Snapshot
from mia_core.streams import Streams
from tests.mia_core.steps import floats
from tests.mia_core.test_private_records import stirred


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 16, 28, 32, 64])
def test_shapes_and_ranges(make_target, make_images, size, channels):
    target = make_target("vae", size, channels)
    snapshot = Snapshot(target, Streams(1))
    x = floats(make_images(3, size, channels))
    assert snapshot.samples(2).shape == (2, channels, size, size)
    assert float(snapshot.samples(2).abs().max()) <= 1
    assert all(part.shape == (3, 8) for part in snapshot.encode(x))


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_the_loss_is_that_of_the_distributions(make_target, make_images, likelihood, beta):
    target = stirred(make_target("vae", likelihood=likelihood, beta=beta, deviation=0.7)).double()
    x = floats(make_images(6)).double()
    noise = torch.randn(6, 8, generator=Streams(1).torch("noise"), dtype=torch.float64)
    losses = target.record_losses({"encoder": target.encoder, "generator": target.generator}, x, noise)
    mean, log_variance = target.encoder(x).chunk(2, dim=1)
    posterior = Normal(mean, torch.exp(log_variance / 2))
    decoded = target.generate(mean + posterior.stddev * noise)
    if likelihood == "gaussian":
        log_p = Normal(decoded, 0.7).log_prob(x)
    else:
        log_p = Bernoulli((decoded + 1) / 2, validate_args=False).log_prob((x + 1) / 2)
    prior = kl_divergence(posterior, Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(losses["prior"], prior)
    torch.testing.assert_close(losses["reconstruction"], -log_p.flatten(1).sum(1))
    torch.testing.assert_close(losses["encoder"], losses["reconstruction"] + beta * prior)
    assert losses["generator"] is losses["encoder"]


def linear_gaussian():
    """x = W z + deviation * noise in 64 dimensions, so small that tanh is the identity; W has orthogonal columns.

    Returns W [64,8], the deviation, and functions in place of the networks: W, and the exact posterior.
    """
    deviation = 1e-4
    w = torch.linalg.qr(torch.randn(64, 8, generator=Streams(1).torch("w"), dtype=torch.float64))[0]
    w = w * torch.linspace(0.5, 3, 8, dtype=torch.float64) * deviation
    precision = 1 + (w.square().sum(0)) / deviation**2

    def encoder(x):
        mean = x.flatten(1) @ w / deviation**2 / precision
        return torch.cat([mean, (-precision.log()).expand_as(mean)], 1)

    def generator(z):
        return (z.flatten(1) @ w.T).view(-1, 1, 8, 8)

    return w, deviation, encoder, generator


def mean_loss(target, networks, x, z=8):
    """The loss [B] averaged over normal noise, exactly: it is quadratic in it, and these points have its moments."""
    points = math.sqrt(z) * torch.cat([torch.eye(z), -torch.eye(z)]).double()
    return torch.stack([target.record_losses(networks, x, p.expand(len(x), -1))["encoder"] for p in points]).mean(0)


def test_with_the_exact_posterior_the_bound_is_the_likelihood_and_with_another_it_is_below(make_target):
    w, deviation, encoder, generator = linear_gaussian()
    target = make_target("vae", deviation=deviation).double()
    covariance = w @ w.T + deviation**2 * torch.eye(64).double()
    data = MultivariateNormal(torch.zeros(64).double(), covariance)
    x = (torch.randn(20, 64, generator=Streams(2).torch("x"), dtype=torch.float64) @ data.scale_tril.T).view(
        -1, 1, 8, 8
    )
    log_p = data.log_prob(x.flatten(1))
    exact = mean_loss(target, {"encoder": encoder, "generator": generator}, x)
    torch.testing.assert_close(-exact, log_p, rtol=1e-5, atol=1e-4)
    for shift in (0.1, -0.3):
        other = mean_loss(target, {"encoder": lambda x, s=shift: encoder(x) + s, "generator": generator}, x)
        assert bool((-other < log_p - 0.01).all())


def test_a_decoder_that_ignores_z_has_the_likelihood_of_its_image(make_target, make_images):
    target = make_target("vae", deviation=0.5).double()
    x = floats(make_images(4)).double()
    networks = {
        "encoder": lambda x: torch.zeros(len(x), 16).double(),
        "generator": lambda z: torch.full((len(z), 1, 8, 8), 0.3).double(),
    }
    losses = target.record_losses(networks, x, torch.ones(4, 8).double())
    expected = -Normal(math.tanh(0.3), 0.5).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(losses["encoder"], expected)
    assert not losses["prior"].any()


def test_gradients_are_those_of_autograd_on_one_record(make_target, make_images):
    target = stirred(make_target("vae")).eval()
    x, rng = floats(make_images(3)), Streams(2)
    snapshot = Snapshot(target, Streams(1))
    found = snapshot.gradients(x, rng)
    (noise,) = target.judging_draws(rng)
    parameters = [*target.generator.parameters(), *target.encoder.parameters()]
    for record, norms in zip(x, found, strict=True):
        rows = record.expand(len(noise), -1, -1, -1)
        loss = target.record_losses({"encoder": target.encoder, "generator": target.generator}, rows, noise)
        gradients = torch.autograd.grad(loss["encoder"].mean(), parameters)
        torch.testing.assert_close(norms, torch.stack([g.norm() for g in gradients]), rtol=1e-3, atol=1e-4)
    assert snapshot.gradient_names[0] == "generator.0.weight"
    assert all(p.grad is None for p in parameters)


@pytest.mark.long
def test_it_learns_to_decode_its_records(make_trainer):
    trainer = make_trainer(name="vae", count=4, batch_size=4, deviation=0.2)
    images = trainer.images / 127.5 - 1
    before = float(trainer.target.mean_losses(images, Streams(3)).mean())
    trainer.run_to(300)
    after = float(trainer.target.mean_losses(images, Streams(3)).mean())
    assert after < before / 4
    mean, _ = Snapshot(trainer.target, Streams(1)).encode(images)
    error = (Snapshot(trainer.target, Streams(1)).generate(mean) - images).square().mean((1, 2, 3))
    other = (Snapshot(trainer.target, Streams(1)).generate(mean.roll(1, 0)) - images).square().mean((1, 2, 3))
    assert bool((error < other / 4).all())
