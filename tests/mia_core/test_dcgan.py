import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

from mia_core.step_draws import Draws, normal
from mia_core.streams import Streams
from mia_core.targets import TARGETS
from tests.mia_core.steps import floats, take_step

NORMS = ["group", "batch", "none"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 16, 28, 32, 64])
def test_shapes_and_ranges(make_dcgan, make_images, size, channels):
    target = make_dcgan(size, channels)
    with torch.no_grad():
        fake = target.generate(torch.randn(3, 8, generator=Streams(0).torch("z")))
        score = target.discriminate(floats(make_images(2, size, channels)))
    assert fake.shape == (3, channels, size, size)
    assert float(fake.abs().max()) <= 1
    assert score.shape == (2,)
    assert target.latent_dimension == 8


@pytest.mark.parametrize(
    ("shape", "message"), [((1, 16, 12), "square"), ((1, 4, 4), "at least 8"), ((1, 36, 36), "36")]
)
def test_sizes_that_do_not_halve_are_refused_with_sizes_that_do(shape, message):
    with pytest.raises(ValueError, match=f"target: dcgan .*{message}"):
        TARGETS.choose("dcgan").build(shape)


@pytest.mark.parametrize("width", range(1, 10))
def test_every_width_builds_with_every_norm(make_dcgan, width):
    for norm in NORMS:
        target = make_dcgan(32, width=width, norm=norm)
        assert target.discriminate(torch.zeros(2, 1, 32, 32)).shape == (2,)


@pytest.mark.parametrize("norm", NORMS)
def test_initialization_depends_on_its_streams_only(make_dcgan, norm):
    weights = []
    for global_seed, seed in ((0, 4), (1, 4), (1, 5)):
        torch.manual_seed(global_seed)
        weights.append(make_dcgan(16, seed=seed, norm=norm).state_dict())
    first, again, other = weights
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = [name for name in first if len(torch.unique(first[name])) > 1]
    assert len(drawn) >= 6
    assert all(not torch.equal(first[name], other[name]) for name in drawn)


def test_weights_start_with_deviation_3_fan_in_to_the_minus_half(make_dcgan):
    # A relative deviation of 5 / sqrt(2 N) is five standard errors; N is at least 1024 here.
    for module in make_dcgan(16, width=16).modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)) and module.weight.numel() >= 1024:
            expected = 1 / math.sqrt(3 * module.weight.shape[1] * module.weight.shape[2] * module.weight.shape[3])
            margin = 5 / math.sqrt(2 * module.weight.numel())
            assert float(module.weight.detach().std()) == pytest.approx(expected, rel=margin)
        if getattr(module, "bias", None) is not None:
            assert not module.bias.any()


AUTHORS = {"networks": "authors", "width": 64, "latent": 100, "norm": "batch"}


