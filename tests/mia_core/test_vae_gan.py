import copy

import pytest
import torch
from torch.nn.functional import logsigmoid

from mia_core.step_draws import Draws, normal
from mia_core.streams import Streams
from mia_core.targets import TARGETS
from tests.mia_core.steps import floats, grads, same_grads, sgd, take_step

NETWORKS = ("discriminator", "generator", "encoder")
NORMS = ["group", "batch", "none"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 16, 28, 32, 64])
def test_shapes_and_ranges(make_target, make_images, size, channels):
    target = make_target("vae_gan", size, channels)
    x = floats(make_images(2, size, channels))
    with torch.no_grad():
        fake = target.generate(torch.randn(3, 8, generator=Streams(0).torch("z")))
        score, posterior = target.discriminate(x), target.encoder(x)
        logits, features = target.discriminator(x)
    assert fake.shape == (3, channels, size, size)
    assert float(fake.abs().max()) <= 1
    assert score.shape == (2,)
    assert torch.equal(logits, score)
    assert features.ndim == 2
    assert posterior.shape == (2, 16)
    assert target.latent_dimension == 8


@pytest.mark.parametrize(
    ("shape", "message"), [((1, 16, 12), "square"), ((1, 4, 4), "at least 8"), ((1, 36, 36), "36")]
)
def test_sizes_that_do_not_halve_are_refused_with_sizes_that_do(shape, message):
    with pytest.raises(ValueError, match=f"target: vae_gan .*{message}"):
        TARGETS.choose("vae_gan").build(shape)


def test_the_norm_is_that_of_all_three_networks(make_target):
    kinds = (torch.nn.GroupNorm, torch.nn.BatchNorm2d)
    for norm, own in zip(NORMS, (kinds[:1], kinds[1:], ()), strict=True):
        for name in NETWORKS:
            found = {type(m) for m in make_target("vae_gan", 16, norm=norm).get_submodule(name).modules()}
            assert found & set(kinds) == set(own)


@pytest.mark.parametrize("norm", NORMS)
def test_initialization_depends_on_its_streams_only(make_target, norm):
    weights = []
    for global_seed, seed in ((0, 4), (1, 4), (1, 5)):
        torch.manual_seed(global_seed)
        weights.append(make_target("vae_gan", 16, seed=seed, norm=norm).state_dict())
    first, again, other = weights
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = [name for name in first if len(torch.unique(first[name])) > 1]
    assert len(drawn) >= 10
    assert all(not torch.equal(first[name], other[name]) for name in drawn)
    assert not torch.equal(first["encoder.0.0.weight"], first["discriminator.blocks.0.0.weight"])


@pytest.mark.parametrize("norm", NORMS)
def test_scores_and_samples_do_not_depend_on_batching_or_other_records(make_trainer, make_images, norm):
    # Mistake 5 of published code: batch statistics of whoever is queried together leaking into a score.
    trainer = make_trainer(name="vae_gan", norm=norm)
    trainer.run_to(6)
    x, z = floats(make_images(9, seed=1)), torch.randn(7, 8, generator=Streams(0).torch("z"))
    with torch.no_grad():
        for function, inputs in ((trainer.target.discriminate, x), (trainer.target.generate, z)):
            together = function(inputs)
            assert together.std() > 0
            torch.testing.assert_close(torch.cat([function(row[None]) for row in inputs]), together, atol=1e-5, rtol=0)


