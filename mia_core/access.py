"""What an attacker may touch. A view has the methods of its access level and nothing else, so an attack cannot cheat.

Every view is over a snapshot: one trained target, in evaluation mode, with one fixed stream of samples.
"""

from enum import IntEnum

import torch
from torch import nn

from mia_core.streams import Streams
from mia_core.targets import Adversarial, Target

CHUNK = 256
"""Samples and scores are computed in chunks of this size: the k-th sample is the same however many are asked for."""


class Access(IntEnum):
    """Ordered: each level includes those before it."""

    NONE = 0
    SAMPLES = 1
    LATENT = 2
    GENERATOR = 3
    WHITE_BOX = 4


class Snapshot:
    """A trained target at one level of its trajectory, and the samples drawn from it so far."""

    def __init__(self, target: Target, streams: Streams) -> None:
        self.target = target
        self._streams = streams
        self._chunks: list[torch.Tensor] = []

    def samples(self, count: int) -> torch.Tensor:
        """The first `count` images [count,C,H,W] of the fixed stream; drawn once, then remembered."""
        while len(self._chunks) * CHUNK < count:
            random = self._streams.torch("samples", len(self._chunks))
            z = torch.randn(CHUNK, self.target.latent_dimension, generator=random)
            self._chunks.append(self.generate(z.to(self.target.device)))
        return torch.cat(self._chunks)[:count] if count else torch.empty(0, *self.target.image_shape)

    @torch.no_grad()
    def generate(self, z_BZ: torch.Tensor) -> torch.Tensor:
        """Images [B,C,H,W] for latents [B,Z]."""
        self.target.eval()
        return torch.cat([self.target.generate(z) for z in z_BZ.split(CHUNK)])

    @torch.no_grad()
    def discriminate(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """The target's white-box score [B] of images; noise and dropout are off."""
        assert isinstance(self.target, Adversarial)
        self.target.eval()
        return torch.cat([self.target.discriminate(x) for x in x_BCHW.split(CHUNK)])


class NoView:
    """Access NONE: nothing of the target."""

    access = Access.NONE
    __slots__ = ()


class SamplesView(NoView):
    """Access SAMPLES."""

    access = Access.SAMPLES
    __slots__ = ("samples",)

    def __init__(self, snapshot: Snapshot) -> None:
        # A closure, not an attribute: the view keeps no reference through which the target could be reached by name.
        self.samples = lambda count: snapshot.samples(count).clone()


class LatentView(SamplesView):
    """Access LATENT: also images of chosen latents."""

    access = Access.LATENT
    __slots__ = ("generate", "latent_dimension")

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(snapshot)
        self.generate = lambda z_BZ: snapshot.generate(z_BZ)
        self.latent_dimension = snapshot.target.latent_dimension


class GeneratorView(LatentView):
    """Access GENERATOR: also the generator's weights, as a module that maps latents [B,Z] to images."""

    access = Access.GENERATOR
    __slots__ = ("generator",)

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(snapshot)
        self.generator = _Generator(snapshot.target)


class WhiteBoxView(GeneratorView):
    """Access WHITE_BOX: everything."""

    access = Access.WHITE_BOX
    __slots__ = ("discriminate", "target")

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(snapshot)
        self.discriminate = lambda x_BCHW: snapshot.discriminate(x_BCHW)
        self.target = snapshot.target


class _Generator(nn.Module):
    """The generator alone, differentiable in z."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.network = target.get_submodule("generator")
        self._generate = lambda z_BZ: target.eval().generate(z_BZ)

    def forward(self, z_BZ: torch.Tensor) -> torch.Tensor:
        return self._generate(z_BZ)


_VIEWS = {view.access: view for view in (SamplesView, LatentView, GeneratorView, WhiteBoxView)}


def view(snapshot: Snapshot, access: Access) -> NoView:
    """The view of a snapshot that `access` allows."""
    return NoView() if access == Access.NONE else _VIEWS[access](snapshot)
