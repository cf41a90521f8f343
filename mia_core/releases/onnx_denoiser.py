"""A release of a diffusion model as an ONNX file of its denoiser, run by onnxruntime on the CPU."""

import hashlib
import re
from collections.abc import Mapping
from math import prod
from typing import Annotated, Any, Literal, Self

import torch
from annotated_types import Gt, MinLen
from pydantic import field_validator, model_validator

from mia_core.diffusion import Prediction
from mia_core.diffusion_sampler import Sampler, SamplerName
from mia_core.errors import Refused
from mia_core.hashing import array_digest
from mia_core.model_facts import ModelFacts
from mia_core.models import CHUNK, FromLatents
from mia_core.releases.declared_noise import NoiseSettings, Scale
from mia_core.releases.denoiser_checks import Checks
from mia_core.releases.denoiser_network import DenoiserNetwork
from mia_core.releases.given_samples import GivenSamples
from mia_core.releases.release_contract import RELEASES, Form, OfForm, Release, ReleaseSettings, require_square
from mia_core.releases.sample_arrays import Range
from mia_core.settings import settings, validate
from mia_core.streams import Streams

BESIDE = re.compile(r"(?<![\w./-])release\.(?=(?:root|key|range)\b)")
"""Settings of samples in messages."""


@settings
class Samples:
    """root, key, range: as of a release of samples."""

    root: Annotated[str, MinLen(1)]
    key: str | None = None
    range: Range = "auto"


@RELEASES.register
class OnnxDenoiser(Release):
    """Two inputs, x_t float32 [B,C,H,W] and the index t = 0 .. T-1 of its time, int64, int32 or float32, [B] or a
    scalar; one output float32: what is predicted, [B,C,H,W], or [B,2C,H,W], of which the first half is read.

    Only standard operators, no functions, and all weights in the file. Refused where it looks as if it had been trained
    otherwise than is declared, for then attacks find less than there is. It offers no gradients: an ONNX file gives
    values alone.
    """

    name = "denoiser"

    @settings
    class Config(NoiseSettings, ReleaseSettings):
        """root: the file. prediction: of the noise, `epsilon`; of `v`, sqrt(abar) eps - sqrt(1 - abar) x; or of the
        image, `x0`. timesteps: T; times are 0 .. T-1. schedule: `linear`, `scaled_linear` (of which the betas' roots
        are linear), `cosine`, or a list of alpha_bar for each time. betas: the first and the last of a linear schedule;
        null for 1e-4 and 0.02 of a linear one of 1,000 timesteps. range: of the images that it was trained on; null for
        -1,1, refused where images look as if they were in [0, 1].

        samples: images that are released beside it, with root, key and range as of a release of samples; null for those
        that `sampler` draws: `ddim`, in `sampling_steps` steps, or `ddpm`, whose samples are no function of their
        latents. It makes variations of images, too.
        """

        root: Annotated[str, MinLen(1)]
        prediction: Prediction
        range: Literal["-1,1", "0,1"] | None = None
        sampler: SamplerName = "ddim"
        sampling_steps: Annotated[int, Gt(0)] = 25
        samples: Samples | None = None

        @field_validator("samples", mode="before")
        @classmethod
        def _build(cls, given: Any) -> Any:
            return validate(Samples, given, "samples") if isinstance(given, Mapping) else given

        @model_validator(mode="after")
        def _steps(self) -> Self:
            if self.sampler == "ddim" and self.sampling_steps > self.timesteps:
                raise Refused(
                    f"sampling_steps: there are {self.timesteps} timesteps, fewer than {self.sampling_steps} steps; "
                    "lower it"
                )
            return self

    config: Config

    def __init__(self, config: Config, form: Form) -> None:
        super().__init__(config, form)
        self.network = DenoiserNetwork(config.root, config.alpha_bar)
        self.digest = hashlib.sha256(self.network.data).hexdigest()
        self.samples = None if config.samples is None else _beside(config.samples, form)
        given = "drawn" if self.samples is None else self.samples.digest
        self.range = config.range or "-1,1"
        self.depends = {
            "prediction": config.prediction,
            "alpha_bar": array_digest(config.alpha_bar.numpy()),
            "range": self.range,
            "sampler": config.sampler,
            "sampling_steps": config.sampling_steps if config.sampler == "ddim" else config.timesteps,
            "samples": given,
        }
        self.network.require_sound(form.image_shape)
        model = self.model()
        shown = None if self.samples is None else model.samples(min(self.samples.count or 0, CHUNK))
        Checks(self.network, config.prediction, config.range).require_declared(form.image_shape, shown)
        self.offers = model.offers
        steps = f"{self.depends['sampling_steps']:,} steps of {config.sampler}"
        if self.samples is not None:
            self.count, self.files = self.samples.count, self.samples.files
            self.notes = (*self.samples.notes, f"variations: {steps}")
        else:
            self.notes = (f"samples: drawn by {steps}, floats in [-1,1], not rounded",)
        self.words = (
            f"an ONNX denoiser ({len(self.network.data):,} bytes, predicts {config.prediction}, {config.timesteps:,} "
            f"timesteps, {config.schedule_words}, images in {self.range})"
            + (f" with {self.samples.words}" if self.samples else "")
        )

    @classmethod
    def natural_shape(cls, config: Config) -> tuple[int, ...] | None:
        """Of its input, where that has one."""
        found = DenoiserNetwork(config.root, config.alpha_bar).natural_shape
        return None if found is None else require_square(found, "the denoiser")

    @classmethod
    def folder(cls, config: Config) -> tuple[str, str] | None:
        """See `Release`."""
        return None if config.samples is None else ("samples.root", config.samples.root)

    @property
    def facts(self) -> ModelFacts:
        """With its timesteps."""
        return ModelFacts(self.name, self.offers, self.form.image_shape, self.config.timesteps)

    def model(self, device: torch.device | str = "cpu") -> "DenoiserModel":
        """The denoiser; images are moved to the device."""
        return DenoiserModel(self, device)


