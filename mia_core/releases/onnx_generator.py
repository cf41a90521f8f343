"""A release of a generator as an ONNX file, run by onnxruntime on the CPU: latents in, images out."""

import hashlib
import re
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import MinLen
from pydantic import field_validator

from mia_core.errors import Refused
from mia_core.models import CHUNK, FromLatents
from mia_core.onnx_files import OnnxNetwork, read_onnx, the_one
from mia_core.releases.release_contract import (
    DOCS,
    RELEASES,
    Form,
    OfForm,
    Release,
    ReleaseSettings,
    require_shape,
    require_square,
)
from mia_core.releases.sample_arrays import BOUNDS
from mia_core.settings import settings
from mia_core.streams import Streams

LATENT = re.compile(r"(normal|uniform):[1-9][0-9]{0,6}", re.ASCII)
PROBED = 63
"""Images by which a generator's range is checked; batch sizes other than two are tried with them, too."""
PALE = -0.1
"""No generator of images in [0, 1] goes below, and one of images in [-1, 1] hardly ever stays above."""
NEARLY_BLACK = 2 * 1.5 / 255 - 1
"""In [-1, 1]: halfway between the gray levels 1 and 2 of 0 to 255."""


@RELEASES.register
class OnnxGenerator(Release):
    """One input, latents float32 [B,Z] (or [B,Z,1,1]), and one output, images float32 [B,C,H,W].

    Only standard operators, no functions, and all weights in the file. Latents are standard normal for attacks; for a
    generator of uniform ones they are mapped by u = 2 Phi(z) - 1, which is uniform in [-1, 1].
    """

    name = "onnx"
    offers = frozenset({"samples", "latent"})

    @settings
    class Config(ReleaseSettings):
        """root: the file. latent: `normal:Z` or `uniform:Z`, how Z latents are drawn. range: of the images; null for
        -1,1, and refused where images look as if they were in [0, 1], which would be read as pale ones.
        """

        root: Annotated[str, MinLen(1)]
        latent: str
        range: Literal["-1,1", "0,1", "0,255"] | None = None

        @field_validator("latent")
        @classmethod
        def _law(cls, latent: str) -> str:
            if not LATENT.fullmatch(latent):
                raise Refused("normal:Z or uniform:Z is needed, where Z is the number of latents")
            return latent

    config: Config

    def __init__(self, config: Config, form: Form) -> None:
        super().__init__(config, form)
        self.network = Network(config)
        self.digest = hashlib.sha256(self.network.data).hexdigest()
        self.depends = {"latent": config.latent, "range": self.network.range}
        size = len(self.network.data)
        self.words = f"an ONNX generator ({size:,} bytes, latents {config.latent}, images in {self.network.range})"
        require_shape(self.network.probe().shape[1:], form, "the generator")
        self.notes = (f"samples: floats in [{self.network.range}], not rounded",)

    @classmethod
    def natural_shape(cls, config: Config) -> tuple[int, ...]:
        """Of its output."""
        return require_square(Network(config).probe().shape[1:], "the generator")

    def model(self, device: torch.device | str = "cpu") -> "OnnxModel":
        """The generator; images are moved to the device."""
        return OnnxModel(self, device)