def convolutions(network):
    return [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_authors_networks_are_those_of_their_released_code(make_dcgan, channels):
    # github.com/soumith/dcgan.torch, main.lua, with its defaults: 64 pixels, ngf = ndf = 64, nz = 100.
    target = make_dcgan(64, channels, **AUTHORS)
    judging = [(channels, 64), (64, 128), (128, 256), (256, 512), (512, 1)]
    making = [(100, 512), (512, 256), (256, 128), (128, 64), (64, channels)]
    geometry = {"discriminator": [(2, 1)] * 4 + [(1, 0)], "generator": [(1, 0)] + [(2, 1)] * 4}
    for name, pairs in (("discriminator", judging), ("generator", making)):
        layers = convolutions(target.get_submodule(name))
        assert [(layer.in_channels, layer.out_channels) for layer in layers] == pairs
        assert [(layer.stride[0], layer.padding[0]) for layer in layers] == geometry[name]
        assert all(layer.kernel_size == (4, 4) and layer.bias is None for layer in layers)
    kinds = [type(module).__name__ for module in target.discriminator.modules() if not list(module.children())]
    assert kinds == ["Conv2d", "LeakyReLU", *["Conv2d", "BatchNorm2d", "LeakyReLU"] * 3, "Conv2d"]
    kinds = [type(module).__name__ for module in target.generator]
    assert kinds == [*["ConvTranspose2d", "BatchNorm2d", "ReLU"] * 4, "ConvTranspose2d", "Tanh"]
    assert {m.negative_slope for m in target.modules() if isinstance(m, nn.LeakyReLU)} == {0.2}
    normed = {"discriminator": 128 + 256 + 512, "generator": 512 + 256 + 128 + 64}
    for name, pairs in (("discriminator", judging), ("generator", making)):
        weights = sum(16 * inside * outside for inside, outside in pairs) + 2 * normed[name]
        assert sum(p.numel() for p in target.get_submodule(name).parameters()) == weights
        if channels == 3:
            assert weights == {"discriminator": 2_765_568, "generator": 3_576_704}[name]


@pytest.mark.parametrize("width", [16, 64])
@pytest.mark.parametrize("name", ["dcgan", "wgan_gp"])
def test_the_authors_weights_start_with_deviation_0_02_at_any_width(make_target, name, width):
    # Relative deviations of 5 / sqrt(2 N) are five standard errors.
    target = make_target(name, 64, networks="authors", width=width)
    for layer in convolutions(target):
        margin = 5 / math.sqrt(2 * layer.weight.numel())
        assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=margin)
    gains = torch.cat([m.weight.detach() for m in target.modules() if isinstance(m, nn.BatchNorm2d)])
    assert float(gains.mean()) == pytest.approx(1, abs=5 * 0.02 / math.sqrt(len(gains)))
    assert float(gains.std()) == pytest.approx(0.02, rel=5 / math.sqrt(2 * len(gains)))


def test_the_default_networks_have_the_papers_generator_and_are_in_no_id(make_dcgan):
    target = make_dcgan(64, 3, width=64, latent=100, norm="batch")
    assert [layer.in_channels for layer in convolutions(target.generator)] == [100, 1024, 512, 256, 128]
    assert all(layer.bias is not None for layer in convolutions(target.discriminator))
    plain, named, other = (
        TARGETS.choose({"name": "dcgan", **given}) for given in ({}, {"networks": "scaled"}, AUTHORS)
    )
    assert "networks" not in plain.to_dict()
    assert plain.to_dict() == named.to_dict()
    assert other.to_dict() == {"name": "dcgan", **AUTHORS}
    with pytest.raises(ValueError, match=r"dcgan\.networks: .*'scaled' or 'authors'.*got 'released'"):
        TARGETS.choose({"name": "dcgan", "networks": "released"}, "dcgan")


@pytest.mark.parametrize("norm", NORMS)
def test_scores_do_not_depend_on_batching_or_other_records(make_trainer, make_images, norm):
    # Mistake 5 of published code: batch statistics of whoever is queried together leaking into a score.
    target = make_trainer(norm=norm)
    target.run_to(6)
    x = floats(make_images(9, seed=1))
    with torch.no_grad():
        together = target.target.discriminate(x)
        alone = torch.cat([target.target.discriminate(row[None]) for row in x])
        among_others = target.target.discriminate(torch.cat([x[:4], -torch.ones(20, 1, 8, 8)]))[:4]
    assert together.std() > 0
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)
    torch.testing.assert_close(among_others, together[:4], atol=1e-5, rtol=0)


def test_generated_images_do_not_depend_on_batching_in_evaluation_mode(make_trainer):
    trainer = make_trainer()
    trainer.run_to(6)
    z = torch.randn(7, 8, generator=Streams(0).torch("z"))
    with torch.no_grad():
        together = trainer.target.generate(z)
        alone = torch.cat([trainer.target.generate(row[None]) for row in z])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("generator_learns", [True, False])
