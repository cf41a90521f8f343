import copy

import pytest
import torch
from torch import nn

from mia_core.access import CAPABILITIES, Access, access_of, view
from mia_core.attacks import Attack, Knowledge, Scores
from mia_core.meter import Meter, Spent
from mia_core.models import Model, Snapshot
from mia_core.settings import settings
from mia_core.streams import Streams
from mia_core.targets import Target

SETS = [
    set(),
    {"samples"},
    {"latent"},
    {"samples", "latent"},
    {"generator"},
    {"discriminate"},
    {"samples", "discriminate"},
]
ALL = {"samples", "latent", "generator", "discriminate"}
"""What a snapshot of a DCGAN offers."""
every_set = pytest.mark.parametrize("uses", [*SETS, ALL], ids=lambda x: "+".join(sorted(x)) or "nothing")


@pytest.fixture
def snapshot(make_trainer):
    trainer = make_trainer(arm="dropout")
    trainer.run_to(4)
    return Snapshot(trainer.target, Streams(1))


@every_set
def test_a_view_has_the_methods_of_what_is_used_and_no_others(snapshot, uses):
    allowed = view(snapshot, uses)
    expected = {name for capability in uses for name in CAPABILITIES[capability][1]}
    assert {name for name in dir(allowed) if not name.startswith("__")} == expected


@pytest.mark.parametrize("uses", SETS[:4], ids=lambda x: "+".join(sorted(x)) or "nothing")
def test_no_attribute_below_the_generator_is_a_network_a_target_or_a_model(snapshot, uses):
    allowed = view(snapshot, uses)
    for name in dir(allowed):
        value = getattr(allowed, name)
        owner = getattr(value, "__self__", None)
        assert not isinstance(value, (nn.Module, Model)), name
        assert not isinstance(owner, (nn.Module, Model)), name


def test_the_generator_shows_no_weight_of_the_discriminator(snapshot):
    generator = view(snapshot, {"generator"}).generator
    own = {id(parameter) for parameter in snapshot.target.generator.parameters()}
    assert {id(parameter) for parameter in generator.parameters()} == own
    attributes = [value for name, value in vars(generator).items()]
    assert not any(isinstance(getattr(value, "__self__", value), Target) for value in attributes)


def test_published_names_are_of_the_least_that_includes_what_is_used():
    assert Access.NONE < Access.SAMPLES < Access.LATENT < Access.GENERATOR < Access.WHITE_BOX
    assert access_of(()) == Access.NONE
    alone = {capability: access_of({capability}).name for capability in CAPABILITIES}
    assert alone == {
        "samples": "SAMPLES",
        "latent": "LATENT",
        "variation": "LATENT",
        "generator": "GENERATOR",
        "denoise": "GENERATOR",
        "encode": "WHITE_BOX",
        "discriminate": "WHITE_BOX",
        "gradients": "WHITE_BOX",
    }
    assert access_of({"samples", "generator"}) == Access.GENERATOR
    assert access_of({"samples", "generator", "encode"}) == Access.WHITE_BOX


class Diffusion(Model):
    """A user's own model, of other capabilities than any of ours."""

    name = "diffusion"
    offers = frozenset({"samples", "denoise", "variation", "gradients"})
    record_shape = (1, 2, 2)
    device = torch.device("cpu")

    def samples(self, count):
        return torch.zeros(count, 1, 2, 2)

    alpha_bar = torch.tensor([0.9, 0.5])
    gradient_names = ("weight",)

    def denoise(self, x, t):
        return x - t

    def variation(self, x, time, rng):
        return x * time

    def gradients(self, x, rng):
        return 2 * x.flatten(1).sum(1, keepdim=True)


class Denoising(Attack):
    name = "denoising"
    uses = frozenset({"denoise", "variation", "gradients"})

    @settings
    class Config:
        """Nothing to set."""

    def run(self, view, queries, knowledge, rng):
        parts = view.denoise(queries, view.alpha_bar[1]) + view.variation(queries, 3, rng)
        assert not hasattr(view, "samples")
        return Scores(self.levels, (parts.flatten(1).sum(1) + view.gradients(queries, rng)[:, 0])[None])


