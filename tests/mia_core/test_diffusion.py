"""The arithmetic of diffusion models against the papers' formulas and closed forms."""

import math
from itertools import pairwise

import pytest
import torch

from mia_core.diffusion import (
    SCHEDULES,
    ancestral_step,
    cosine,
    ddim_step,
    ddim_times,
    denoised,
    linear,
    noise_within_range,
    noised,
)
from mia_core.streams import Streams


def draw(*shape, name="x"):
    return torch.randn(*shape, generator=Streams(1).torch(name), dtype=torch.float64)


def test_the_linear_schedule_is_the_papers():
    level = linear(1000)
    assert float(level[0]) == pytest.approx(1 - 1e-4, abs=1e-15)
    assert float(level[1]) == pytest.approx((1 - 1e-4) * (1 - 1e-4 - (0.02 - 1e-4) / 999), abs=1e-15)
    assert float(level[-1]) == pytest.approx(4.0358e-5, rel=1e-4)  # as the authors' code gives
    assert float(linear(100)[-1]) == pytest.approx(2.039e-5, rel=1e-3), "other T end at about the same noise"
    with pytest.raises(ValueError, match="more than 20 timesteps, got 20"):
        linear(20)


def test_the_cosine_schedule_is_the_papers_and_its_last_beta_is_limited():
    level = cosine(1000)

    def f(t):
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    for t in (1, 2, 500, 990):
        assert float(level[t - 1]) == pytest.approx(f(t) / f(0), rel=1e-10)
    assert float(level[-1] / level[-2]) == pytest.approx(0.001, rel=1e-9), "where f itself is 0"


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("timesteps", [21, 50, 1000])
def test_every_schedule_falls_from_nearly_1_to_nearly_0(schedule, timesteps):
    level = SCHEDULES[schedule](timesteps)
    assert level.dtype == torch.float64 and level.shape == (timesteps,)
    assert bool((level.diff() < 0).all())
    assert 0.99 < float(level[0]) < 1 or timesteps < 1000
    assert 0 < float(level[-1]) < 1e-3


def test_denoising_undoes_noising_and_a_ddim_step_is_undone_by_its_inversion():
    x, eps = draw(4, 1, 3, 3), draw(4, 1, 3, 3, name="eps")
    level = linear(1000)
    torch.testing.assert_close(denoised(noised(x, eps, level[700]), eps, level[700]), x)
    there = ddim_step(x, eps, level[100], level[800])
    assert not torch.allclose(there, x)
    torch.testing.assert_close(ddim_step(there, eps, level[800], level[100]), x)
    # With the true noise, each step stays on the way from the image to it.
    torch.testing.assert_close(
        ddim_step(noised(x, eps, level[800]), eps, level[800], level[100]), noised(x, eps, level[100])
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_ddim_with_the_right_noise_of_gaussian_data_gives_such_data_and_its_inversion_the_noise(schedule):
    # x ~ N(0, s^2): E[eps | x_t] = sqrt(1 - a) x_t / (a s^2 + 1 - a), and the flow only scales.
    s, level = 0.3, SCHEDULES[schedule](1000)
    levels = torch.cat([level.flip(0), torch.ones(1, dtype=torch.float64)])

    def follow(x, levels):
        for here, there in pairwise(levels):
            eps = (1 - here).sqrt() * x / (here * s**2 + 1 - here)
            x = ddim_step(x, eps, here, there)
        return x

    x = draw(500)
    image = follow(x, levels)
    torch.testing.assert_close(image, s * x, rtol=0.05, atol=0)
    torch.testing.assert_close(follow(image, levels.flip(0)), x, rtol=0.1, atol=0)


def test_an_ancestral_step_has_the_mean_and_variance_of_equation_7():
    x_0, eps = draw(1), draw(1, name="eps")
    level, t = linear(1000), 400
    here, below = level[t], level[t - 1]
    beta = 1 - here / below
    x_t = noised(x_0, eps, here)
    mean = below.sqrt() * beta / (1 - here) * x_0 + (here / below).sqrt() * (1 - below) / (1 - here) * x_t
    fresh = torch.tensor([0.0, 1.0], dtype=torch.float64)
    found = ancestral_step(x_t, eps, here, below, fresh)
    torch.testing.assert_close(found[:1], mean)
    torch.testing.assert_close(found[1] - found[0], ((1 - below) / (1 - here) * beta).sqrt())
    clean = torch.ones((), dtype=torch.float64)
    torch.testing.assert_close(ancestral_step(x_t, eps, level[0], clean, fresh)[0], denoised(x_t, eps, level[0])[0])


def test_noise_within_range_is_the_noise_itself_unless_its_image_leaves_the_range():
    level = linear(1000)[300]
    x, eps = draw(50).clamp(-0.9, 0.9), draw(50, name="eps")
    x_t = noised(x, eps, level)
    torch.testing.assert_close(noise_within_range(x_t, eps, level), eps)
    moved = noise_within_range(x_t, eps + 3, level)
    assert float(denoised(x_t, eps + 3, level).min()) < -1 <= float(denoised(x_t, moved, level).min()) + 1e-12


def test_ddim_times_are_spread_evenly_from_0_to_the_last():
    assert ddim_times(1000, 1) == [999]
    assert ddim_times(10, 10) == list(range(10))
    assert ddim_times(1000, 4) == [0, 333, 666, 999]
    for steps in (0, 11):
        with pytest.raises(ValueError, match=f"1 to 10 steps of 10 timesteps, got {steps}"):
            ddim_times(10, steps)
