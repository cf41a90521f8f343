"""What an attacker may do with a model: capabilities, named access levels, and views restricted to some capabilities.

Shapes: B batch, C H W image, Z latent dimension. Images are float in [-1, 1].
"""

from collections.abc import Callable, Iterable
from enum import IntEnum

import torch
from torch import nn

from mia_core.meter import Meter, Spent
from mia_core.models import Model
from mia_core.streams import Streams


class Access(IntEnum):
    """Named access levels, as tables print them. They are ordered: a higher level includes every lower one."""

    NONE = 0
    SAMPLES = 1
    LATENT = 2
    GENERATOR = 3
    WHITE_BOX = 4


CAPABILITIES = {
    "samples": (Access.SAMPLES, ("samples",)),
    "latent": (Access.LATENT, ("generate", "latent_dimension", "latents")),
    "variation": (Access.LATENT, ("variation",)),
    "generator": (Access.GENERATOR, ("generator",)),
    "denoise": (Access.GENERATOR, ("denoise", "alpha_bar")),
    "encode": (Access.WHITE_BOX, ("encode", "deviation")),
    "discriminate": (Access.WHITE_BOX, ("discriminate",)),
    "gradients": (Access.WHITE_BOX, ("gradients", "gradient_names")),
}
"""Capability -> (lowest access level that includes it, attributes of a model that offers it).

A diffusion model's generator is its denoiser, so both belong to the same access level.
"""


def access_of(uses: Iterable[str]) -> Access:
    """The lowest access level that includes all of these capabilities; NONE for no capability."""
    return max((CAPABILITIES[capability][0] for capability in uses), default=Access.NONE)


class View:
    """What an attack sees of a model: the attributes of the capabilities that it uses, and nothing else.

    samples: `samples(k)` returns the first k images [k,C,H,W] of the model's fixed sequence. generate: maps latents
    [B,Z] to images, with Z = latent_dimension. latents: `latents(k)` returns the latents [k,Z] of the first k
    samples. generator: the same as a differentiable network. encode: mean and log variance [B,Z] of the posterior
    of each image; deviation: of the normal likelihood of pixels about what is decoded, None without one. discriminate:
    one score [B] per image.

    denoise: `denoise(x, t)` returns the noise [B,C,H,W] that the model finds in noised images [B,C,H,W] at times t,
    int64 [B]; alpha_bar: its schedule [T], see `mia_core.diffusion`; without gradients. variation: `variation(x, time,
    rng)` adds noise to images up to one time, the same to all, and removes it by the model's own sampler, as an
    image-to-image service does. gradients: `gradients(x, rng)` returns norms [B,P]: for each image and each parameter,
    named in gradient_names, the norm of the gradient of the image's training loss, with the same random numbers for all
    images.
    """

    samples: Callable[[int], torch.Tensor]
    generate: Callable[[torch.Tensor], torch.Tensor]
    latent_dimension: int
    latents: Callable[[int], torch.Tensor]
    variation: Callable[[torch.Tensor, int, Streams], torch.Tensor]
    generator: nn.Module
    denoise: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    alpha_bar: torch.Tensor
    encode: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    deviation: float | None
    discriminate: Callable[[torch.Tensor], torch.Tensor]
    gradients: Callable[[torch.Tensor, Streams], torch.Tensor]
    gradient_names: tuple[str, ...]


SPENDS = {
    **dict.fromkeys(("generate", "variation", "denoise", "encode", "discriminate"), Spent(queries=1)),
    "gradients": Spent(queries=1, gradients=1),
}
"""What a call spends per row, of the methods that are asked about images; samples and their latents are just there."""


def view(model: Model, uses: Iterable[str], meter: Meter | None = None) -> View:
    """A view of a model with exactly these capabilities, which the model must offer. meter: counts what is asked."""
    allowed, meter = View(), meter or Meter()
    for capability in uses:
        for name in CAPABILITIES[capability][1]:
            setattr(allowed, name, _apart(model, name, meter))
    return allowed


def _apart(model: Model, name: str, meter: Meter) -> object:
    """An attribute of a model; methods are wrapped in functions, so that the view does not expose the model by name."""
    found = getattr(model, name)
    if isinstance(found, nn.Module):
        return meter.network(found)
    return meter.function(found, SPENDS.get(name, Spent())) if callable(found) else found
