"""The denoising diffusion target: its loss, its average, its samplers, and what a snapshot of it offers."""

import math

import pytest
import torch

from mia_core.diffusion import noised
from mia_core.errors import Refused
from mia_core.models import Snapshot
from mia_core.settings import require_read
from mia_core.step_draws import Draws
from mia_core.streams import Streams
from mia_core.targets import DDPM, TARGETS
from mia_core.targets.unet import doubled, encoding
from tests.mia_core.steps import floats, take_step
from tests.mia_core.test_private_records import stirred

SMALL = {"multipliers": [1, 2], "attention": 4, "timesteps": 60, "sampling_steps": 6}


@pytest.fixture
def small(make_target):
    """Of 8 x 8 pixels, with weights away from zero, the average too."""
    target = stirred(make_target("ddpm", **SMALL))
    target.ema.load_state_dict(target.denoiser.state_dict())
    return target.eval()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "multipliers"), [(8, [1]), (16, [1, 2, 2]), (28, [1, 2]), (32, [1, 1]), (64, [1, 2])])
def test_shapes_and_ranges(make_target, make_images, size, channels, multipliers):
    target = make_target("ddpm", size, channels, multipliers=multipliers, sampling_steps=2)
    x = floats(make_images(2, size, channels))
    with torch.no_grad():
        assert target.denoise(x, torch.tensor([0, 999])).shape == x.shape
        samples = target.generate(torch.zeros(1, target.latent_dimension))
    assert samples.shape == (1, channels, size, size)
    assert float(samples.abs().max()) <= 1
    assert target.latent_dimension == channels * size * size


@pytest.mark.parametrize(
    ("settings", "size", "reason"),
    [
        ({"multipliers": [1, 2, 2, 2]}, 28, "a multiple of 8 pixels for 4 multipliers, got 28x28; give fewer"),
        ({"timesteps": 30, "sampling_steps": 31}, 16, "ddpm has 30 timesteps, fewer than 31; lower it"),
        ({"width": 1}, 16, "needs at least 2"),
    ],
)
def test_what_no_such_network_can_be_is_refused(settings, size, reason):
    with pytest.raises(Refused, match=reason):
        TARGETS.choose({"name": "ddpm", **settings}).build((1, size, size))


def test_all_timesteps_may_be_fewer_than_the_default_steps_of_the_other_sampler():
    few = TARGETS.choose({"name": "ddpm", "sampler": "ddpm", "timesteps": 21})
    assert few.config.sampling_steps > 21
    require_read(few, "target", (1, 16, 16))
    target = few.build((1, 16, 16))
    assert len(target.sample(torch.zeros(2, target.latent_dimension), Streams(0))) == 2


def test_the_loss_is_the_papers_for_a_denoiser_whose_answer_is_known(make_target, make_images):
    target = make_target("ddpm", **SMALL)
    x, t = floats(make_images(5)), torch.tensor([0, 7, 20, 41, 59])
    eps = torch.randn(5, 1, 8, 8, generator=Streams(1).torch("eps"))
    x_t = noised(x, eps, target.alpha_bar[t].view(5, 1, 1, 1))
    answers = {
        "nothing": (lambda x_t, t: torch.zeros_like(x_t), eps.square().mean((1, 2, 3))),
        "all of it": (lambda x_t, t: eps, torch.zeros(5)),
        "x_t": (lambda x_t, t: x_t, (eps - x_t).square().mean((1, 2, 3))),
    }
    for answer, expected in answers.values():
        losses = target.record_losses({"denoiser": answer}, x, t, eps)
        assert losses.keys() == {"denoiser"}
        torch.testing.assert_close(losses["denoiser"], expected)
    # An untrained denoiser finds no noise at all: the loss begins at its variance.
    untrained = target.record_losses({"denoiser": target.denoiser}, x, t, eps)["denoiser"]
    torch.testing.assert_close(untrained, eps.square().mean((1, 2, 3)))


def test_each_time_is_told_from_every_other(small, make_images):
    assert len(torch.unique(encoding(torch.arange(1000), 16), dim=0)) == 1000
    x = floats(make_images(1)).expand(60, -1, -1, -1)
    with torch.no_grad():
        found = small.denoise(x, torch.arange(60)).flatten(1)
    assert float(torch.cdist(found, found)[~torch.eye(60, dtype=torch.bool)].min()) > 0


def test_doubled_is_nearest_upsampling():
    x = torch.randn(2, 3, 5, 7, generator=Streams(1).torch("x"))
    expected = torch.nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
    assert torch.equal(doubled(x), expected)
    assert torch.equal(doubled(x.contiguous(memory_format=torch.channels_last)), expected)


@pytest.mark.parametrize("ema", [0.0, 0.25, 0.999])
def test_the_average_follows_its_formula(make_target, make_images, ema):
    target = make_target("ddpm", **SMALL, ema=ema).train()
    optimizers, x = target.optimizers(2e-3, 0.9), floats(make_images(4))
    assert all(torch.equal(a, b) for a, b in zip(target.ema.parameters(), target.denoiser.parameters(), strict=True))
    expected = [p.clone() for p in target.denoiser.parameters()]
    for k in range(1, 6):
        take_step(target, x, k, optimizers=optimizers)
        d, weights = min(ema, (1 + k) / (10 + k)), [p.detach() for p in target.denoiser.parameters()]
        expected = [d * own + (1 - d) * weight for own, weight in zip(expected, weights, strict=True)]
        for own, p in zip(target.ema.parameters(), expected, strict=True):
            torch.testing.assert_close(own, p, rtol=1e-5, atol=1e-7)
    assert float(target.updates) == 5
    if ema:
        assert not torch.equal(target.ema.head.weight, target.denoiser.head.weight)


