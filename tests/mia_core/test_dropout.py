import copy

import pytest
import torch
from scipy.stats import binom

from mia_core.defenses import DEFENSES, Arm, Dropout
from mia_core.defenses.dropout import DropoutLayer
from mia_core.step_draws import STEP, Draws
from mia_core.streams import Streams


def layer(rate=0.3, index=0, seed=1, step=0):
    made = DropoutLayer(rate, index)
    made.begin(Draws(Streams(seed), block=STEP), step)
    return made.train()


def test_layer_is_the_identity_in_evaluation_mode():
    x = torch.randn(5, 7, generator=Streams(0).torch("x"))
    assert torch.equal(layer().eval()(x), x)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_elements_are_dropped_at_the_rate_and_scaled_so_that_the_mean_stays(p_value, rate):
    # Errs once in 1e6 seeds.
    y = layer(rate)(torch.ones(100_000))
    kept = y > 0
    assert p_value(int(kept.sum()), binom(100_000, 1 - rate)) > 1e-6
    torch.testing.assert_close(y[kept], torch.full((int(kept.sum()),), 1 / (1 - rate)))
    standard_error = (rate / (1 - rate) / 100_000) ** 0.5
    assert float(y.mean()) == pytest.approx(1, abs=5 * standard_error)


def test_mask_depends_on_stream_layer_and_step_only():
    x = torch.ones(200)
    torch.manual_seed(0)
    mask = layer()(x)
    torch.manual_seed(1)
    assert torch.equal(layer()(x), mask)
    assert torch.equal(layer()(2 * x), 2 * mask)
    for other in (layer(seed=2), layer(step=1), layer(index=1)):
        assert not torch.equal(other(x), mask)


def test_a_steps_masks_are_independent_of_what_was_drawn_before():
    made = layer()
    first = made(torch.ones(50))
    assert not torch.equal(made(torch.ones(50)), first)
    made.begin(Draws(Streams(1), block=STEP), 0)
    assert torch.equal(made(torch.ones(50)), first)


def test_gradients_pass_through_kept_elements_only():
    x = torch.ones(50, requires_grad=True)
    y = layer(0.5)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_records_of_one_vmapped_batch_get_masks_of_their_own():
    made = layer(0.5)
    masks = torch.func.vmap(lambda row: made(row), randomness="different")(torch.ones(20, 30))
    assert len({tuple(row.tolist()) for row in masks}) == 20


def test_one_layer_goes_behind_every_hidden_activation_and_nothing_is_drawn(make_dcgan):
    target = make_dcgan(32)
    weights = copy.deepcopy(target.state_dict())
    before = torch.random.get_rng_state()
    Arm.parse({"name": "dropout", "rate": 0.25}).modify(target)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(value, weights[name]) for name, value in target.state_dict().items())
    layers = [module for module in target.modules() if isinstance(module, DropoutLayer)]
    assert [made.index for made in layers] == [0, 1, 2]
    assert [made.rate for made in layers] == [0.25] * 3
    assert [block[-1] for block in target.hidden_blocks()] == layers
    assert not any(isinstance(module, DropoutLayer) for module in target.generator.modules())


def test_scores_in_evaluation_mode_are_those_without_dropout(make_dcgan):
    target = make_dcgan().eval()
    x = torch.randn(4, 1, 8, 8, generator=Streams(0).torch("x")).clamp(-1, 1)
    plain = target.discriminate(x)
    Arm.parse("dropout").modify(target)
    target.eval()
    assert torch.equal(target.discriminate(x), plain)
    target.train()
    assert not torch.equal(target.discriminate(x), plain)


def test_a_target_without_discriminator_is_refused(make_dcgan):
    class Generator(type(make_dcgan())):
        name = "generator_only"
        offers = frozenset({"samples", "latent", "generator"})

    assert DEFENSES.choose("dropout").build().refusal(make_dcgan()) is None
    only = Generator(make_dcgan().config, (1, 8, 8))
    assert Dropout(Dropout.Config()).refusal(only) == "dropout needs a discriminator, and generator_only has none"


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1])
def test_rates_outside_0_to_1_are_refused(rate):
    with pytest.raises(ValueError, match=f"rate: .*got {rate}"):
        DEFENSES.choose({"name": "dropout", "rate": rate})