class DenoiserModel(OfForm, FromLatents):
    """A diffusion model by its ONNX denoiser. Its alpha_bar is that of images in [-1, 1]."""

    name = "an ONNX denoiser"

    def __init__(self, release: OnnxDenoiser, device: torch.device | str = "cpu") -> None:
        super().__init__(release.form, device, Streams("release", release.digest))
        config = release.config
        self._release = release
        self._scale = Scale.of(release.range)
        self._given = None if release.samples is None else release.samples.model(device)
        self.timesteps = config.timesteps
        self.alpha_bar = self._scale.ours(config.alpha_bar)
        self._sampler = Sampler(self.denoise, self.alpha_bar, config.sampler, config.sampling_steps)
        latent = {"latent"} if self._given is None and config.sampler == "ddim" else set()
        self.offers = frozenset({"samples", "denoise", "variation"} | latent)

    @property
    def latent_dimension(self) -> int:
        """C H W: latents are x_T."""
        return prod(self.record_shape)

    def samples(self, count: int) -> torch.Tensor:
        """Those that are given beside, else those that are drawn; see `Model`."""
        return super().samples(count) if self._given is None else self._given.samples(count)

    def _draw(self, number: int) -> torch.Tensor:
        return self._sampler.sample(self._shaped(self._latents(number)), self._streams.child("sampling", number))

    def generate(self, z_BZ: torch.Tensor) -> torch.Tensor:
        """Images [B,C,H,W] from latents [B,Z]."""
        return torch.cat([self._sampler.sample(self._shaped(z)) for z in z_BZ.split(CHUNK)])

    def denoise(self, x_BCHW: torch.Tensor, t_B: torch.Tensor) -> torch.Tensor:
        """The noise [B,C,H,W] that it finds in noised images at times t, int64 [B]."""
        return self._release.network.denoise(x_BCHW, t_B, self._release.config.prediction, self._scale)

    def variation(self, x_BCHW: torch.Tensor, time: int, rng: Streams) -> torch.Tensor:
        """Images that were noised to a time and denoised again, all with the same noise."""
        return torch.cat([self._sampler.variation(x, time, rng) for x in x_BCHW.split(CHUNK)])

    def _shaped(self, z_BZ: torch.Tensor) -> torch.Tensor:
        return z_BZ.view(-1, *self.record_shape)


def _beside(samples: Samples, form: Form) -> GivenSamples:
    try:
        return GivenSamples(GivenSamples.Config(root=samples.root, key=samples.key, range=samples.range), form)
    except Refused as error:
        raise Refused(BESIDE.sub("release.samples.", str(error))) from None
