import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, kstest
from torch import nn
from torch.nn.functional import softplus

from mia_core import vision  # noqa: F401  before opacus, which reaches torchvision
from mia_core.data.pool import to_float
from mia_core.defenses import Arm
from mia_core.defenses.dp_sgd import PrivateGradients
from mia_core.errors import Refused
from mia_core.secret_draws import SecretDraws
from mia_core.step_draws import Draws, normal
from mia_core.streams import Streams
from tests.mia_core.one_record_at_a_time import (
    CLIP_ONLY,
    KEY,
    apply,
    clipped_sum,
    norm_of,
    oracle,
    real_loss,
)
from tests.mia_core.steps import take_step


@st.composite
def networks(draw):
    """Convolution with any stride, padding and groups, group norm, a second layer; and its image shape."""
    groups = draw(st.integers(1, 3))
    channels = groups * draw(st.integers(1, 2))
    hidden = groups * draw(st.integers(1, 3))
    kernel, stride, padding = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(0, 2))
    size = draw(st.integers(4, 9))
    after = (size + 2 * padding - kernel) // stride + 1
    layers = [nn.Conv2d(channels, hidden, kernel, stride, padding, groups=groups, bias=draw(st.booleans()))]
    if draw(st.booleans()):
        layers.append(nn.GroupNorm(groups, hidden))
    layers += [nn.LeakyReLU(0.2)]
    if draw(st.booleans()):
        layers += [nn.Flatten(), nn.Linear(hidden * after**2, 1)]
    else:
        layers += [nn.Conv2d(hidden, 1, after)]
    network = nn.Sequential(*layers)
    random = Streams(draw(st.integers(0, 10**6))).torch("weights")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(generator=random)
    return network, (channels, size, size)


@given(networks(), st.sampled_from([0, 1, 2, 7]), st.sampled_from([1e-4, 0.3, 3.0, 1e4]), st.booleans())
def test_clipped_sum_equals_one_record_at_a_time(case, batch, clip, double):
    network, shape = case
    records = torch.rand(batch, *shape, generator=Streams(batch).torch("records")) * 2 - 1
    slow = copy.deepcopy(network).double()
    total, losses, _ = oracle(slow, real_loss, records.double(), clip)
    asked = (slow, real_loss, records.double()) if double else (network, real_loss, records)
    fast, fast_losses = clipped_sum(*asked, clip)
    assert fast_losses.shape == (batch,)
    assert [g.shape for g in fast] == [p.shape for p in network.parameters()]
    scale = max(norm_of(total), 1e-12)
    difference = norm_of([a.double() - b for a, b in zip(fast, total, strict=True)])
    assert difference <= (1e-12 if double else 2e-4) * scale
    torch.testing.assert_close(fast_losses.double(), torch.tensor(losses, dtype=torch.float64), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:Full backward hook")
@pytest.mark.parametrize("size", [16, 28])
@pytest.mark.parametrize("norm", ["group", "none"])
def test_clipped_sum_equals_opacus_per_sample_gradients(make_dcgan, make_images, norm, size):
    from opacus import GradSampleModule

    network = make_dcgan(size, norm=norm).discriminator
    x = to_float(torch.from_numpy(make_images(6, size)))
    wrapped = GradSampleModule(copy.deepcopy(network), loss_reduction="sum")
    real_loss(wrapped, x).sum().backward()
    per_sample = [p.grad_sample for p in wrapped.parameters()]
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in per_sample]).norm(dim=0)
    clip = float(norms.median())
    factors = (clip / norms).clamp(max=1.0)
    assert 0 < (factors < 1).sum() < 6
    fast, _ = clipped_sum(network, real_loss, x, clip)
    theirs = [torch.einsum("b,b...->...", factors, part) for part in per_sample]
    # Ours clips by a bound of the norm, with room for rounding.
    assert norm_of([a - b for a, b in zip(fast, theirs, strict=True)]) <= 1e-3 * norm_of(theirs)


@given(networks(), st.sampled_from([1e-3, 0.5, 50.0]))
def test_removing_one_record_moves_the_sum_by_at_most_clip(case, clip):
    network, shape = case
    network = network.double()
    records = torch.rand(5, *shape, generator=Streams(1).torch("records"), dtype=torch.float64) * 2 - 1
    total, _ = clipped_sum(network, real_loss, records, clip)
    for i in range(5):
        rest, _ = clipped_sum(network, real_loss, torch.cat([records[:i], records[i + 1 :]]), clip)
        moved = norm_of([a - b for a, b in zip(total, rest, strict=True)])
        alone = oracle(network, real_loss, records[i : i + 1], clip)[2][0]
        assert moved == pytest.approx(min(clip, alone), rel=1e-9)


