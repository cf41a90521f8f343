"""DP-SGD of targets that learn from records alone: a VAE's two networks, a diffusion model's attention and times.

And its `noise_draws`: the mean gradient over several draws of a record's random numbers is clipped as a whole.
"""

import copy

import pytest
import torch

from mia_core import vision  # noqa: F401  before opacus, which reaches torchvision
from mia_core.batches import Rows
from mia_core.data.pool import to_float
from mia_core.defenses import Arm
from mia_core.defenses.clipping import clipped_sums
from mia_core.defenses.dp_sgd import PrivateGradients
from mia_core.secret_draws import SecretDraws
from mia_core.step_draws import Draws
from mia_core.streams import Streams
from tests.mia_core.one_record_at_a_time import CLIP_ONLY, KEY, norm_of
from tests.mia_core.steps import take_step

CASES = {
    "vae": {"name": "vae"},
    "vae bernoulli": {"name": "vae", "norm": "none", "likelihood": "bernoulli", "beta": 3.0},
    "ddpm": {"name": "ddpm", "multipliers": [1, 2], "attention": 8},
    "ddpm deep": {"name": "ddpm", "width": 8, "multipliers": [1, 1, 2], "blocks": 2, "attention": 8, "channels": 3},
}
every_case = pytest.mark.parametrize("case", CASES)


def stirred(target):
    """With weights that are all away from zero: a residual branch that begins at zero has no gradient in it."""
    random = Streams(8).torch("weights")
    with torch.no_grad():
        for network in (target.get_submodule(name) for name in target.networks):
            for parameter in network.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=random)
    return target


def given(make_target, make_images, case, count, dtype=torch.float64):
    """A target, its networks, and records with their random numbers."""
    spec = dict(CASES[case])
    target = stirred(make_target(spec.pop("name"), 16, **spec)).to(dtype).train()
    networks = {name: target.get_submodule(name) for name in target.networks}
    x = to_float(torch.from_numpy(make_images(count, 16, channels=spec.get("channels", 1)))).to(dtype)
    draws = Draws(Streams(1))
    drawn = [draws(name, 0, draw) for name, draw in target.record_draws(count).items()]
    return target, networks, (x, *(part.to(dtype) if part.is_floating_point() else part for part in drawn))


def gradients_of(networks, loss):
    """Of every network's parameters, in order; the loss is one number, the same for all networks."""
    return torch.autograd.grad(loss, [p for network in networks.values() for p in network.parameters()])


def one_at_a_time(target, networks, records, rows_per_unit=1):
    """Each unit's gradient of its mean loss, by plain autograd."""
    found = []
    for start in range(0, len(records[0]), rows_per_unit):
        losses = target.record_losses(networks, *(part[start : start + rows_per_unit] for part in records))
        assert all(torch.equal(losses[name], losses[target.networks[0]]) for name in target.networks)
        found.append(gradients_of(networks, losses[target.networks[0]].mean()))
    return found


def clipped(gradients, clip):
    sums = [torch.zeros_like(part) for part in gradients[0]]
    for own in gradients:
        for total, part in zip(sums, own, strict=True):
            total += part * min(1.0, clip / norm_of(own))
    return sums


def every(networks, sums):
    return [part for name in networks for part in sums[name]]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@every_case
def test_all_networks_are_clipped_together_as_one_record_at_a_time(make_target, make_images, case, share):
    target, networks, records = given(make_target, make_images, case, 5)
    gradients = one_at_a_time(target, networks, records)
    assert all(float(part.norm()) > 0 for own in gradients for part in own), "each parameter is looked at"
    norms = sorted(map(norm_of, gradients))
    clip = {0.0: 0.5 * norms[0], 0.5: norms[2], 1.0: 2 * norms[-1]}[share]  # all, some, none are clipped
    sums, values = clipped_sums(networks, target.record_losses, records, clip)
    for fast, slow in zip(every(networks, sums), clipped(gradients, clip), strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-9 * clip)
    losses = target.record_losses(networks, *records)
    assert values.keys() == losses.keys()
    torch.testing.assert_close(values[target.networks[0]], losses[target.networks[0]].detach())


@pytest.mark.filterwarnings("ignore")  # of opacus, on hooks
def test_a_records_gradients_are_those_of_opacus(make_target, make_images):
    from opacus import GradSampleModule

    # The denoiser alone: one module, as opacus wants it.
    target, networks, (x, t, eps) = given(make_target, make_images, "ddpm", 5)
    wrapped = GradSampleModule(copy.deepcopy(target.denoiser), loss_reduction="sum", strict=False)
    target.record_losses({"denoiser": wrapped}, x, t, eps)["denoiser"].sum().backward()
    for number, own in enumerate(one_at_a_time(target, networks, (x, t, eps))):
        for theirs, part in zip(wrapped.parameters(), own, strict=True):
            torch.testing.assert_close(theirs.grad_sample[number], part, rtol=1e-8, atol=1e-10)
    flat = torch.cat([p.grad_sample.flatten(1) for p in wrapped.parameters()], 1)
    clip = float(flat.norm(dim=1).median())
    ours = clipped_sums(networks, target.record_losses, (x, t, eps), clip)[0]["denoiser"]
    expected = ((clip / flat.norm(dim=1)).clamp_max(1)[:, None] * flat).sum(0)
    torch.testing.assert_close(torch.cat([part.flatten() for part in ours]), expected, rtol=1e-8, atol=1e-9)