def test_steps_equal_the_formulas_written_out(make_dcgan, make_images, norm, generator_learns):
    # Mistake 1 of published code: a sampler that only drew label 1. Both labels must reach the discriminator.
    target = make_dcgan(16, norm=norm).train()
    slow = copy.deepcopy(target)
    optimizers, slow_optimizers = (
        {name: torch.optim.SGD(net.get_submodule(name).parameters(), 0.1) for name in ("discriminator", "generator")}
        for net in (target, slow)
    )
    for number in range(3):
        x = floats(make_images(6, 16, seed=number))
        history = take_step(target, x, number, generator_learns, optimizers=optimizers)

        fake = slow.generate(Draws(Streams(3))("latent", number, normal(5, 8)))
        real_logit, fake_logit = slow.discriminate(x), slow.discriminate(fake.detach())
        loss = softplus(-real_logit).mean() + softplus(fake_logit).mean()
        expected = {
            "loss_discriminator": loss,
            "d_real": real_logit.sigmoid().mean(),
            "d_fake": fake_logit.sigmoid().mean(),
        }
        slow_optimizers["discriminator"].zero_grad()
        loss.backward()
        for fast, parameter in zip(target.discriminator.parameters(), slow.discriminator.parameters(), strict=True):
            torch.testing.assert_close(fast.grad, parameter.grad, rtol=1e-4, atol=1e-6)
        slow_optimizers["discriminator"].step()
        if generator_learns:
            expected["loss_generator"] = softplus(-slow.discriminate(fake)).mean()
            slow_optimizers["generator"].zero_grad()
            expected["loss_generator"].backward(inputs=list(slow.generator.parameters()))
            slow_optimizers["generator"].step()
        assert {key: float(value) for key, value in history.items()} == pytest.approx(
            {key: float(value.detach()) for key, value in expected.items()}, rel=1e-4
        )
        for (name, fast), reference in zip(target.state_dict().items(), slow.state_dict().values(), strict=True):
            torch.testing.assert_close(fast, reference, rtol=1e-4, atol=1e-6, msg=name)


def test_optimizers_are_adam_each_with_its_own_network(make_dcgan):
    target = make_dcgan()
    optimizers = target.optimizers(2e-3, 0.4)
    assert set(optimizers) == {"discriminator", "generator"}
    for name, optimizer in optimizers.items():
        (group,) = optimizer.param_groups
        assert isinstance(optimizer, torch.optim.Adam)
        assert (group["lr"], group["betas"], group["weight_decay"]) == (2e-3, (0.4, 0.999), 0)
        own = {id(parameter) for parameter in target.get_submodule(name).parameters()}
        assert {id(parameter) for parameter in group["params"]} == own


def test_a_step_without_the_generator_leaves_its_weights_alone(make_dcgan, make_images):
    target = make_dcgan().train()
    before = copy.deepcopy(target.generator)
    take_step(target, floats(make_images(4)), generator_learns=False)
    for name, parameter in before.named_parameters():
        assert torch.equal(target.generator.get_parameter(name), parameter)


def test_all_parameters_ask_for_gradients_again_after_a_step(make_dcgan, make_images):
    target = make_dcgan().train()
    take_step(target, floats(make_images(4)))
    assert all(parameter.requires_grad for parameter in target.parameters())


def test_the_generators_step_adds_nothing_to_the_discriminators_gradient(make_dcgan, make_images):
    gradients = []
    for generator_learns in (True, False):
        target = make_dcgan().train()
        take_step(target, floats(make_images(4)), generator_learns=generator_learns)
        gradients.append([parameter.grad for parameter in target.discriminator.parameters()])
    for with_generator, without in zip(*gradients, strict=True):
        assert torch.equal(with_generator, without)


def test_latents_depend_on_the_steps_number_and_stream_only(make_dcgan, make_images):
    fakes = []
    for global_seed, number, seed in ((0, 1, 3), (1, 1, 3), (0, 2, 3), (0, 1, 4)):
        torch.manual_seed(global_seed)
        target = make_dcgan().train()
        take_step(target, floats(make_images(4)), number=number, seed=seed)
        fakes.append(np.concatenate([p.detach().flatten() for p in target.discriminator.parameters()]))
    assert np.array_equal(fakes[0], fakes[1])
    assert not np.array_equal(fakes[0], fakes[2])
    assert not np.array_equal(fakes[0], fakes[3])


def test_a_defense_finds_every_hidden_block_of_the_discriminator(make_dcgan):
    blocks = make_dcgan(32).hidden_blocks()
    assert len(blocks) == 3
    assert all(isinstance(block[-1], torch.nn.LeakyReLU) for block in blocks)