def written_out(slow, x, fakes, contrast, number, weight, generator_learns, seed=3):
    """The paper's algorithm 1 in plain words: the gradients of each network, and the losses."""
    noise = Draws(Streams(seed))("posterior", number, normal(len(x), 8))
    fake = None
    if fakes:
        fake = slow.generate(Draws(Streams(seed))("latent", number, normal(fakes, 8)))
    side = torch.cat([part.detach() for part in (fake, contrast) if part is not None])
    logit_real, features_real = slow.discriminator(x)
    real = -logsigmoid(logit_real).mean()
    losses = {"d_real": logit_real.sigmoid().mean(), "discriminator": real}
    if fakes:
        mean, log_variance = slow.encoder(x)[:, :8], slow.encoder(x)[:, 8:]
        posterior = torch.distributions.Normal(mean, log_variance.exp().sqrt())
        prior = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
        decoded = slow.generate(mean + posterior.stddev * noise)
        logit_decoded, features_decoded = slow.discriminator(decoded)
        likeness = 0.5 * ((features_real - features_decoded) ** 2).sum(1).mean()
        losses["discriminator"] = real - logsigmoid(-logit_decoded).mean()
        losses["encoder"] = prior + likeness
        losses["generator"] = weight * likeness - logsigmoid(logit_decoded).mean()
    logit_fake = slow.discriminator(side)[0]
    losses["d_fake"] = logit_fake.sigmoid().mean()
    losses["discriminator"] = losses["discriminator"] - logsigmoid(-logit_fake).mean()
    if generator_learns:
        losses["generator"] = losses["generator"] - logsigmoid(slow.discriminator(fake)[0]).mean()
    learning = NETWORKS if generator_learns else ("discriminator",)
    gradients = {
        name: torch.autograd.grad(losses[name], list(slow.get_submodule(name).parameters()), retain_graph=True)
        for name in learning
    }
    return gradients, {name: float(losses[name].detach()) for name in (*learning, "d_real", "d_fake")}


@pytest.mark.parametrize("norm", ["group", "none"])
@pytest.mark.parametrize(
    ("fakes", "contrasted", "generator_learns"),
    [(5, 0, True), (5, 0, False), (3, 2, True), (3, 2, False), (0, 5, False)],
)
def test_steps_equal_the_formulas_written_out(make_target, make_images, norm, fakes, contrasted, generator_learns):
    # Mistake 1 of published code: a sampler that only drew label 1. Both labels must reach the discriminator.
    target = make_target("vae_gan", 16, norm=norm, reconstruction_weight=0.2).train()
    slow = copy.deepcopy(target)
    optimizers, slow_optimizers = sgd(target), sgd(slow)
    for number in range(3):
        x = floats(make_images(6, 16, seed=number))
        contrast = floats(make_images(contrasted, 16, seed=50 + number)) if contrasted else None
        asked = {"fakes": fakes, "contrast": contrast, "optimizers": optimizers}
        history = take_step(target, x, number, generator_learns, **asked)
        gradients, losses = written_out(slow, x, fakes, contrast, number, 0.2, generator_learns)
        for name, parts in gradients.items():
            for fast, gradient in zip(target.get_submodule(name).parameters(), parts, strict=True):
                torch.testing.assert_close(fast.grad, gradient, rtol=1e-3, atol=1e-5)
            for parameter, gradient in zip(slow.get_submodule(name).parameters(), parts, strict=True):
                parameter.grad = gradient
            slow_optimizers[name].step()
        expected = {name if name.startswith("d_") else f"loss_{name}": value for name, value in losses.items()}
        assert {key: float(value) for key, value in history.items()} == pytest.approx(expected, rel=1e-4)
        for (name, fast), reference in zip(target.state_dict().items(), slow.state_dict().values(), strict=True):
            torch.testing.assert_close(fast, reference, rtol=1e-3, atol=1e-5, msg=name)


def test_batch_statistics_are_of_real_decoded_and_generated_records(make_target, make_images):
    # Three passes of the discriminator with the generator's own, in this order, as in DCGAN; the encoder has one.
    target = make_target("vae_gan", 16, norm="batch").train()
    take_step(target, floats(make_images(6, 16)))
    counts = {name: int(v) for name, v in target.named_buffers() if name.endswith("num_batches_tracked")}
    assert {counts[name] for name in counts if name.startswith("encoder")} == {1}
    assert {counts[name] for name in counts if name.startswith("generator")} == {2}
    assert {counts[name] for name in counts if name.startswith("discriminator")} == {4}


@pytest.mark.parametrize("network", NETWORKS)
def test_only_its_own_loss_reaches_a_network(make_target, make_images, network):
    # Turning any other network's term around changes no gradient of this one.
    def run(turned):
        target = make_target("vae_gan").train()
        plain = target.real_losses
        target.real_losses = lambda *arguments: {
            name: -v if name == turned else v for name, v in plain(*arguments).items()
        }
        take_step(target, floats(make_images(4)))
        return grads(target, network)

    for turned in NETWORKS:
        assert same_grads(run(turned), run(None)) == (turned != network)