def test_removing_one_record_moves_a_dcgans_private_gradient_by_at_most_clip_over_batch(make_dcgan, make_images):
    # The same noise stream and step: all coins fixed.
    x = to_float(torch.from_numpy(make_images(5)))
    sums = []
    for records in (x, x[:2], x[:0]):
        network = make_dcgan().discriminator
        apply(PrivateGradients(2.0, 0.1, SecretDraws(KEY), 4.0), network, real_loss, records)
        sums.append([p.grad * 4.0 for p in network.parameters()])
    assert norm_of([a - b for a, b in zip(sums[0], sums[1], strict=True)]) <= 3 * 0.1 * (1 + 1e-4)
    assert norm_of([a - b for a, b in zip(sums[1], sums[2], strict=True)]) <= 2 * 0.1 * (1 + 1e-4)
    assert norm_of([a - b for a, b in zip(sums[0], sums[1], strict=True)]) > 0.1


def test_a_record_without_gradient_adds_zero_and_no_nan():
    network = nn.Linear(3, 1, bias=False)
    total, losses = clipped_sum(network, lambda f, x: f(x).flatten() * 0.0, torch.ones(4, 3), 1.0)
    assert torch.equal(total[0], torch.zeros(1, 3))
    assert torch.equal(losses, torch.zeros(4))


def test_frozen_parameters_get_no_gradient_and_count_in_no_norm():
    network = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 1, bias=False))
    network[0].weight.requires_grad_(False)
    x = torch.rand(4, 3, generator=Streams(0).torch("x"))
    total, _ = clipped_sum(network, real_loss, x, 1e-3)
    expected = oracle(network, real_loss, x, 1e-3)[0]
    assert len(total) == 1
    torch.testing.assert_close(total[0], expected[0])


def test_noise_is_normal_of_deviation_sigma_clip_over_expected_batch(p_value):
    # Errs twice in 1e6 seeds.
    network = nn.Linear(400, 50)
    apply(PrivateGradients(1.5, 0.2, SecretDraws(KEY), 8.0), network, real_loss, torch.zeros(0, 400))
    noise = torch.cat([p.grad.flatten() for p in network.parameters()]).double() / (1.5 * 0.2 / 8.0)
    assert noise.numel() == 20_050
    assert p_value(float(noise.square().sum()), chi2(20_050)) > 1e-6
    assert kstest(noise.numpy(), "norm").pvalue > 1e-6


