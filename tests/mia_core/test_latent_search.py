"""GAN-Leaks by latents and through the generator, on linear generators whose least loss is known in closed form."""

import numpy as np
import pytest
import torch
from torch import nn

from mia_core.attacks import ATTACKS, Knowledge
from mia_core.metrics import judge
from mia_core.models import CHUNK, Snapshot
from mia_core.streams import Streams
from mia_core.targets import Target

Z, SIDE = 4, 8
PIXELS = SIDE**2


class Linear(Target):
    """G(z) = c + A z."""

    name = "linear"
    offers = frozenset({"samples", "latent", "generator"})
    networks = private = ()
    latent_dimension = Z

    def __init__(self, axes_DZ, center_D):
        super().__init__(None, (1, SIDE, SIDE))
        self.generator = nn.Linear(Z, PIXELS)
        with torch.no_grad():
            self.generator.weight.copy_(axes_DZ)
            self.generator.bias.copy_(center_D)

    def initialize(self, streams):
        raise AssertionError("is not trained")

    def generate(self, z_BZ):
        return self.generator(z_BZ).reshape(-1, *self.image_shape)

    def discriminate(self, x_BCHW):
        raise AssertionError("has no discriminator")

    def draws(self, records, fakes, contrast):
        raise AssertionError("is not trained")

    step = draws


def normal(*shape, seed):
    return torch.randn(*shape, generator=Streams(seed).torch("normal"))


AXES = torch.linalg.qr(normal(PIXELS, Z, seed=0)).Q
"""Orthonormal columns; the generator's are half as long."""
CENTER = normal(PIXELS, seed=1) * 0.1
QUERIES = (normal(30, PIXELS, seed=2) * 0.2).clamp(-1, 1)
EXTRACT = normal(PIXELS, 10, seed=3)


def extractor(images):
    return images.flatten(1) @ EXTRACT


@pytest.fixture
def model():
    return Snapshot(Linear(AXES / 2, CENTER), Streams(5))


def scores_of(model, queries=QUERIES, knowledge=None, **spec):
    attack = ATTACKS.choose({"generated": 200, "perceptual": 0.0, "norm": 0.0, **spec}).build()
    images = queries.reshape(-1, 1, SIDE, SIDE)
    return attack(model, images, knowledge or Knowledge(), Streams(4)).scores.values.double().numpy()


def least_mse():
    rest = (QUERIES - CENTER).double()
    return ((rest - rest @ AXES.double() @ AXES.double().T) ** 2).mean(1).numpy()


def least_with_norm(weight):
    """(a^2/D)(r - rho)^2 + weight (r^2 - Z)^2 along the direction of the best latent, whose norm is rho."""
    rho = (2 * (QUERIES - CENTER).double() @ AXES.double()).norm(dim=1).numpy()
    pull = 0.25 / PIXELS
    found = []
    for one in rho:
        roots = np.roots([4 * weight, 0, 2 * pull - 4 * weight * Z, -2 * pull * one])
        r = roots[np.abs(roots.imag) < 1e-9].real
        found.append((pull * (r - one) ** 2 + weight * (r**2 - Z) ** 2).min())
    return least_mse() + found


def least_with_features(weight):
    """Least squares of pixels and weighted features, one below the other."""
    rows = torch.cat([torch.eye(PIXELS) / PIXELS**0.5, EXTRACT.T * (weight / 10) ** 0.5]).double()
    rest, axes = (QUERIES - CENTER).double() @ rows.T, rows @ AXES.double() / 2
    best = torch.linalg.lstsq(axes, rest.T).solution
    return (rest.T - axes @ best).square().sum(0).numpy()


CASES = {
    "pixels": ({}, least_mse()),
    "norm": ({"norm": 0.001}, least_with_norm(0.001)),
    "features": ({"perceptual": 0.2}, least_with_features(0.2)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_search_ends_at_the_least_loss(model, case):
    settings, least = CASES[case]
    (found,) = scores_of(model, name="generator", steps=300, knowledge=Knowledge(extractor=extractor), **settings)
    np.testing.assert_allclose(-found, least, rtol=1e-3, atol=1e-6)
    assert (-found >= least * (1 - 1e-5) - 1e-7).all()


@pytest.mark.parametrize("case", CASES)
def test_the_search_without_gradients_comes_near_the_least_loss_and_never_below(model, case):
    settings, least = CASES[case]
    knowledge = Knowledge(extractor=extractor)
    (few,) = scores_of(model, name="latent", steps=10, knowledge=knowledge, **settings)
    (many,) = scores_of(model, name="latent", steps=200, knowledge=knowledge, **settings)
    assert (many >= few).all(), "more steps from the same starts, with the same proposals first"
    np.testing.assert_allclose(-many, least, rtol=0.01, atol=1e-5)
    assert (-many >= least * (1 - 1e-5) - 1e-7).all()


@pytest.mark.parametrize("name", ["latent", "generator"])
def test_a_search_starts_at_the_nearest_samples_of_each_level_and_ends_no_farther(model, name):
    still = {"learning_rate": 1e-9} if name == "generator" else {}
    found = scores_of(model, name=name, steps=1, starts=1, generated=[20, 200], **still)
    for values, level in zip(found, (20, 200), strict=True):
        nearest = torch.cdist(QUERIES, model.samples(level).flatten(1)).min(1).values.double().square() / PIXELS
        assert (-values <= nearest.numpy() * (1 + 1e-5)).all()
        if name == "generator":
            np.testing.assert_allclose(-values, nearest, rtol=1e-4)


@pytest.mark.parametrize("name", ["latent", "generator"])
def test_records_that_the_generator_can_make_are_told_from_all_others(model, name):
    members = (CENTER + normal(40, Z, seed=7) @ AXES.T / 2).clamp(-1, 1)
    queries = torch.cat([members, members + 0.02 * normal(40, PIXELS, seed=8)]).clamp(-1, 1)
    (found,) = scores_of(model, queries, name=name, steps=150)
    assert judge(found.astype(np.float32), np.repeat([True, False], 40)).auc == 1


@pytest.mark.parametrize("name", ["latent", "generator"])
def test_a_generator_that_is_independent_of_members_gives_one_half(model, name):
    # 600 members and others: deviation .0167, margin four of it.
    queries = (normal(1200, PIXELS, seed=9) * 0.2).clamp(-1, 1)
    (found,) = scores_of(model, queries, name=name, steps=5)
    assert judge(found.astype(np.float32), np.repeat([True, False], 600)).auc == pytest.approx(0.5, abs=0.067)


def test_the_latents_of_samples_are_those_that_they_are_made_of(make_dcgan):
    snapshot = Snapshot(make_dcgan(), Streams(1))
    for count in (0, 1, CHUNK, CHUNK + 3):
        latents = snapshot.latents(count)
        assert latents.shape == (count, snapshot.latent_dimension)
        if count == CHUNK:
            assert torch.equal(snapshot.generate(latents), snapshot.samples(count))
    torch.testing.assert_close(snapshot.generate(snapshot.latents(CHUNK + 3)), snapshot.samples(CHUNK + 3))
