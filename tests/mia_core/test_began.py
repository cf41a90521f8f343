import copy

import pytest
import torch

from mia_core.models import Snapshot
from mia_core.step_draws import Draws, normal
from mia_core.streams import Streams
from mia_core.targets import TARGETS
from tests.mia_core.steps import floats, sgd, take_step

NETWORKS = ("discriminator", "generator")


def error(target, x):
    """L: mean absolute reconstruction error over all pixels and records."""
    return (x - target.discriminator(x)).abs().mean()


def images_of(target, z):
    """G(z) of the paper's latents, uniform in [-1, 1]."""
    return target.generator(2 * torch.special.ndtr(z) - 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 16, 28, 32, 64])
def test_shapes_and_ranges(make_target, make_images, size, channels):
    target = make_target("began", size, channels).eval()
    x = floats(make_images(2, size, channels))
    with torch.no_grad():
        fake = target.generate(torch.randn(3, 8, generator=Streams(0).torch("z")))
        score, code = target.discriminate(x), target.discriminator[:-1]
        assert target.discriminator(x).shape == x.shape
    assert fake.shape == (3, channels, size, size)
    assert float(fake.abs().max()) <= 1
    assert score.shape == (2,)
    assert target.latent_dimension == 8
    bottlenecks = [layer.out_features for layer in code if isinstance(layer, torch.nn.Linear)]
    assert bottlenecks[0] == 8, "the encoder must not let the image pass unchanged"


@pytest.mark.parametrize(("size", "smallest"), [(8, 8), (16, 8), (28, 7), (32, 8), (64, 8)])
def test_maps_shrink_to_8_pixels_or_7_and_channels_grow_by_the_width(make_target, size, smallest):
    target = make_target("began", size)
    x, widths = torch.zeros(1, 1, size, size), []
    for block in target.hidden_blocks():
        x = block(x)
        widths.append(x.shape[1])
    assert x.shape[2:] == (smallest, smallest)
    assert widths == [4 * level for level in range(2, len(widths) + 1)] + [4 * len(widths)]
    assert all(isinstance(block[-1], torch.nn.ELU) for block in target.hidden_blocks())


@pytest.mark.parametrize(
    ("shape", "message"), [((1, 16, 12), "square"), ((1, 4, 4), "at least 8"), ((1, 34, 34), "34")]
)
def test_sizes_that_do_not_halve_are_refused_with_sizes_that_do(shape, message):
    with pytest.raises(ValueError, match=f"target: began .*{message}"):
        TARGETS.choose("began").build(shape)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"diversity": 0.0}, "diversity: .*greater than 0"),
        ({"diversity": 1.5}, "diversity: .*less than or equal to 1"),
        ({"balance_rate": -0.1}, "balance_rate: .*greater than or equal to 0"),
        ({"norm": "group"}, "norm: unknown key"),
    ],
)
def test_settings_outside_their_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TARGETS.choose({"name": "began", **changes})


def test_initialization_depends_on_its_streams_only(make_target):
    weights = []
    for global_seed, seed in ((0, 4), (1, 4), (1, 5)):
        torch.manual_seed(global_seed)
        weights.append(make_target("began", 16, seed=seed).state_dict())
    first, again, other = weights
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = [name for name in first if len(torch.unique(first[name])) > 1]
    assert len(drawn) == len([name for name in first if name.endswith("weight")])
    assert all(not torch.equal(first[name], other[name]) for name in drawn)


def test_initialization_forgets_the_balance(make_target):
    target = make_target("began")
    target.balance.fill_(0.7)
    target.initialize(Streams(0))
    assert float(target.balance) == 0


def test_the_score_is_minus_the_reconstruction_error_of_each_record(make_target, make_images):
    target = make_target("began", 16, 3).eval()
    x = floats(make_images(4, 16, 3))
    with torch.no_grad():
        expected = [-float(error(target, x[i : i + 1])) for i in range(4)]
        assert target.discriminate(x).tolist() == pytest.approx(expected, rel=1e-5)
        copied = target.discriminator(x)
        close = 0.9 * copied + 0.1 * x
    assert close.shape == x.shape
    assert len(set(expected)) == 4


def test_scores_and_samples_do_not_depend_on_batching_or_other_records(make_trainer, make_images):
    trainer = make_trainer(name="began")
    trainer.run_to(6)
    x, z = floats(make_images(9, seed=1)), torch.randn(7, 8, generator=Streams(0).torch("z"))
    with torch.no_grad():
        for function, inputs in ((trainer.target.discriminate, x), (trainer.target.generate, z)):
            together = function(inputs)
            assert together.std() > 0
            torch.testing.assert_close(torch.cat([function(row[None]) for row in inputs]), together, atol=1e-5, rtol=0)


