import copy

import pytest
import torch
from scipy.stats import chi2, kstest

from mia_core.data.pool import to_float
from mia_core.defenses import Arm, RandomLayer
from mia_core.defenses.noise_layer import GaussianNoise
from mia_core.step_draws import STEP, Draws
from mia_core.streams import Streams
from tests.mia_core.contract import ADVERSARIAL

NOISE = {"name": "noise_layer", "sigma": 0.5}


def purposes(trainer):
    """Step, purpose and shape of all that layers draw from now on."""
    given, drawn = [], trainer.layer_draws

    def noted(purpose, step, draw):
        given.append((step, purpose, draw.shape))
        return drawn(purpose, step, draw)

    trainer.layer_draws = noted
    return given


every_target = pytest.mark.parametrize("name", ADVERSARIAL)


def layer(sigma=0.3, index=0, seed=1, step=0):
    made = GaussianNoise(sigma, index)
    made.begin(Draws(Streams(seed), block=STEP), step)
    return made.train()


def test_layer_is_the_identity_in_evaluation_mode():
    x = torch.randn(5, 7, generator=Streams(0).torch("x"))
    assert torch.equal(layer().eval()(x), x)


@pytest.mark.parametrize("sigma", [0.1, 1.0, 4.0])
def test_noise_is_normal_of_deviation_sigma_around_what_comes_in(p_value, sigma):
    # Each of the two checks errs at most twice in 1e6 seeds.
    x = torch.linspace(-3, 3, 50_000)
    noise = ((layer(sigma)(x) - x) / sigma).double()
    assert p_value(float(noise.square().sum()), chi2(50_000)) > 1e-6
    assert kstest(noise.numpy(), "norm").pvalue > 1e-6


def test_noise_depends_on_stream_layer_and_step_only():
    x = torch.zeros(200)
    torch.manual_seed(0)
    noise = layer()(x)
    torch.manual_seed(1)
    assert torch.equal(layer()(x), noise)
    torch.testing.assert_close(layer()(x + 1), noise + 1)
    for other in (layer(seed=2), layer(step=1), layer(index=1)):
        assert not torch.equal(other(x), noise)


def test_noise_is_another_in_every_pass_and_for_every_record_and_the_same_when_a_step_is_begun_again():
    made = layer()
    first = made(torch.zeros(20, 30))
    assert len({tuple(row) for row in first.tolist()}) == 20
    assert not torch.equal(made(torch.zeros(20, 30)), first)
    made.begin(Draws(Streams(1), block=STEP), 0)
    assert torch.equal(made(torch.zeros(20, 30)), first)


def test_records_of_one_vmapped_batch_get_noise_of_their_own():
    noise = torch.func.vmap(lambda row: layer()(row), randomness="different")(torch.zeros(20, 30))
    assert len({tuple(row) for row in noise.tolist()}) == 20


def test_gradients_pass_through_unchanged():
    x = torch.ones(50, requires_grad=True)
    layer()(x).sum().backward()
    assert torch.equal(x.grad, torch.ones(50))


@every_target
def test_one_layer_goes_behind_the_last_hidden_block_and_nothing_is_drawn(make_target, name):
    target = make_target(name, 16)
    weights = copy.deepcopy(target.state_dict())
    before = torch.random.get_rng_state()
    Arm.parse(NOISE).modify(target)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert target.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[key]) for key, value in target.state_dict().items())
    (made,) = [module for module in target.modules() if isinstance(module, GaussianNoise)]
    assert target.hidden_blocks()[-1][-1] is made
    assert made.sigma == 0.5


@every_target
def test_scores_in_evaluation_mode_are_those_without_noise_and_samples_always(make_target, name):
    target = make_target(name).eval()
    x = torch.randn(4, 1, 8, 8, generator=Streams(0).torch("x")).clamp(-1, 1)
    z = torch.randn(4, 8, generator=Streams(0).torch("z"))
    with torch.no_grad():
        plain, images = target.discriminate(x), target.generate(z)
        Arm.parse(NOISE).modify(target)
        target.eval()
        assert torch.equal(target.discriminate(x), plain)
        assert torch.equal(target.generate(z), images)
        target.discriminator.train()
        assert not torch.equal(target.discriminate(x), plain)
        assert torch.equal(target.generate(z), images)


@every_target
def test_noise_is_redrawn_in_every_step_and_changes_what_is_learned(make_trainer, name):
    trainer = make_trainer(NOISE, name=name)
    (made,) = [module for module in trainer.target.modules() if isinstance(module, GaussianNoise)]
    given = purposes(trainer)
    trainer.run_to(4)
    assert sorted({step for step, *_ in given}) == [0, 1, 2, 3]
    assert len(set(given)) == len(given) == 4 * made.passes
    plain = make_trainer(name=name)
    plain.run_to(4)
    first = next(trainer.target.discriminator.parameters())
    assert not torch.allclose(first, next(plain.target.discriminator.parameters()))


def test_with_dropout_both_layers_draw_streams_of_their_own(make_trainer, make_images):
    trainer = make_trainer(["dropout", NOISE], name="vae_gan", size=16)
    given = purposes(trainer)
    trainer.run_to(1)
    layers = [m for block in trainer.target.hidden_blocks() for m in block if isinstance(m, RandomLayer)]
    assert [type(m).__name__ for m in layers] == ["DropoutLayer"] * 3 + ["GaussianNoise"]
    assert len({purpose.partition(" pass")[0] for _, purpose, *_ in given}) == 4
    assert len(set(given)) == len(given) == sum(layer.passes for layer in layers)
    x = to_float(torch.from_numpy(make_images(3, 16)))
    with torch.no_grad():
        assert torch.equal(trainer.target.discriminate(x), trainer.target.discriminate(x))


def test_its_sigma_is_no_noise_multiplier():
    arm = Arm.parse(NOISE)
    assert (arm.label, arm.strength, arm.columns()) == ("noise_layer 0.5", 0.5, {"sigma": 0.5})
    assert arm.delta is None
    assert arm.epsilon(0.1, 10) is None
    private = {"name": "dp_sgd", "sigma": 2.0, "clip": 0.5, "delta": 1e-3}
    both = Arm.parse([private, NOISE])
    columns = {"sigma": 2.0, "target_epsilon": None, "clip": 0.5, "delta": 1e-3, "noise_layer.sigma": 0.5}
    assert both.columns() == columns
    assert both.epsilon(0.1, 10) == Arm.parse(private).epsilon(0.1, 10)
    assert Arm.parse([NOISE, private]).epsilon(0.1, 10) == Arm.parse(private).epsilon(0.1, 10)


@pytest.mark.parametrize("sigma", [0.0, -1.0])
def test_a_sigma_that_is_not_positive_is_refused(sigma):
    with pytest.raises(ValueError, match=f"sigma: .*got {sigma}"):
        Arm.parse({"name": "noise_layer", "sigma": sigma})