def test_a_model_of_a_user_is_attacked_by_what_it_offers():
    queries = torch.full((3, 1, 2, 2), 0.25)
    result = Denoising(Denoising.Config())(Diffusion(), queries, Knowledge(), Streams(0))
    assert result.scores.values.tolist() == [[4 * (0.25 - 0.5 + 0.75 + 0.5)] * 3]
    assert result.spent == (Spent(queries=9, gradients=3),)


def test_a_gradient_through_the_generator_counts_for_each_image_that_it_comes_back_through(snapshot):
    meter = Meter()
    allowed = view(snapshot, {"generator", "latent", "samples"}, meter)
    allowed.samples(20), allowed.latents(20)
    assert meter.spent == Spent()
    z = torch.zeros(5, 8, requires_grad=True)
    images = allowed.generator(z)
    assert meter.spent == Spent(queries=5)
    images.sum().backward()
    allowed.generate(z.detach())
    assert meter.spent == Spent(queries=10, gradients=5)


def test_generate_equals_the_generator_and_samples_are_made_by_it(snapshot):
    z = torch.randn(300, 8, generator=Streams(1).torch("samples", 0))
    white = view(snapshot, ALL)
    with torch.no_grad():
        torch.testing.assert_close(white.generator(z), white.generate(z), atol=1e-6, rtol=0)
    assert torch.equal(white.generate(z[:256]), white.samples(256))


def test_discriminate_is_in_evaluation_mode_however_the_target_was_left(snapshot):
    x = snapshot.samples(6)
    scores = snapshot.discriminate(x)
    snapshot.target.train()
    assert torch.equal(view(snapshot, {"discriminate"}).discriminate(x), scores)


def test_encode_is_in_evaluation_mode_and_gives_mean_and_log_variance(make_target):
    target = make_target("vae_gan", norm="batch").train()
    x = torch.rand(300, 1, 8, 8, generator=Streams(3).torch("x")) * 2 - 1
    mean, log_variance = view(Snapshot(target, Streams(1)), {"encode"}).encode(x)
    with torch.no_grad():
        both = target.eval().encoder(x[:5])
    torch.testing.assert_close(torch.cat([mean, log_variance], 1)[:5], both, atol=1e-5, rtol=0)
    assert mean.shape == log_variance.shape == (300, 8)


@every_set
def test_a_view_of_a_target_left_in_training_mode_is_in_evaluation_mode(make_dcgan, uses):
    target = make_dcgan().train()
    statistics = copy.deepcopy(dict(target.named_buffers()))
    allowed = view(Snapshot(target, Streams(1)), uses)
    z = torch.randn(5, 8, generator=Streams(0).torch("z"))
    with torch.no_grad():
        made = [getattr(allowed, name)(z) for name in ("generator", "generate") if hasattr(allowed, name)]
    assert all(torch.equal(value, statistics[name]) for name, value in target.named_buffers())
    for images in made:
        with torch.no_grad():
            torch.testing.assert_close(images, target.eval().generate(z), atol=1e-6, rtol=0)


def test_looking_through_a_view_of_everything_changes_nothing_of_the_target(snapshot):
    before = copy.deepcopy(snapshot.target.state_dict())
    white = view(snapshot, ALL)
    white.discriminate(white.samples(300))
    white.generate(torch.randn(5, 8, generator=Streams(0).torch("z")))
    white.generator(torch.randn(5, 8, generator=Streams(0).torch("z")))
    assert all(torch.equal(value, before[name]) for name, value in snapshot.target.state_dict().items())


def test_the_generator_has_gradients_in_the_latent(snapshot):
    z = torch.zeros(2, 8, requires_grad=True)
    view(snapshot, {"generator"}).generator(z).sum().backward()
    assert bool((z.grad != 0).any())
