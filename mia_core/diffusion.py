"""The arithmetic of diffusion models: noise schedules, noising, and the deterministic steps of DDIM.

Ho et al. 2020 (arXiv 2006.11239), Nichol & Dhariwal 2021 (arXiv 2102.09672), Song et al. 2021 (arXiv 2010.02502).
Times are indices t = 0 .. T-1, as in code: the papers' time t + 1. alpha_bar[t] is the share of the signal's variance
that is left, alpha_bar[0] = 1 - beta_1; an image without noise has alpha_bar 1. Shapes: B batch, C H W image, T times.
"""

import math
from typing import Literal

import torch

Schedule = Literal["linear", "cosine"]

LARGEST_BETA = 0.999
"""Of one step of the cosine schedule, as in the paper: at its end everything would be noise."""


Prediction = Literal["epsilon", "v", "x0"]
"""What a denoiser's network says of x_t: the noise; sqrt(abar) eps - sqrt(1 - abar) x (Salimans & Ho 2022, arXiv
2202.00512); the image."""


def of_betas(first: float, last: float, timesteps: int, power: int = 1) -> torch.Tensor:
    """alpha_bar [T], float64, of betas from `first` to `last` whose root of this power grows evenly."""
    ends = first ** (1 / power), last ** (1 / power)
    return (1 - torch.linspace(*ends, timesteps, dtype=torch.float64) ** power).cumprod(0)


def linear(timesteps: int) -> torch.Tensor:
    """alpha_bar [T], float64, of betas that grow evenly from 1e-4 to 0.02 at T = 1000, and in proportion at other T.

    ValueError for T below 21, where a beta would reach 1.
    """
    if timesteps <= 20:
        raise ValueError(f"a linear schedule needs more than 20 timesteps, got {timesteps}")
    scale = 1000 / timesteps
    return of_betas(1e-4 * scale, 0.02 * scale, timesteps)


def cosine(timesteps: int) -> torch.Tensor:
    """alpha_bar [T], float64: cos^2 of an angle that grows evenly, with betas of at most `LARGEST_BETA`."""
    angle = (torch.arange(timesteps + 1, dtype=torch.float64) / timesteps + 0.008) / 1.008 * math.pi / 2
    level = angle.cos().square()
    return (1 - (1 - level[1:] / level[:-1]).clamp_max(LARGEST_BETA)).cumprod(0)


SCHEDULES = {"linear": linear, "cosine": cosine}


def noised(x_BCHW: torch.Tensor, eps_BCHW: torch.Tensor, alpha_bar: torch.Tensor) -> torch.Tensor:
    """x_t = sqrt(alpha_bar) x + sqrt(1 - alpha_bar) eps. alpha_bar: a number, or [B,1,1,1]."""
    return alpha_bar.sqrt() * x_BCHW + (1 - alpha_bar).sqrt() * eps_BCHW


def denoised(x_BCHW: torch.Tensor, eps_BCHW: torch.Tensor, alpha_bar: torch.Tensor) -> torch.Tensor:
    """The image in x_t, given the noise in it; the inverse of `noised`."""
    return (x_BCHW - (1 - alpha_bar).sqrt() * eps_BCHW) / alpha_bar.sqrt()


def noise_of(
    predicted_BCHW: torch.Tensor, x_BCHW: torch.Tensor, alpha_bar: torch.Tensor, prediction: Prediction
) -> torch.Tensor:
    """The noise in x_t, by what a network predicts of it. alpha_bar: a number, or [B,1,1,1]."""
    signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    if prediction == "v":
        return signal * predicted_BCHW + noise * x_BCHW
    return predicted_BCHW if prediction == "epsilon" else (x_BCHW - signal * predicted_BCHW) / noise


def ddim_step(
    x_BCHW: torch.Tensor, eps_BCHW: torch.Tensor, abar_from: torch.Tensor, abar_to: torch.Tensor
) -> torch.Tensor:
    """x at `abar_to` from x at `abar_from` with the noise eps in it (DDIM, equation 12, eta 0); in both directions.

    Towards a larger alpha_bar it denoises; towards a smaller one it is DDIM's inversion.
    """
    return noised(denoised(x_BCHW, eps_BCHW, abar_from), eps_BCHW, abar_to)


def ancestral_step(
    x_BCHW: torch.Tensor,
    eps_BCHW: torch.Tensor,
    abar_from: torch.Tensor,
    abar_to: torch.Tensor,
    fresh_BCHW: torch.Tensor,
) -> torch.Tensor:
    """A draw of DDPM's x at a larger `abar_to`, given x and the image in it (DDPM, equation 7; DDIM's with eta 1).

    fresh: standard normal noise.
    """
    variance = (1 - abar_to) / (1 - abar_from) * (1 - abar_from / abar_to)
    kept = (1 - abar_to) * (abar_from / (abar_to * (1 - abar_from))).sqrt()  # sqrt(1 - abar_to - variance)
    image = denoised(x_BCHW, eps_BCHW, abar_from)
    return abar_to.sqrt() * image + kept * eps_BCHW + variance.sqrt() * fresh_BCHW


def noise_within_range(x_BCHW: torch.Tensor, eps_BCHW: torch.Tensor, alpha_bar: torch.Tensor) -> torch.Tensor:
    """The noise in x_t if the image in it, which eps says, is moved into [-1, 1]."""
    image = denoised(x_BCHW, eps_BCHW, alpha_bar).clamp(-1, 1)
    return (x_BCHW - alpha_bar.sqrt() * image) / (1 - alpha_bar).sqrt()


def ddim_times(timesteps: int, steps: int) -> list[int]:
    """`steps` times that increase evenly from 0 to T-1; T-1 alone for one step. ValueError beyond 1 .. T steps."""
    if not 1 <= steps <= timesteps:
        raise ValueError(f"DDIM can take 1 to {timesteps} steps of {timesteps} timesteps, got {steps}")
    if steps == 1:
        return [timesteps - 1]
    return [round(number * (timesteps - 1) / (steps - 1)) for number in range(steps)]