class Network(OnnxNetwork):
    """A generator's file, checked, and its session."""

    def __init__(self, config: OnnxGenerator.Config) -> None:
        super().__init__(read_onnx(config.root, "root", "release"), "release", "the generator")
        self.config = config
        self.range = config.range or "-1,1"
        self.law, _, size = config.latent.partition(":")
        self.latent_dimension = int(size)

    def generate(self, z_BZ: np.ndarray) -> np.ndarray:
        """Images float32 [B,C,H,W] in [-1, 1] of standard normal latents float32 [B,Z]."""
        if self.law == "uniform":
            z_BZ = (2 * torch.special.ndtr(torch.from_numpy(z_BZ).double()) - 1).float().numpy()
        given = z_BZ.reshape(*z_BZ.shape, *[1] * (self._rank - 2))
        latents = {self._input: np.ascontiguousarray(given)}
        images = self.computed(self._output, latents)
        low, high = BOUNDS[self.range]
        if images.ndim != 4 or len(images) != len(z_BZ) or not images.size:
            raise Refused(
                f"release: the generator gives {list(images.shape)} for {len(z_BZ)} latents; [B, C, H, W] is needed"
            )
        if images.min() < low - 0.01 * (high - low) or images.max() > high + 0.01 * (high - low):
            raise Refused(
                f"release: the generator's images have values from {images.min():g} to {images.max():g}, and "
                f"release.range is {self.range}; it is one of -1,1 and 0,1 and 0,255"
            )
        return (images.astype(np.float32).clip(low, high) - low) * np.float32(2 / (high - low)) - 1

    def probe(self) -> np.ndarray:
        """Images of two latents. Refused unless they are the same again, and as many of another number of latents; and
        where values of many do not look like those of the range.
        """
        z = torch.randn(PROBED, self.latent_dimension, generator=Streams("release").torch("probe")).numpy()
        first, again = self.generate(z[:2]), self.generate(z[:2])
        highest, lowest = (reach(self.generate(z)) for reach in (np.max, np.min))
        if self.config.range is None and lowest > PALE:
            raise Refused(
                f"release: no value of {PROBED} images of the generator is below {PALE}, so that they may be in [0, 1] "
                "or in [-1, 1]; say which by release.range, one of -1,1 and 0,1 and 0,255"
            )
        if self.range == "0,255" and highest < NEARLY_BLACK:
            raise Refused(
                f"release: no value of {PROBED} images of the generator is above 1, which in 0,255 is black; "
                "release.range is one of -1,1 and 0,1 and 0,255"
            )
        if not np.array_equal(first, again):
            raise Refused("release: the generator gives other images for the same latents; take its random parts out")
        return first

    @property
    def _input(self) -> str:
        return the_one(self.session.get_inputs(), "inputs", "latents", "release", "the generator")

    @property
    def _output(self) -> str:
        return the_one(self.session.get_outputs(), "outputs", "images", "release", "the generator")

    @property
    def _rank(self) -> int:
        """Of the input; Refused unless it takes [B,Z], or [B,Z,1,1], for any B."""
        shape = list(self.session.get_inputs()[0].shape)
        whole = [size for size in shape[1:2] if isinstance(size, int)]
        if len(shape) not in (2, 4) or isinstance(shape[0], int) or shape[2:] not in ([], [1, 1]):
            raise Refused(
                f"release: the generator's input is {shape}; [B, Z] or [B, Z, 1, 1], with any B, is needed: export it "
                "so (torch.onnx.export has dynamic_axes and dynamic_shapes for B), or give a function that runs it "
                f"({DOCS})"
            )
        if whole and whole[0] != self.latent_dimension:
            raise Refused(
                f"release: the generator takes {whole[0]} latents, and release.latent is {self.config.latent}"
            )
        return len(shape)


class OnnxModel(OfForm, FromLatents):
    """An ONNX generator with chosen latents."""

    name = "an ONNX generator"
    offers = OnnxGenerator.offers

    def __init__(self, release: OnnxGenerator, device: torch.device | str = "cpu") -> None:
        super().__init__(release.form, device, Streams("release", release.digest, release.config.latent))
        self._release = release

    @property
    def latent_dimension(self) -> int:
        """Z; latents are standard normal."""
        return self._release.network.latent_dimension

    def generate(self, z_BZ: torch.Tensor) -> torch.Tensor:
        """Images [B,C,H,W] from latents [B,Z]."""
        parts = [torch.from_numpy(self._release.network.generate(z.float().cpu().numpy())) for z in z_BZ.split(CHUNK)]
        return torch.cat(parts).to(self._device)

    def _draw(self, number: int) -> torch.Tensor:
        return self.generate(self._latents(number))