def test_noise_is_new_in_every_parameter_call_and_training_and_the_same_under_the_same_key():
    def noise(key, number=0):
        rule = PrivateGradients(1.0, 1.0, SecretDraws(key), 1.0)
        rule.accountant.steps = number
        network = nn.Sequential(nn.Linear(5, 5, bias=False), nn.Linear(5, 5, bias=False))
        apply(rule, network, real_loss, torch.zeros(0, 5))
        first = [p.grad for p in network.parameters()]
        network.zero_grad()
        apply(rule, network, real_loss, torch.zeros(0, 5))
        return first, [p.grad for p in network.parameters()]

    torch.manual_seed(0)
    first, second = noise(KEY)
    torch.manual_seed(1)
    assert all(torch.equal(a, b) for a, b in zip(first, noise(KEY)[0], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(second, noise(KEY, 1)[0], strict=True))
    drawn = SecretDraws(KEY).normal("noise", 0, 50)
    assert torch.equal(torch.cat([part.flatten() for part in first]), drawn)
    different = [*first, *second, noise(bytes(32))[0][0], noise(None)[0][0], noise(None)[0][0]]
    assert len({tuple(t.flatten().tolist()) for t in different}) == len(different)


def test_private_gradients_are_added_to_what_is_there_and_report_the_losses():
    network = nn.Linear(3, 1)
    x = torch.rand(4, 3, generator=Streams(0).torch("x"))
    rule = PrivateGradients(0.0, 0.05, SecretDraws(KEY), 8.0)
    losses = apply(rule, network, real_loss, x)
    total = oracle(network, real_loss, x, 0.05)[0]
    torch.testing.assert_close(losses, real_loss(network, x).detach())
    for parameter, expected in zip(network.parameters(), total, strict=True):
        torch.testing.assert_close(parameter.grad, expected / 8.0)
    apply(rule, network, real_loss, x)
    for parameter, expected in zip(network.parameters(), total, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * expected / 8.0)


@pytest.mark.parametrize("records", [0, 6])
def test_gradients_of_generated_records_are_untouched(make_dcgan, make_images, records):
    # The whole DCGAN step: private part of the real records + the plain, unclipped mean over the generated ones.
    target = make_dcgan(16).train()
    slow = copy.deepcopy(target)
    x = to_float(torch.from_numpy(make_images(records, 16)))
    rule = PrivateGradients(0.0, 1e-3, SecretDraws(KEY), 4.0)
    take_step(target, x, rule=rule)

    fake = slow.generate(Draws(Streams(3))("latent", 0, normal(5, 8))).detach()
    total = oracle(slow.discriminator, real_loss, x, 1e-3)[0]
    softplus(slow.discriminate(fake)).mean().backward()
    for fast, parameter, private in zip(
        target.discriminator.parameters(), slow.discriminator.parameters(), total, strict=True
    ):
        torch.testing.assert_close(fast.grad, private / 4.0 + parameter.grad, rtol=1e-4, atol=1e-6)


def test_arm_divides_by_the_expected_batch(make_trainer):
    trainer = make_trainer(CLIP_ONLY)
    assert trainer.learner.rule.expected_batch == 4
    assert trainer.learner.rule.clip == 1.0


@pytest.mark.slow
def test_empty_batches_pass_through_whole_training(make_trainer):
    trainer = make_trainer({**CLIP_ONLY, "sigma": 1.0, "delta": 0.1}, count=3, batch_size=2)
    sizes = []
    private = trainer.learner.rule

    def counted(networks, losses, records, rows):
        sizes.append(int((rows.units >= 0).sum()))
        return private(networks, losses, records, rows)

    trainer.learner.rule = counted
    trainer.run_to(300)
    assert 0 in sizes
    assert max(sizes) > 0
    assert len(trainer.history) == 200
    assert any("d_real" not in row.means for row in trainer.history), "some epoch of a step saw no record"
    assert all(math.isfinite(row.means["loss_discriminator"]) for row in trainer.history)
    assert all(bool(p.isfinite().all()) for p in trainer.target.parameters())


@pytest.mark.parametrize("name", ["dcgan", "wgan_gp", "vae_gan"])
@pytest.mark.parametrize("kept", [0, 1, 4])
def test_rows_of_padding_change_nothing_whatever_they_hold(make_target, make_images, name, kept):
    # To the bit: parameters, buffers, and what history reports.
    x = to_float(torch.from_numpy(make_images(4, 16)))
    found = []
    for filled in (0.0, 1e6):
        target = make_target(name, 16).train()
        rule = PrivateGradients(1.0, 0.1, SecretDraws(KEY), 4.0)
        units = torch.tensor([0, 1, 2, 3])
        units[kept:] = -1
        rows = torch.cat([x[:kept], torch.full_like(x[kept:], filled)])
        history = take_step(target, rows, rule=rule, units=units)
        found.append([*target.state_dict().values(), *history.values()])
        assert ("d_real" in history) == (kept > 0)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_target_with_a_layer_whose_single_gradients_are_not_known_is_refused(make_target):
    target = make_target("dcgan")
    target.discriminator.append(nn.PReLU())
    reason = Arm.parse(CLIP_ONLY).refusal(target)
    assert reason == "dp_sgd knows no gradient of a single record for PReLU in the discriminator"


def test_a_target_whose_buffers_take_up_records_is_refused(make_target):
    target = make_target("dcgan")
    target.discriminator.append(nn.InstanceNorm2d(1, track_running_stats=True))
    reason = Arm.parse(CLIP_ONLY).refusal(target)
    assert reason == "dp_sgd does not cover the running statistics of InstanceNorm2d in the discriminator"
    target.discriminator[-1] = nn.InstanceNorm2d(1)
    assert Arm.parse(CLIP_ONLY).refusal(target) is None


@pytest.mark.parametrize("sigma", [1e7, 1e308, 9e-7, 1e-200, 5e-324])
def test_noise_whose_square_is_beyond_floating_point_is_refused(sigma):
    with pytest.raises(Refused, match="sigma"):
        Arm.parse({"name": "dp_sgd", "sigma": sigma, "clip": 1.0, "delta": 1e-5})