@every_case
def test_removing_one_record_moves_all_sums_together_by_at_most_clip_in_float32(make_target, make_images, case):
    # The difference of two sums as training computes them: the bound includes their rounding, but for the sums' own.
    target, networks, records = given(make_target, make_images, case, 5, torch.float32)
    clip = sorted(map(norm_of, one_at_a_time(target, networks, records)))[2]
    total = every(networks, clipped_sums(networks, target.record_losses, records, clip)[0])
    moved = []
    for i in range(5):
        rest = tuple(torch.cat([part[:i], part[i + 1 :]]) for part in records)
        without = every(networks, clipped_sums(networks, target.record_losses, rest, clip)[0])
        moved.append(norm_of([(a.double() - b.double()) for a, b in zip(total, without, strict=True)]))
    assert max(moved) <= clip * (1 + 1e-5)
    assert sum(one > 0.99 * clip for one in moved) >= 2, "those that are clipped have the whole of it"


@every_case
def test_a_whole_step_moves_by_at_most_clip_over_batch(make_target, make_images, case):
    # All coins fixed: the random numbers of the records that stay, private noise.
    spec = dict(CASES[case])
    name, channels = spec.pop("name"), spec.get("channels", 1)
    x = to_float(torch.from_numpy(make_images(4, 16, channels=channels)))
    gradients = []
    for units in ([0, 1, 2, 3], [0, -1, 2, 3]):
        target = stirred(make_target(name, 16, **spec)).train()
        rule = PrivateGradients(2.0, 0.01, SecretDraws(KEY), 4.0)
        take_step(target, x, rule=rule, units=torch.tensor(units))
        gradients.append([p.grad * 4.0 for n in target.networks for p in target.get_submodule(n).parameters()])
    moved = norm_of([a.double() - b.double() for a, b in zip(*gradients, strict=True)])
    assert 0.0099 < moved <= 0.01 * (1 + 2e-3)


@every_case
def test_an_empty_batch_adds_noise_alone(make_target, make_images, case):
    target, networks, records = given(make_target, make_images, case, 0, torch.float32)
    sums, values = clipped_sums(networks, target.record_losses, records, 1.0)
    assert not any(part.any() for part in every(networks, sums))
    assert all(value.shape == (0,) for value in values.values())
    assert take_step(target, records[0], rule=PrivateGradients(1.0, 1.0, SecretDraws(KEY), 4.0)) == {}
    noise = torch.cat([p.grad.flatten() for network in networks.values() for p in network.parameters()])
    assert float(noise.std()) == pytest.approx(1 / 4, rel=0.1)


# Several draws for each record


@pytest.mark.parametrize("case", ["vae", "ddpm"])
def test_the_mean_gradient_over_a_records_draws_is_clipped(make_target, make_images, case):
    target, networks, records = given(make_target, make_images, case, 12)
    records = (records[0][:4].repeat_interleave(3, 0), *records[1:])  # 4 records with 3 draws each
    gradients = one_at_a_time(target, networks, records, rows_per_unit=3)
    clip = sorted(map(norm_of, gradients))[1]
    rule = PrivateGradients(0.0, clip, SecretDraws(KEY), 4.0, rows_per_unit=3)
    rule(networks, target.record_losses, records, Rows(torch.arange(4).repeat_interleave(3)))
    for p, slow in zip((p for n in networks.values() for p in n.parameters()), clipped(gradients, clip), strict=True):
        torch.testing.assert_close(p.grad * 4.0, slow, rtol=1e-9, atol=1e-9 * clip)
    # Clipping each draw for itself would be another sum: the test can tell.
    apart = [part / 3 for part in clipped(one_at_a_time(target, networks, records), clip)]
    whole = clipped(gradients, clip)
    assert norm_of([a - b for a, b in zip(apart, whole, strict=True)]) > 0.02 * clip


@pytest.mark.parametrize("name", ["vae", "ddpm", "vae_gan"])
def test_a_batch_has_each_sampled_record_k_times_with_draws_of_its_own(make_trainer, name):
    trainer = make_trainer({**CLIP_ONLY, "noise_draws": 3}, name=name)
    plain = make_trainer(CLIP_ONLY, name=name)
    for step in range(3):
        batch, alone = trainer.batch(), plain.batch()
        assert torch.equal(batch.rows.index, alone.rows.index.repeat_interleave(3))
        assert torch.equal(batch.rows.units, alone.rows.units.repeat_interleave(3))
        assert torch.equal(batch.real, alone.real.repeat_interleave(3, 0))
        own = batch.draws["noise" if name == "ddpm" else "posterior"]
        assert len(torch.unique(own.flatten(1), dim=0)) == len(batch.real)
        trainer.run_to(step + 1)
        plain.run_to(step + 1)
        assert trainer.accountant.history == plain.accountant.history


def test_with_one_draw_nothing_changes_and_the_id_is_as_before_there_was_a_choice(make_trainer):
    one, plain = ({**CLIP_ONLY, "noise_draws": 1}, CLIP_ONLY)
    assert Arm.parse(one).to_list() == Arm.parse(plain).to_list()
    assert Arm.parse({**CLIP_ONLY, "noise_draws": 2}).to_list()[0]["noise_draws"] == 2
