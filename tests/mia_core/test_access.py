import copy

import pytest
import torch
from torch import nn

from mia_core.access import Access, Snapshot, view
from mia_core.streams import Streams
from mia_core.targets import Target

METHODS = {
    Access.NONE: set(),
    Access.SAMPLES: {"samples"},
    Access.LATENT: {"samples", "generate", "latent_dimension"},
    Access.GENERATOR: {"samples", "generate", "latent_dimension", "generator"},
    Access.WHITE_BOX: {"samples", "generate", "latent_dimension", "generator", "discriminate", "target"},
}


@pytest.fixture
def snapshot(make_trainer):
    trainer = make_trainer(arm="dropout")
    trainer.run_to(4)
    return Snapshot(trainer.target, Streams(1))


@pytest.mark.parametrize("access", Access)
def test_a_view_has_the_methods_of_its_level_and_no_others(snapshot, access):
    allowed = view(snapshot, access)
    names = {name for name in dir(allowed) if not name.startswith("__")}
    assert names == METHODS[access] | {"access"}
    assert allowed.access == access
    assert not hasattr(allowed, "__dict__")


@pytest.mark.parametrize("access", [Access.NONE, Access.SAMPLES, Access.LATENT])
def test_no_attribute_below_generator_access_is_a_network_a_target_or_a_snapshot(snapshot, access):
    allowed = view(snapshot, access)
    for name in dir(allowed):
        value = getattr(allowed, name)
        owner = getattr(value, "__self__", None)
        assert not isinstance(value, (nn.Module, Snapshot)), name
        assert not isinstance(owner, (nn.Module, Snapshot)), name


def test_generator_access_shows_no_weight_of_the_discriminator(snapshot):
    generator = view(snapshot, Access.GENERATOR).generator
    own = {id(parameter) for parameter in snapshot.target.generator.parameters()}
    assert {id(parameter) for parameter in generator.parameters()} == own
    attributes = [value for name, value in vars(generator).items()]
    assert not any(isinstance(getattr(value, "__self__", value), Target) for value in attributes)


def test_levels_are_ordered():
    assert Access.NONE < Access.SAMPLES < Access.LATENT < Access.GENERATOR < Access.WHITE_BOX


@pytest.mark.parametrize("counts", [(3, 7), (255, 256), (256, 257), (10, 600)])
def test_samples_of_a_smaller_count_are_a_prefix(snapshot, counts):
    fewer, more = counts
    first = view(snapshot, Access.SAMPLES).samples(fewer)
    assert first.shape == (fewer, 1, 8, 8)
    assert torch.equal(view(snapshot, Access.SAMPLES).samples(more)[:fewer], first)
    fresh = Snapshot(snapshot.target, Streams(1))
    assert torch.equal(fresh.samples(more)[:fewer], first)


def test_samples_differ_within_and_between_chunks_and_between_streams(snapshot):
    # Mistake 1 of published code: a sampler that always draws from the same place.
    samples = view(snapshot, Access.SAMPLES).samples(600)
    assert len(torch.unique(samples, dim=0)) == 600
    assert not torch.equal(Snapshot(snapshot.target, Streams(2)).samples(5), samples[:5])


def test_modifying_returned_samples_does_not_change_later_ones(snapshot):
    samples = view(snapshot, Access.SAMPLES).samples
    first = samples(300)
    kept = first.clone()
    first.zero_()
    assert torch.equal(samples(300), kept)
    samples(256).zero_()
    assert torch.equal(samples(300), kept)
    snapshot.samples(256).zero_()
    assert torch.equal(samples(300), kept)


def test_samples_ignore_the_global_seed(snapshot):
    first = snapshot.samples(5)
    torch.manual_seed(77)
    assert torch.equal(Snapshot(snapshot.target, Streams(1)).samples(5), first)


def test_generate_equals_the_generator_and_samples_are_made_by_it(snapshot):
    z = torch.randn(300, 8, generator=Streams(1).torch("samples", 0))
    white = view(snapshot, Access.WHITE_BOX)
    with torch.no_grad():
        torch.testing.assert_close(white.generator(z), white.generate(z), atol=1e-6, rtol=0)
    assert torch.equal(white.generate(z[:256]), white.samples(256))


def test_discriminate_is_in_evaluation_mode_however_the_target_was_left(snapshot):
    x = snapshot.samples(6)
    scores = snapshot.discriminate(x)
    snapshot.target.train()
    assert torch.equal(view(snapshot, Access.WHITE_BOX).discriminate(x), scores)


@pytest.mark.parametrize("access", [Access.GENERATOR, Access.WHITE_BOX])
def test_a_view_of_a_target_left_in_training_mode_is_in_evaluation_mode(make_dcgan, access):
    target = make_dcgan().train()
    statistics = copy.deepcopy(dict(target.named_buffers()))
    allowed = view(Snapshot(target, Streams(1)), access)
    z = torch.randn(5, 8, generator=Streams(0).torch("z"))
    with torch.no_grad():
        images = allowed.generator(z)
    assert all(torch.equal(value, statistics[name]) for name, value in target.named_buffers())
    torch.testing.assert_close(images, allowed.generate(z), atol=1e-6, rtol=0)


def test_looking_through_every_view_changes_nothing_of_the_target(snapshot):
    before = copy.deepcopy(snapshot.target.state_dict())
    white = view(snapshot, Access.WHITE_BOX)
    white.discriminate(white.samples(300))
    white.generate(torch.randn(5, 8, generator=Streams(0).torch("z")))
    white.generator(torch.randn(5, 8, generator=Streams(0).torch("z")))
    assert all(torch.equal(value, before[name]) for name, value in snapshot.target.state_dict().items())


def test_generator_access_has_gradients_in_the_latent(snapshot):
    z = torch.zeros(2, 8, requires_grad=True)
    view(snapshot, Access.GENERATOR).generator(z).sum().backward()
    assert bool((z.grad != 0).any())