def test_samples_are_clamped_in_every_mode_and_what_a_step_trains_on_is_not(make_target):
    target = make_target("began")
    with torch.no_grad():
        target.generator[-1].weight.mul_(50)
        z = torch.randn(6, 8, generator=Streams(0).torch("z"))
        free = target.images({"generator": target.generator}, z)
        assert float(free.abs().max()) > 1.5
        for mode in (True, False):
            assert torch.equal(target.train(mode).generate(z), free.clamp(-1, 1))
        assert float(Snapshot(target.train(), Streams(1)).samples(20).abs().max()) == 1


def test_latents_are_uniform_before_the_generator(make_target, p_value):
    # Errs once in 1e6 seeds.
    from scipy.stats import kstest

    target = make_target("began")
    seen = []
    target.generator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    target.generate(torch.randn(500, 8, generator=Streams(0).torch("z")))
    assert kstest(seen[0].flatten().numpy(), "uniform", args=(-1, 2)).pvalue > 1e-6


@pytest.mark.parametrize("generator_learns", [True, False])
@pytest.mark.parametrize(("contrasted", "diversity"), [(0, 0.6), (0, 0.2), (2, 0.6)])
def test_steps_equal_the_formulas_written_out(make_target, make_images, generator_learns, contrasted, diversity):
    # Mistake 1 of published code: a sampler that only drew label 1. Both sides must reach the discriminator. L(G(z)) is
    # below diversity * L(x) at 0.6, so that k rises, and above it at 0.2.
    target = make_target("began", 16, balance_rate=0.5, diversity=diversity).train()
    target.balance.fill_(0.3)
    slow = copy.deepcopy(target)
    optimizers, slow_optimizers = sgd(target), sgd(slow)
    k = 0.3
    for number in range(4):
        x = floats(make_images(6, 16, seed=number))
        contrast = floats(make_images(contrasted, 16, seed=50 + number)) if contrasted else None
        history = take_step(target, x, number, generator_learns, contrast=contrast, optimizers=optimizers)

        z = Draws(Streams(3))("latent", number, normal(5, 8))
        fake = images_of(slow, z)
        loss_real, loss_generated = error(slow, x), error(slow, fake)
        side = fake.detach() if contrast is None else torch.cat([fake.detach(), contrast])
        loss_fake = error(slow, side)
        values = [float(loss.detach()) for loss in (loss_real, loss_generated, loss_fake)]
        known = None if contrast is None else float(error(slow, contrast).detach())
        discriminator, generator = (list(slow.get_submodule(name).parameters()) for name in NETWORKS)
        gradients = {
            "discriminator": torch.autograd.grad(loss_real - k * loss_fake, discriminator),
            "generator": torch.autograd.grad(loss_generated, generator),
        }
        learning = NETWORKS if generator_learns else ("discriminator",)
        for name in learning:
            for parameter, gradient in zip(slow.get_submodule(name).parameters(), gradients[name], strict=True):
                parameter.grad = gradient
            for fast, gradient in zip(target.get_submodule(name).parameters(), gradients[name], strict=True):
                torch.testing.assert_close(fast.grad, gradient, rtol=1e-4, atol=1e-6)
            slow_optimizers[name].step()
        real, generated, fake_side = values
        expected = {
            "loss_discriminator": real - k * fake_side,
            "d_real": real,
            "d_fake": fake_side,
            "convergence": real + abs(diversity * real - generated),
            "balance": k,
            **({"loss_generator": generated} if generator_learns else {}),
            **({} if contrast is None else {"d_known": known}),
        }
        assert {key: float(value) for key, value in history.items()} == pytest.approx(expected, rel=1e-4)
        k = min(1.0, max(0.0, k + 0.5 * (diversity * real - generated)))
        assert float(target.balance) == pytest.approx(k, rel=1e-4)
        for (name, fast), reference in zip(target.state_dict().items(), slow.state_dict().values(), strict=True):
            if name != "balance":
                torch.testing.assert_close(fast, reference, rtol=1e-4, atol=1e-6, msg=name)
    assert k > 0.31 if diversity == 0.6 else k < 0.29


