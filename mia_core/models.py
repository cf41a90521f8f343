"""The models that can be attacked: a trained target, a folder of samples, a user's sampler, a copycat.

Shapes: B batch, C H W image, Z latent dimension. Images are float in [-1, 1].
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from mia_core.data.pool import to_float
from mia_core.errors import Refused
from mia_core.model_facts import ModelFacts
from mia_core.streams import Streams
from mia_core.targets import DDPM, Adversarial, PerRecord, Target

CHUNK = 256
"""Samples and scores per chunk. With fixed chunks, the k-th sample does not depend on how many are requested."""

Images = np.ndarray | torch.Tensor
"""[N,C,H,W]: uint8, or float in [-1, 1]."""


class Model(ABC):
    """A model that an attack runs on. Subclasses set `name`, for messages, and `offers`.

    offers: its capabilities, keys of `mia_core.access.CAPABILITIES`, which lists the attributes each of them requires.
    timesteps, deviation: see `ModelFacts`.
    """

    name: str
    offers: frozenset[str]
    timesteps: int | None = None
    deviation: float | None = None

    @property
    def facts(self) -> ModelFacts:
        """What tells whether an attack fits it."""
        tensors = len(getattr(self, "gradient_names")) if "gradients" in self.offers else None  # noqa: B009
        return ModelFacts(self.name, self.offers, self.record_shape, self.timesteps, self.deviation, tensors)

    @property
    @abstractmethod
    def record_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """The device it computes on; queries must be on the same one."""

    @abstractmethod
    def samples(self, count: int) -> torch.Tensor:
        """The first `count` images [count,C,H,W] of a fixed sequence, as a new tensor."""


class Stream(Model):
    """A model that draws its samples on first request, one chunk at a time, and keeps them."""

    def __init__(self) -> None:
        self._chunks: list[torch.Tensor] = []

    @abstractmethod
    def _draw(self, number: int) -> torch.Tensor:
        """The samples [CHUNK,C,H,W] of one chunk."""

    def samples(self, count: int) -> torch.Tensor:
        """See `Model`."""
        while len(self._chunks) * CHUNK < count:
            self._chunks.append(self._draw(len(self._chunks)))
        return torch.cat(self._chunks)[:count] if count else torch.empty(0, *self.record_shape, device=self.device)


class FromLatents(Stream):
    """A model that makes its samples of standard normal latents. streams: random numbers of its samples."""

    def __init__(self, streams: Streams) -> None:
        super().__init__()
        self._streams = streams

    @property
    @abstractmethod
    def latent_dimension(self) -> int:
        """Z; latents are standard normal."""

    def latents(self, count: int) -> torch.Tensor:
        """What the first `count` samples are made of: [count,Z]."""
        chunks = [self._latents(number) for number in range(-(-count // CHUNK))]
        return torch.cat([torch.empty(0, self.latent_dimension, device=self.device), *chunks])[:count]

    def _latents(self, number: int) -> torch.Tensor:
        z = torch.randn(CHUNK, self.latent_dimension, generator=self._streams.torch("samples", number))
        return z.to(self.device)


class Snapshot(FromLatents):
    """A target at its current state of training, in evaluation mode. streams: random numbers of its samples."""

    def __init__(self, target: Target, streams: Streams) -> None:
        super().__init__(streams)
        self.target = target
        self.name = target.name
        self.offers = target.offers
        self.timesteps, self.deviation = target.timesteps, target.deviation

    @property
    def record_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return self.target.image_shape

    @property
    def device(self) -> torch.device:
        """The target's."""
        return self.target.device

    @property
    def latent_dimension(self) -> int:
        """Z; latents are standard normal."""
        return self.target.latent_dimension

    @property
    def generator(self) -> nn.Module:
        """The network that maps latents [B,Z] to images, differentiable."""
        return _Generator(self.target)

    @torch.no_grad()
    def _draw(self, number: int) -> torch.Tensor:
        self.target.eval()
        return self.target.sample(self._latents(number), self._streams.child("sampling", number))

    @torch.no_grad()
    def generate(self, z_BZ: torch.Tensor) -> torch.Tensor:
        """Images [B,C,H,W] from latents [B,Z]."""
        self.target.eval()
        return torch.cat([self.target.generate(z) for z in z_BZ.split(CHUNK)])

    @torch.no_grad()
    def encode(self, x_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance [B,Z] of each image's posterior; the network `encoder` returns them concatenated."""
        encoder = self.target.eval().get_submodule("encoder")
        mean, log_variance = torch.cat([encoder(x) for x in x_BCHW.split(CHUNK)]).chunk(2, dim=1)
        return mean, log_variance

    @torch.no_grad()
    def discriminate(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """The target's white-box score [B] of each image, with noise and dropout off."""
        assert isinstance(self.target, Adversarial)
        self.target.eval()
        return torch.cat([self.target.discriminate(x) for x in x_BCHW.split(CHUNK)])

    # Targets that learn from records alone

    @property
    def _per_record(self) -> PerRecord:
        assert isinstance(self.target, PerRecord)
        self.target.eval()
        return self.target

    @property
    def gradient_names(self) -> tuple[str, ...]:
        """See `PerRecord`."""
        return self._per_record.gradient_names

    def gradients(self, x_BCHW: torch.Tensor, rng: Streams) -> torch.Tensor:
        """Norms [B,P], see `PerRecord.gradient_norms`."""
        return self._per_record.gradient_norms(x_BCHW, rng)

    # Diffusion models

    @property
    def _diffusion(self) -> DDPM:
        assert isinstance(self.target, DDPM)
        self.target.eval()
        return self.target

    @property
    def alpha_bar(self) -> torch.Tensor:
        """The share of the signal's variance that is left at each time, [T]."""
        return self._diffusion.alpha_bar

    @torch.no_grad()
    def denoise(self, x_BCHW: torch.Tensor, t_B: torch.Tensor) -> torch.Tensor:
        """The noise [B,C,H,W] that the target finds in noised images at times t, int64 [B]."""
        parts = zip(x_BCHW.split(CHUNK), t_B.split(CHUNK), strict=True)
        return torch.cat([self._diffusion.denoise(x, t) for x, t in parts])

    @torch.no_grad()
    def variation(self, x_BCHW: torch.Tensor, time: int, rng: Streams) -> torch.Tensor:
        """Images that were noised to a time and denoised again, all with the same noise."""
        return torch.cat([self._diffusion.variation(x, time, rng) for x in x_BCHW.split(CHUNK)])


class _Generator(nn.Module):
    """The generator alone, differentiable in z."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.network = target.get_submodule("generator")
        self._generate = lambda z_BZ: target.eval().generate(z_BZ)

    def forward(self, z_BZ: torch.Tensor) -> torch.Tensor:
        return self._generate(z_BZ)


class SampleFolder(Model):
    """Released samples of a model that is not available itself. images: [N,C,H,W], used in this order."""

    name = "a folder of samples"
    offers = frozenset({"samples"})

    def __init__(self, images: Images, device: torch.device | str = "cpu") -> None:
        self._images = checked(images, "a folder of samples: images").to(device)

    @property
    def record_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return tuple(self._images.shape[1:])

    @property
    def device(self) -> torch.device:
        """The device of the samples."""
        return self._images.device

    def samples(self, count: int) -> torch.Tensor:
        """The first `count` images; Refused if there are fewer."""
        if count > len(self._images):
            raise Refused(
                f"{self.name}: {count} samples are asked for, and there are {len(self._images)}; lower the "
                "attack's `generated`, or add samples"
            )
        return floats(self._images[:count]).clone()


class Sampler(Stream):
    """A generator given as a function that draws samples.

    draw: `draw(k, generator)` returns k images, and takes all its random numbers from `generator`, which is on the CPU.
    It is called with k = 256. seed: of that generator.
    """

    name = "a sampler"
    offers = frozenset({"samples"})

    def __init__(
        self, draw: Callable[[int, torch.Generator], Images], seed: int = 0, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__()
        self._function = draw
        self._streams = Streams("sampler", seed)
        self._device = torch.device(device)

    @property
    def record_shape(self) -> tuple[int, ...]:
        """(C, H, W), read off a first sample."""
        return tuple(self.samples(1).shape[1:])

    @property
    def device(self) -> torch.device:
        """The device that samples are moved to."""
        return self._device

    def _draw(self, number: int) -> torch.Tensor:
        drawn = checked(self._function(CHUNK, self._streams.torch("samples", number)), "a sampler: what it draws")
        if len(drawn) != CHUNK or (self._chunks and drawn.shape != self._chunks[0].shape):
            raise Refused(f"a sampler: {CHUNK} images of one shape are asked for, and it draws {list(drawn.shape)}")
        return floats(drawn.to(self._device))


class Copycat(Stream):
    """A positive control that samples training records uniformly: the right result of sample-based attacks is known."""

    name = "copycat"
    offers = frozenset({"samples"})

    def __init__(self, records: np.ndarray, streams: Streams, device: torch.device | str = "cpu") -> None:
        """records: uint8 [n,C,H,W], the training set. streams: random numbers of its samples."""
        super().__init__()
        self._records = torch.from_numpy(np.ascontiguousarray(records)).to(device)
        self._streams = streams

    @property
    def record_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return tuple(self._records.shape[1:])

    @property
    def device(self) -> torch.device:
        """The device of the records."""
        return self._records.device

    def _draw(self, number: int) -> torch.Tensor:
        """Records number floor(n Phi(z)), z standard normal."""
        count = len(self._records)
        z = torch.randn(CHUNK, 1, generator=self._streams.torch("samples", number))[:, 0]
        index = (torch.special.ndtr(z.double()) * count).long().clamp(max=count - 1)
        return to_float(self._records[index.to(self.device)])


def checked(images: Images, where: str) -> torch.Tensor:
    """Images as a tensor of unchanged type; Refused unless they are [N,C,H,W], N > 0, and uint8 or float in [-1, 1]."""
    found = torch.as_tensor(images)
    if found.ndim != 4 or not len(found):
        raise Refused(f"{where} must be [N,C,H,W], got {list(found.shape)}")
    if found.dtype != torch.uint8 and not (found.is_floating_point() and bool(((found >= -1) & (found <= 1)).all())):
        raise Refused(f"{where} must be uint8, or float in [-1, 1]")
    return found


def floats(images: torch.Tensor) -> torch.Tensor:
    """Float32 in [-1, 1], from images that `checked` accepts."""
    return to_float(images) if images.dtype == torch.uint8 else images.float()
