"""What an attacker may do with a model: capabilities, published names for sets of them, and views that have just some.

Shapes: B batch, C H W image, Z latent dimension. Images are float in [-1, 1].
"""

from collections.abc import Callable, Iterable
from enum import IntEnum

import torch
from torch import nn

from mia_core.models import Model


class Access(IntEnum):
    """Published names of what attackers have, in tables; ordered: whoever has more can do what takes less."""

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
    "denoise": (Access.GENERATOR, ("denoise",)),
    "encode": (Access.WHITE_BOX, ("encode",)),
    "discriminate": (Access.WHITE_BOX, ("discriminate",)),
    "gradients": (Access.WHITE_BOX, ("gradients",)),
}
"""What a model may offer and an attack may use: the least access that includes it, and what models that offer it have.

A diffusion model's generator is its denoiser, so whoever has the one has the other.
"""


def access_of(uses: Iterable[str]) -> Access:
    """The least access that includes all these capabilities."""
    return max((CAPABILITIES[capability][0] for capability in uses), default=Access.NONE)


class View:
    """What an attack sees of a model: what the capabilities that it uses consist of, and nothing else.

    samples: `samples(k)`, the first k images [k,C,H,W] of the model's fixed stream. generate: images of latents [B,Z],
    Z = latent_dimension. latents: `latents(k)`, those [k,Z] whose images the first k samples are.
    generator: the network that makes images, differentiable. encode: mean and log variance [B,Z] of the posterior of
    images. discriminate: a score [B] of images. The others are a model's own.
    """

    samples: Callable[[int], torch.Tensor]
    generate: Callable[[torch.Tensor], torch.Tensor]
    latent_dimension: int
    latents: Callable[[int], torch.Tensor]
    variation: Callable[..., torch.Tensor]
    generator: nn.Module
    denoise: Callable[..., torch.Tensor]
    encode: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    discriminate: Callable[[torch.Tensor], torch.Tensor]
    gradients: Callable[..., torch.Tensor]


def view(model: Model, uses: Iterable[str]) -> View:
    """The view of a model that these capabilities allow; the model must offer them."""
    allowed = View()
    for capability in uses:
        for name in CAPABILITIES[capability][1]:
            setattr(allowed, name, _apart(model, name))
    return allowed


def _apart(model: Model, name: str) -> object:
    """An attribute of a model, without a reference by name to the model: a method becomes a function."""
    found = getattr(model, name)
    if isinstance(found, nn.Module) or not callable(found):
        return found
    return lambda *arguments, **settings: found(*arguments, **settings)