def test_the_balance_stays_between_0_and_1(make_target, make_images):
    # Fakes far worse than reals drive k down, reals far worse than fakes drive it up.
    for gain, start, end in ((100.0, 0.2, 0.0), (0.0, 0.9, 1.0)):
        target = make_target("began", balance_rate=1.0).train()
        target.balance.fill_(start)
        with torch.no_grad():
            target.generator[-1].weight.mul_(gain)
        # Two passes through the networks: a first step outside the interval would show in the second.
        for number in range(2):
            take_step(target, floats(make_images(6)) / 0.2, number, generator_learns=False)
        assert float(target.balance) == end


def test_a_discriminator_alone_is_no_began(make_target, make_images):
    target = make_target("began").train()
    with pytest.raises(AssertionError, match="no equilibrium"):
        take_step(target, floats(make_images(4)), fakes=0, contrast=floats(make_images(4, seed=1)))


def test_contrast_does_not_move_the_balance(make_target, make_images):
    # Known non-members reconstruct as well as the real side; if they moved k, it would stay at 0 and drop them.
    balances = []
    for contrast in (None, floats(make_images(5, seed=1))):
        target = make_target("began", balance_rate=0.5).train()
        take_step(target, floats(make_images(4)), contrast=contrast)
        balances.append(float(target.balance))
    assert balances[0] == balances[1] > 0


def test_each_network_learns_from_its_own_loss_only(make_target, make_images):
    # At k = 0 nothing generated reaches the discriminator, whatever the generator's loss is; and the reverse: the real
    # records reach no parameter of the generator.
    gradients = []
    for seed, real in ((3, 0), (4, 0), (3, 1)):
        target = make_target("began").train()
        take_step(target, floats(make_images(4, seed=real)), seed=seed)
        gradients.append({name: [p.grad.clone() for p in target.get_submodule(name).parameters()] for name in NETWORKS})

    def same(a, b, name):
        return all(torch.equal(x, y) for x, y in zip(gradients[a][name], gradients[b][name], strict=True))

    assert same(0, 1, "discriminator")
    assert not same(0, 1, "generator")
    assert same(0, 2, "generator")
    assert not same(0, 2, "discriminator")


def test_a_step_without_the_generator_leaves_its_weights_and_gradients_alone(make_target, make_images):
    target = make_target("began").train()
    before = copy.deepcopy(target.generator)
    take_step(target, floats(make_images(4)), generator_learns=False)
    for name, parameter in before.named_parameters():
        assert torch.equal(target.generator.get_parameter(name), parameter)
        assert target.generator.get_parameter(name).grad is None


def test_optimizers_are_adam_each_with_its_own_network(make_target):
    target = make_target("began")
    optimizers = target.optimizers(2e-3, 0.4)
    assert set(optimizers) == set(NETWORKS)
    for name, optimizer in optimizers.items():
        (group,) = optimizer.param_groups
        assert isinstance(optimizer, torch.optim.Adam)
        assert (group["lr"], group["betas"], group["weight_decay"]) == (2e-3, (0.4, 0.999), 0)
        own = {id(parameter) for parameter in target.get_submodule(name).parameters()}
        assert {id(parameter) for parameter in group["params"]} == own


def test_the_balance_goes_on_from_where_it_was_and_history_tells_it(make_trainer):
    begun = make_trainer(name="began", balance_rate=0.3, diversity=1.0, generator_every=2)
    begun.run_to(6)
    tensors, rest = begun.state()
    assert float(tensors["target.balance"]) == float(begun.target.balance) > 0.01
    resumed = make_trainer(name="began", balance_rate=0.3, diversity=1.0, generator_every=2)
    resumed.restore(tensors, rest)
    assert torch.equal(resumed.target.balance, begun.target.balance)
    for trainer in (begun, resumed):
        trainer.run_to(8)
        assert [row.epoch for row in trainer.history] == [1, 2]
        for row in trainer.history:
            assert {"convergence", "balance"} <= row.means.keys()
    assert begun.history[1].means == resumed.history[1].means
    assert torch.equal(resumed.target.balance, begun.target.balance)


@pytest.mark.slow
def test_a_began_learns_to_reconstruct_its_records_and_not_others(make_trainer, make_images):
    # Ten random images through a bottleneck of 8: only what was trained on is reconstructed.
    trainer = make_trainer(name="began", count=10)
    trainer.run_to(300)
    assert trainer.history[-1].means["convergence"] < 0.7 * trainer.history[0].means["convergence"]
    snapshot = Snapshot(trainer.target, Streams(0))
    real = snapshot.discriminate(floats(make_images(10)))
    assert float(real.mean()) > float(snapshot.discriminate(floats(make_images(50, seed=9))).max())
