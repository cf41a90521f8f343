"""A release of weights of one of our targets, with its name and settings: all that it offers can be attacked."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import torch
from annotated_types import MinLen
from pydantic import field_validator

from mia_core.errors import Refused, shorten
from mia_core.model_facts import ModelFacts
from mia_core.models import Snapshot
from mia_core.offers import reading
from mia_core.opening import MEBIBYTE, read_regular
from mia_core.paths import expanded
from mia_core.releases.release_contract import DOCS, RELEASES, Form, Release, ReleaseSettings
from mia_core.settings import Choice, settings
from mia_core.streams import Streams
from mia_core.targets import TARGETS, Target, placed

MOST_BYTES = 8 * 1024 * MEBIBYTE


@RELEASES.register
class ReleasedWeights(Release):
    """Weights of all networks of the target, discriminator and encoder too: what is in the file is what is released.

    Of a target that is attacked by an average of its weights, the file has the average alone: the weights that it is of
    would be released too, and no attack would look at them.
    """

    name = "weights"

    @settings
    class Config(ReleaseSettings):
        """root: a safetensors file, as a study's `targets/` has them. target: its name and settings, as in a study."""

        root: Annotated[str, MinLen(1)]
        target: dict[str, Any] | str

        @field_validator("target")
        @classmethod
        def _known(cls, target: dict[str, Any] | str) -> dict[str, Any]:
            with reading({}):  # a worker builds it again by its name
                return TARGETS.choose(target, "target").to_dict()

    config: Config

    def __init__(self, config: Config, form: Form) -> None:
        super().__init__(config, form)
        self._choice: Choice[Target] = TARGETS.choose(config.target)
        path = expanded(config.root)
        try:
            self._data = read_regular(path, MOST_BYTES)
        except OSError as error:
            raise Refused(f"release.root: {config.root} cannot be read: {error.strerror or error}") from None
        target = self._target()
        self.offers, self._facts = target.offers, replace(target.facts, name=self.name)
        self.digest = hashlib.sha256(self._data).hexdigest()
        self.depends = {"target": self._choice.to_dict()}
        self.words = f"weights of {self._choice.name} ({len(self._data):,} bytes)"

    @property
    def facts(self) -> ModelFacts:
        """The target's."""
        return self._facts

    def model(self, device: torch.device | str = "cpu") -> Snapshot:
        """The target in evaluation mode."""
        return Snapshot(placed(self._target(), device), Streams("release", self.digest))

    def _target(self) -> Target:
        """Refused unless the file has exactly the tensors of such a target, all finite."""
        try:
            from safetensors.torch import load
        except ImportError:
            raise Refused("release: weights need safetensors; install mia-study[study]") from None
        target = self._choice.build(self.form.image_shape)
        try:
            tensors = load(self._data)
            _require_averages_alone(target, tensors)
            target.load_state_dict({**_beside_averages(target, tensors), **tensors})
        except Refused:
            raise
        except Exception as error:  # of safetensors, which is no class that is documented, or RuntimeError of torch
            reason = shorten(" ".join(str(error).split()), 200)
            raise Refused(
                f"release.root: no weights of {self._choice.name} with these settings for images of "
                f"{' x '.join(map(str, self.form.image_shape))}: {reason}; a network that is none of ours is given as "
                f"an ONNX file or by a function ({DOCS})"
            ) from None
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values() if tensor.is_floating_point()):
            raise Refused("release.root: has weights that are no finite numbers")
        return target.eval().requires_grad_(False)


def _require_averages_alone(target: Target, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refused if the file has weights that nothing attacks: those that an average is of."""
    for average, network in target.averages.items():
        if any(name.startswith(f"{network}.") for name in tensors):
            raise Refused(
                f"release.root: has the weights of `{network}` beside `{average}`, their average, which alone is "
                f"attacked; release a file of its tensors `{average}.*` alone (docs/release.md has the lines)"
            )


def _beside_averages(target: Target, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a target with averages has besides them; nothing that is attacked depends on it."""
    found = {name: value for name, value in target.state_dict().items() if target.averages and "." not in name}
    for average, network in target.averages.items():
        own = {name: value for name, value in tensors.items() if name.startswith(f"{average}.")}
        found |= {f"{network}{name.removeprefix(average)}": value for name, value in own.items()}
    return found
