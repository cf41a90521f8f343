"""A release of samples alone: a folder of images, an array in a file, or encoded images in a Parquet file."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import MinLen

from mia_core.data.decoding import Reading
from mia_core.data.given_folders import PlainFolder
from mia_core.errors import Refused
from mia_core.hashing import array_digest
from mia_core.models import SampleFolder
from mia_core.paths import expanded
from mia_core.releases.release_contract import DOCS, RELEASES, Form, Release, ReleaseSettings
from mia_core.releases.sample_arrays import ARRAYS, PARQUET, Range, as_pixels, formed, read_array, read_parquet
from mia_core.settings import settings
from mia_core.streams import Streams


@RELEASES.register
class GivenSamples(Release):
    """Samples in one random order, a function of their content, so that the first k are a random k of them."""

    name = "samples"

    @settings
    class Config(ReleaseSettings):
        """root: a folder of images, with its sub-folders, or a file: .npy, .npz or .parquet.

        key: the array of an .npz file, or the column of a Parquet file, where it has several. range: of floats.
        """

        root: Annotated[str, MinLen(1)]
        key: str | None = None
        range: Range = "auto"

    config: Config

    def __init__(self, config: Config, form: Form) -> None:
        super().__init__(config, form)
        path = expanded(config.root)
        images, files, note, kind = self._read(path)
        images = form.compressed(images)
        self.digest = array_digest(images)
        order = Streams("release", self.digest).numpy("order").permutation(len(images))
        self._images = np.ascontiguousarray(images[order])
        self.files = [files[number] for number in order] if files else ()
        self.count = len(images)
        self.words = f"{len(images):,} samples ({kind})"
        self.notes = (f"samples: {note}",) if note else ()

    @classmethod
    def folder(cls, config: Config) -> tuple[str, str]:
        """See `Release`."""
        return "root", config.root

    def model(self, device: torch.device | str = "cpu") -> SampleFolder:
        """The samples, and no more."""
        return SampleFolder(torch.from_numpy(self._images), device)

    def _read(self, path: Path) -> tuple[np.ndarray, Sequence[str], str, str]:
        """Images, names, what was done, and what it is."""
        form, suffix = self.form.settings, path.suffix.lower()
        reading = Reading(form.size, form.channels, form.window, form.transparency, form.pages)
        if path.is_dir():
            named = PlainFolder(replace(form, root=str(path))).named()
            notes = [*named.pool.notes, f"brought to {form.size} x {form.size}, as the records"]
            return np.asarray(named.pool.images), named.pool.files, "; ".join(notes), "a folder of images"
        if suffix in ARRAYS:
            pixels, note = as_pixels(read_array(path, self.config.key), self.config.range, path.name)
            return formed(pixels, reading), (), note, "an array"
        if suffix in PARQUET:
            return read_parquet(path, self.config.key, reading), (), "", "encoded images in a table"
        if not path.exists():
            raise Refused(f"release.root: {self.config.root} is not there")
        raise Refused(
            f"release.root: {path.name} is no folder, and no {', '.join((*ARRAYS, *PARQUET))} file; samples are one "
            f"of these, and a network is given as an ONNX file or by a function ({DOCS})"
        )