def test_what_is_attacked_is_the_average_and_training_goes_on_with_the_denoiser(small, make_images):
    x, rng = floats(make_images(3)), Streams(2)

    def answers():
        snapshot = Snapshot(small, Streams(1))
        t = torch.tensor([1, 2, 3])
        parts = [snapshot.samples(2), snapshot.denoise(x, t), snapshot.variation(x, 9, rng), snapshot.gradients(x, rng)]
        return [*parts, small.mean_losses(x, rng)]

    before = answers()
    with torch.no_grad():
        small.denoiser.head.weight += 1
    assert all(torch.equal(a, b) for a, b in zip(answers(), before, strict=True))
    with torch.no_grad():
        small.ema.head.weight += 1
    assert not any(torch.equal(a, b) for a, b in zip(answers(), before, strict=True))


def test_gradients_are_those_of_autograd_on_one_record(small, make_images):
    x, rng = floats(make_images(3)), Streams(2)
    snapshot = Snapshot(small, Streams(1))
    found = snapshot.gradients(x, rng)
    times, eps = small.judging_draws(rng)
    assert times.tolist() == [3, 9, 15, 21, 27, 33, 39, 45, 51, 57]
    small.ema.requires_grad_(True)
    for record, norms in zip(x, found, strict=True):
        x_t = noised(record, eps, small.alpha_bar[times].view(-1, 1, 1, 1))
        loss = (eps - small.ema(x_t, times)).square().mean()
        gradients = torch.autograd.grad(loss, list(small.ema.parameters()))
        torch.testing.assert_close(norms, torch.stack([g.norm() for g in gradients]), rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(small.mean_losses(record[None], rng)[0], loss.detach(), rtol=1e-5, atol=0)
    assert snapshot.gradient_names == tuple(f"denoiser.{name}" for name, _ in small.ema.named_parameters())


@pytest.mark.long
def test_samples_by_ddim_are_a_function_of_their_latents_and_those_by_ddpm_are_not(make_target, small):
    snapshot = Snapshot(small, Streams(1))
    torch.testing.assert_close(snapshot.generate(snapshot.latents(3)), snapshot.samples(3), atol=1e-5, rtol=0)
    random = make_target("ddpm", **SMALL, sampler="ddpm")
    random.load_state_dict(small.state_dict())
    assert "latent" in small.offers and "latent" not in random.offers and "latent" in DDPM.offers
    first, again, other = (random.sample(torch.zeros(2, 64), Streams(seed)).detach() for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


def test_a_variation_of_little_noise_is_near_the_image_and_of_much_noise_is_not(small, make_images):
    x = floats(make_images(20))
    with torch.no_grad():
        small.ema.tail[-1].weight.zero_()  # finds no noise: what was added stays, over sqrt(alpha_bar)
        small.ema.tail[-1].bias.zero_()
    snapshot = Snapshot(small, Streams(1))
    apart = [float((snapshot.variation(x, time, Streams(3)) - x).abs().mean()) for time in (0, 20, 59)]
    noise = math.sqrt(float(1 - small.alpha_bar[0]))
    assert 0 < apart[0] < noise < apart[1] < apart[2]
    alone = torch.cat([snapshot.variation(image[None], 20, Streams(3)) for image in x])
    torch.testing.assert_close(alone, snapshot.variation(x, 20, Streams(3)), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="time 60 is not one of the 60 timesteps"):
        snapshot.variation(x, 60, Streams(3))


@pytest.mark.long
def test_it_learns_to_draw_the_only_image_it_knows(make_trainer):
    trainer = make_trainer(name="ddpm", count=1, batch_size=16, ema=0.9, width=8, **SMALL)
    image = trainer.images[:1] / 127.5 - 1
    before = float(trainer.target.mean_losses(image, Streams(3)))
    trainer.run_to(250)
    after = float(trainer.target.mean_losses(image, Streams(3)))
    assert after < 0.2 < 0.8 < before
    samples = Snapshot(trainer.target, Streams(1)).samples(8)
    errors = [float((samples - other).square().mean()) for other in (image, image.roll(1, 3))]
    assert errors[0] < 0.4 * errors[1]


def test_a_step_is_given_a_time_and_noise_for_every_record(make_target):
    target, draws = make_target("ddpm", **SMALL), Draws(Streams(3))
    found = {name: draws(name, 0, draw) for name, draw in target.draws(500, 7, 0).items()}
    assert found.keys() == {"time", "noise"}
    assert set(found["time"].tolist()) == set(range(60))
    assert found["noise"].shape == (500, 1, 8, 8)


def test_an_odd_width_is_a_network_whose_times_differ(make_images):
    found = encoding(torch.arange(60), 3)
    assert found.shape == (60, 3)
    assert torch.equal(found[:, :2], encoding(torch.arange(60), 2)) and not found[:, 2].any()
    target = DDPM(DDPM.Config(width=3, multipliers=(1, 1), timesteps=60), (1, 8, 8))
    assert target.denoise(floats(make_images(2)), torch.tensor([0, 59])).shape == (2, 1, 8, 8)