def test_the_reconstruction_weight_reaches_the_generator_alone(make_target, make_images):
    found = {}
    for weight in (0.0, 10.0):
        target = make_target("vae_gan", reconstruction_weight=weight).train()
        take_step(target, floats(make_images(4)))
        found[weight] = {name: grads(target, name) for name in NETWORKS}
    assert same_grads(found[0.0]["encoder"], found[10.0]["encoder"])
    assert same_grads(found[0.0]["discriminator"], found[10.0]["discriminator"])
    assert not same_grads(found[0.0]["generator"], found[10.0]["generator"])


@pytest.mark.parametrize("fakes", [5, 0])
def test_a_step_of_the_discriminator_alone_leaves_the_others_weights_and_gradients_alone(
    make_target, make_images, fakes
):
    target = make_target("vae_gan").train()
    before = copy.deepcopy(target)
    contrast = floats(make_images(3, seed=2))
    take_step(target, floats(make_images(4)), generator_learns=False, fakes=fakes, contrast=contrast)
    for network in ("generator", "encoder"):
        assert all(gradient is None for gradient in grads(target, network))
        for name, parameter in before.get_submodule(network).named_parameters():
            assert torch.equal(target.get_submodule(network).get_parameter(name), parameter)


def test_posterior_noise_depends_on_the_steps_number_and_stream_only(make_target, make_images):
    found = []
    for global_seed, number, seed in ((0, 1, 3), (1, 1, 3), (0, 2, 3), (0, 1, 4)):
        torch.manual_seed(global_seed)
        target = make_target("vae_gan").train()
        take_step(target, floats(make_images(4)), number, seed=seed)
        found.append(grads(target, "encoder"))
    assert same_grads(found[0], found[1])
    assert not same_grads(found[0], found[2])
    assert not same_grads(found[0], found[3])


def test_optimizers_are_rmsprop_each_with_its_own_network(make_target):
    target = make_target("vae_gan")
    optimizers = target.optimizers(2e-3, 0.4)
    assert set(optimizers) == set(NETWORKS) == set(target.private)
    for name, optimizer in optimizers.items():
        (group,) = optimizer.param_groups
        assert isinstance(optimizer, torch.optim.RMSprop)
        assert (group["lr"], group["weight_decay"], group["momentum"]) == (2e-3, 0, 0)
        own = {id(parameter) for parameter in target.get_submodule(name).parameters()}
        assert {id(parameter) for parameter in group["params"]} == own


def test_generator_and_encoder_learn_in_every_third_step_where_so_asked(make_trainer):
    trainer = make_trainer(name="vae_gan", generator_every=3)
    for stop in range(1, 7):
        before = copy.deepcopy(trainer.target)
        trainer.run_to(stop)
        for name in NETWORKS:
            moved = any(
                not torch.equal(p, q)
                for p, q in zip(
                    trainer.target.get_submodule(name).parameters(),
                    before.get_submodule(name).parameters(),
                    strict=True,
                )
            )
            assert moved == (name == "discriminator" or stop in (1, 4))
    assert trainer.history[0].means.keys() == {
        "loss_discriminator", "loss_generator", "loss_encoder", "d_real", "d_fake",
    }  # fmt: skip


@pytest.mark.slow
def test_a_vae_gan_learns_to_reconstruct_its_records(make_trainer, make_images):
    # After training, a record's decoded posterior mean is nearer to it than to the other records, more often than not:
    # 1 in 10 by chance, so that 6 or more of 10 has a probability of 1.5e-4.
    trainer = make_trainer(name="vae_gan", count=10, reconstruction_weight=1.0)
    trainer.run_to(250)
    x = floats(make_images(10))
    with torch.no_grad():
        decoded = trainer.target.generate(trainer.target.encoder(x)[:, :8])
    nearest = torch.cdist(decoded.flatten(1), x.flatten(1)).argmin(1)
    assert int((nearest == torch.arange(10)).sum()) >= 6
