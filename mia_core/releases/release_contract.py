"""What every release is: content with a digest, from which a model is made that attacks run on."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt, MaxLen, MinLen
from pydantic import model_validator

from mia_core.data.compression import reencoded
from mia_core.data.images import ImageSettings
from mia_core.errors import Refused
from mia_core.model_facts import ModelFacts
from mia_core.models import Model
from mia_core.registry import Registry
from mia_core.settings import settings

DOCS = "docs/release.md says how"
"""Of a network that is none of ours and no ONNX file."""


@dataclass(frozen=True)
class Form:
    """The form that the records were brought to, and a release's images are. settings: how images are read, with their
    size and channels; its root is not used. quality: of the JPEG encoding that all images go through, or None.
    """

    settings: ImageSettings
    quality: int | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.settings.channels, self.settings.size, self.settings.size

    def compressed(self, images: np.ndarray) -> np.ndarray:
        """uint8 [N,C,H,W] as they are after that encoding."""
        return images if self.quality is None else reencoded(images, self.quality)


class OfForm:
    """The part of a release's model that follows from its form, and the device that its images are moved to."""

    def __init__(self, form: Form, device: torch.device | str, *args: Any) -> None:
        """args: of the model's other base."""
        super().__init__(*args)
        self._form = form
        self._device = torch.device(device)

    @property
    def record_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return self._form.image_shape

    @property
    def device(self) -> torch.device:
        """The device that images are moved to."""
        return self._device


@settings
class ReleaseSettings:
    """What the user states, and nobody here checks: recipient, to whom it is released; epsilon and delta of a guarantee
    for each epsilon_unit, all three or none.
    """

    recipient: Annotated[str, MinLen(1), MaxLen(200)] | None = None
    epsilon: Annotated[float, Ge(0)] | None = None
    delta: Annotated[float, Gt(0), Lt(1)] | None = None
    epsilon_unit: Literal["record", "person"] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        given = [name for name in ("epsilon", "delta", "epsilon_unit") if getattr(self, name) is not None]
        if len(given) not in (0, 3):
            said = " and ".join(f"release.{name}" for name in given)
            raise Refused(
                f"{said} is no guarantee: give release.epsilon, release.delta and release.epsilon_unit, or none of them"
            )
        return self


class Release(ABC):
    """A release whose content is loaded; it can be pickled. Subclasses set `name` and `Config`, and the attributes.

    digest: SHA-256 of its content. depends: settings that its images depend on besides, without paths. count: how many
    samples there are, None for as many as one asks. words: what it is, in a line without paths. notes: what was done to
    its images, likewise. files: names of its samples, by number, if they have any; as private as records. runs_code:
    whether it runs the user's code. version: raised if equal content gives other images.
    """

    name: ClassVar[str]
    Config: ClassVar[type[ReleaseSettings]]
    runs_code: ClassVar[bool] = False
    version: ClassVar[int] = 1

    digest: str
    depends: Mapping[str, Any] = MappingProxyType({})
    count: int | None = None
    words: str
    notes: tuple[str, ...] = ()
    files: Sequence[str] = ()
    offers: frozenset[str] = frozenset({"samples"})

    def __init__(self, config: Any, form: Form) -> None:
        """Read the content. Refused, with the way out, if it is not there, or no such release."""
        self.config = config
        self.form = form

    @classmethod
    def natural_shape(cls, config: Any) -> tuple[int, ...] | None:
        """(C, H, W) that images have before they are brought to any form; None where they can be of any."""
        return None

    @classmethod
    def folder(cls, config: Any) -> tuple[str, str] | None:
        """The setting that says where samples lie, and that place; None where they are no files."""
        return None

    @abstractmethod
    def model(self, device: torch.device | str = "cpu") -> Model:
        """What attacks run on: images of the form's shape, in one fixed sequence."""

    @property
    def facts(self) -> ModelFacts:
        """What tells whether an attack fits it."""
        return ModelFacts(self.name, self.offers, self.form.image_shape)

    @property
    def identity(self) -> dict[str, Any]:
        """What ids of results depend on."""
        return {"name": self.name, "sha256": self.digest, "version": self.version, **self.depends}

    def about(self) -> dict[str, Any]:
        """What is kept with results: plain values without paths or names of files."""
        return {
            "name": self.name,
            "sha256": self.digest,
            "offers": sorted(self.offers),
            "count": self.count,
            "words": self.words,
            "notes": list(self.notes),
        }


RELEASES: Registry[Release] = Registry("release")


def require_square(found: Sequence[int], what: str) -> tuple[int, ...]:
    """The shape (C, H, W) of images, as it is. Refused unless they are square, and gray or in color."""
    channels, height, width = found
    if height != width or channels not in (1, 3):
        raise Refused(
            f"release: {what} makes images [C, H, W] of {channels} x {height} x {width}; square ones of 1 or 3 "
            "channels, channels first, are needed"
        )
    return channels, height, width


def require_shape(found: Sequence[int], form: Form, what: str) -> None:
    """Refused unless images of this shape (C, H, W) are of the form."""
    channels, height, width = require_square(found, what)
    if tuple(found) != form.image_shape:
        raise Refused(
            f"release: {what} makes images of {channels} x {height} x {width}, and the records are read as "
            f"{' x '.join(map(str, form.image_shape))}; set data.size={height} and data.channels={channels}"
        )
