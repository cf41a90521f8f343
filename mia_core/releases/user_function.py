"""A release as a function of the user's that draws samples: it runs their code, and so is named with their consent."""

import hashlib
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import MinLen

from mia_core.data.decoding import Reading
from mia_core.errors import Refused, shorten
from mia_core.hashing import array_digest
from mia_core.models import CHUNK, Stream, floats
from mia_core.releases.release_contract import RELEASES, Form, OfForm, Release, ReleaseSettings
from mia_core.releases.sample_arrays import Range, as_pixels, formed
from mia_core.settings import settings
from mia_core.streams import Streams

NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", re.ASCII)


@RELEASES.register
class UserFunction(Release):
    """`function(count, seed)` returns `count` images, an array as of `as_pixels`; equal arguments, equal images.

    It is called with count = 256 and a seed for each chunk, and once more with the first, which must give the same.
    """

    name = "callable"
    runs_code = True

    @settings
    class Config(ReleaseSettings):
        """function: `package.module:function`. range: of floats."""

        function: Annotated[str, MinLen(1)]
        range: Range = "auto"

    config: Config

    def __init__(self, config: Config, form: Form) -> None:
        super().__init__(config, form)
        first = self._drawn(0)
        again = self._drawn(0)
        if not np.array_equal(first, again):
            raise Refused(f"release.function: {config.function} gives other images for the same count and seed")
        self.digest = array_digest(first)
        self.depends = {"function": config.function, "source": _source_digest(imported(config.function))}
        self.words = f"a function that draws samples ({config.function})"

    @classmethod
    def natural_shape(cls, config: Config) -> tuple[int, ...]:
        """Of its first chunk."""
        pixels, _ = _pixels(config, 0)
        return tuple(pixels.shape[1:])

    def model(self, device: torch.device | str = "cpu") -> "DrawnByFunction":
        """As many samples as one asks for."""
        return DrawnByFunction(self, device)

    def _drawn(self, chunk: int) -> np.ndarray:
        """uint8 [CHUNK,C,H,W] of the form."""
        settings = self.form.settings
        pixels, note = _pixels(self.config, chunk)
        self.notes = (f"samples: {note}",)
        return self.form.compressed(formed(pixels, Reading(settings.size, settings.channels)))


def _pixels(config: UserFunction.Config, chunk: int) -> tuple[np.ndarray, str]:
    """uint8 [CHUNK,C,H,W] as the function draws them, and a note. Refused for what it raises, and for other shapes."""
    seed = Streams("release", config.function).seed("chunk", chunk) % 2**31
    where, function = f"{config.function}({CHUNK}, {seed})", imported(config.function)
    try:
        found = function(CHUNK, seed)
        images = np.asarray(found.detach().cpu() if isinstance(found, torch.Tensor) else found)
    except Exception as error:  # the user's code raises what it likes
        raise Refused(f"release.function: {where} raised {type(error).__name__}: {shorten(str(error))}") from error
    if images.ndim < 1 or len(images) != CHUNK:
        raise Refused(f"release.function: {where} gave {len(images) if images.ndim else 'no'} images")
    return as_pixels(images, config.range, where)


class DrawnByFunction(OfForm, Stream):
    """The chunks of a user's function, drawn on first request."""

    name = "a function"
    offers = frozenset({"samples"})

    def __init__(self, release: UserFunction, device: torch.device | str = "cpu") -> None:
        super().__init__(release.form, device)
        self._release = release

    def _draw(self, number: int) -> torch.Tensor:
        return floats(torch.from_numpy(self._release._drawn(number)).to(self._device))


def imported(name: str) -> Callable[..., Any]:
    """The function of a `package.module:function`. Refused if it is not there; runs the module's code."""
    if not NAME.fullmatch(name):
        raise Refused(f"release.function: {shorten(repr(name))} is no package.module:function")
    module, _, word = name.partition(":")
    here = str(Path.cwd())
    sys.path.append(here)  # last, so that nothing in the folder stands in for an installed module
    try:
        found = getattr(importlib.import_module(module), word, None)
    except Exception as error:
        raise Refused(f"release.function: {module} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise Refused(f"release.function: {module} has no function {word}")
    return found


def _source_digest(function: Callable[..., Any]) -> str:
    """Of the file that defines it, as far as there is one: a change of its code is another release."""
    try:
        return hashlib.sha256(Path(inspect.getfile(function)).read_bytes()).hexdigest()
    except (OSError, TypeError):
        return ""
