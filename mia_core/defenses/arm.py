"""An arm: one level of the factor `defense`, i.e. no defense, one, or several together."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from mia_core.batches import Batches, Rows
from mia_core.defenses.accounting import Accountant, History, epsilon
from mia_core.defenses.defense import DEFENSES, Defense, TrainingFacts
from mia_core.defenses.private_defense import CountedGradients, PrivateDefense
from mia_core.errors import Refused, shorten
from mia_core.persons import Unit
from mia_core.settings import Choice
from mia_core.step_draws import Draw
from mia_core.streams import Streams
from mia_core.targets import RecordGradients, RecordLosses, Target, mean_gradients

NONE = "none"


def labels(arms: Sequence["Arm"]) -> list[str]:
    """The label of each arm. Arms with equal labels get the settings in which they differ: `dp_sgd sigma=1 clip=2`.

    Labels do not name a setting that was added later where an arm has its default.
    """
    columns = [arm.columns() for arm in arms]
    alike: dict[str, list[dict[str, float | None]]] = {}
    for arm, own in zip(arms, columns, strict=True):
        alike.setdefault(arm.label, []).append(own)
    differing = {label: {key for own in found for key in own if _differs(key, found)} for label, found in alike.items()}
    return [
        " ".join(
            [
                arm.label,
                *(
                    f"{key}={value:g}"
                    for key, value in own.items()
                    if value is not None and key in differing[arm.label]
                ),
            ]
        )
        for arm, own in zip(arms, columns, strict=True)
    ]


def _differs(key: str, found: Sequence[Mapping[str, float | None]]) -> bool:
    return len({own.get(key) for own in found}) > 1


def labels_of(arms: Iterable["Arm"]) -> dict["Arm", str]:
    """Arms without repetitions, in their order, each with the label that tells it from the others."""
    distinct = list(dict.fromkeys(arms))
    return dict(zip(distinct, labels(distinct), strict=True))


def _require_numbers(choice: Choice[Defense], where: str) -> None:
    """Refused for a package's defense with a setting that is no number: settings of arms are columns of numbers."""
    for name, value in choice.arguments().items() if choice.package else ():
        if not isinstance(value, int | float | None):
            raise Refused(f"{where}.{name}: settings of a package's defense are numbers, got {shorten(repr(value))}")


@dataclass(frozen=True)
class Arm:
    """Defenses in the order in which they are applied. Empty for arm `none`, the control of all others."""

    choices: tuple[Choice[Defense], ...] = ()

    @classmethod
    def parse(cls, spec: Any, where: str = "defense") -> "Arm":
        """Parse `none`, a defense (name, or mapping with a name), or a list. Refused for conflicts and repetitions."""
        if spec == NONE or (isinstance(spec, Mapping) and spec.get("name") == NONE and len(spec) == 1):
            return cls()
        parts = spec if isinstance(spec, Sequence) and not isinstance(spec, str) else [spec]
        if not parts or NONE in parts:
            raise Refused(f"{where}: a combination needs at least one defense, and `none` stands alone")
        choices = tuple(DEFENSES.choose(part, where) for part in parts)
        for choice in choices if any(choice.package for choice in choices) else ():
            _require_numbers(choice, where)
        names = [choice.name for choice in choices]
        if len(set(names)) < len(names):
            raise Refused(f"{where}: {'+'.join(names)} has a defense twice")
        built = [choice.build() for choice in choices]
        for defense in sorted(built, key=lambda one: isinstance(one, PrivateDefense)):  # specific reasons first
            if reason := defense.conflict([other for other in built if other is not defense]):
                raise Refused(f"{where}: {'+'.join(names)}: {reason}")
        return cls(choices)

    @cached_property
    def defenses(self) -> tuple[Defense, ...]:
        """The defense objects, in order."""
        return tuple(choice.build() for choice in self.choices)

    @property
    def defense(self) -> str:
        """`none`, a name, or names joined by +."""
        return "+".join(choice.name for choice in self.choices) or NONE

    @property
    def strength(self) -> float:
        """The main setting of the first defense, for display; 1 if it has none, 0 for arm `none`."""
        if not self.choices:
            return 0.0
        shown = self.choices[0].cls.shown(self.choices[0].config)
        return shown[1] if shown else 1.0

    @property
    def label(self) -> str:
        """`none`, `weight_norm`, `dropout 0.5`, `dp_sgd sigma=2`, `dp_sgd epsilon=8 unit=person`."""
        words = []
        for choice in self.choices:
            shown = choice.cls.shown(choice.config)
            if shown is None:
                words.append(choice.name)
                continue
            key, value = shown[0], f"{shown[1]:g}"
            word = value if len(choice.arguments()) == 1 else f"{key}={value} {choice.cls.qualifier(choice.config)}"
            words.append(f"{choice.name} {word}".strip())
        return " + ".join(words) or NONE

    def columns(self, sigma: float | None = None) -> dict[str, float | None]:
        """The arm's settings by name; a name that an earlier defense also has becomes `defense.name`.

        The unit of a guarantee is not included; it has its own column.

        sigma: the noise multiplier of a private arm, which replaces None if a target epsilon is given.
        """
        columns: dict[str, float | None] = {}
        for choice in self.choices:
            own = choice.arguments()
            if issubclass(choice.cls, PrivateDefense):
                own.pop("unit", None)
                own |= {} if sigma is None else {"sigma": sigma}
            columns |= {f"{choice.name}.{key}" if key in columns else key: value for key, value in own.items()}
        return columns

    def to_list(self) -> list[dict[str, Any]]:
        """Plain values for ids and specs, without settings that are None, so that new settings change no id."""
        return [{k: value for k, value in choice.to_dict().items() if value is not None} for choice in self.choices]

    @property
    def _private(self) -> PrivateDefense | None:
        return next((defense for defense in self.defenses if isinstance(defense, PrivateDefense)), None)

    @property
    def poisson(self) -> bool:
        """Whether batches are Poisson samples."""
        return self._private is not None

    @property
    def rows_per_record(self) -> int:
        """Rows of a batch for each of its records, each row with random numbers of its own."""
        return math.prod(defense.rows_per_record for defense in self.defenses)

    @property
    def control(self) -> bool:
        """Whether this is a control arm, which does not protect anybody."""
        return any(defense.control for defense in self.defenses)

    @property
    def unit(self) -> Unit | None:
        """The privacy unit, which is sampled and clipped; None if batches are not Poisson samples."""
        private = self._private
        return private.unit if private else None

    @property
    def delta(self) -> float | None:
        """delta of the guarantee; None without one."""
        private = self._private
        return private.delta if private else None

    @property
    def guaranteed(self) -> bool:
        """Whether there is a guarantee. Its draws then must not be reproducible."""
        return self.delta is not None

    @property
    def needs_horizon(self) -> bool:
        """Whether the noise depends on the number of steps, i.e. a target epsilon is set."""
        private = self._private
        return private is not None and private.needs_horizon

    def sampling_rate(self, train_size: int, batch_size: int, persons: int | None = None) -> float:
        """q, the probability of a unit in a step of private training: B / n, or B / P for nominally P `persons`."""
        private = self._private
        return private.sampling_rate(train_size, batch_size, persons) if private else batch_size / train_size

    def sigma(self, sampling_rate: float, horizon: int | None = None) -> float | None:
        """The noise multiplier; None without private steps. Refused if a target epsilon has no horizon."""
        private = self._private
        return private.noise_multiplier(sampling_rate, horizon) if private else None

    def epsilon(self, sampling_rate: float, steps: int, horizon: int | None = None) -> float | None:
        """epsilon(delta) after so many steps; None without a guarantee."""
        sigma = self.sigma(sampling_rate, horizon) if self.delta is not None else None
        return self.epsilon_of(((sigma, sampling_rate, steps),)) if sigma else None

    def epsilon_of(self, history: History) -> float | None:
        """epsilon(delta) of the steps in a history; None without a guarantee."""
        return epsilon(history, self.delta) if self.delta is not None else None

    # Refusals

    def refusal(self, target: Target) -> str | None:
        """Why the arm cannot be used with a target, or None."""
        return _first(defense.refusal(target) for defense in self.defenses)

    def training_refusal(self, train_size: int, batch_size: int, persons: int | None = None) -> str | None:
        """Why the arm cannot be used with a training-set size, nominally P `persons` and a batch size, or None."""
        return self.empty_guarantee(train_size, persons) or self.sampling_refusal(train_size, batch_size, persons)

    def empty_guarantee(self, train_size: int, persons: int | None = None) -> str | None:
        """Why the arm's guarantee is empty at this training-set size, or None."""
        private = self._private
        return private.empty_guarantee(private.nominal_units(train_size, persons)) if private else None

    def sampling_refusal(self, train_size: int, batch_size: int, persons: int | None = None) -> str | None:
        """Why units cannot be sampled such that B are expected per batch, or None."""
        private = self._private
        return private.sampling_refusal(train_size, batch_size, persons) if private else None

    # Hooks

    def modify(self, target: Target) -> None:
        """Apply every defense's change to the target's networks."""
        for defense in self.defenses:
            defense.modify(target)

    def parts(self, images: np.ndarray, streams: Streams) -> np.ndarray:
        """int64 [.]: indices of the records, uint8 [n,C,H,W], that are trained on."""
        kept = np.arange(len(images))
        for defense in self.defenses:
            part = defense.parts(images[kept], streams)
            kept = kept if part is None else kept[part]
        return kept

    def batches(self, facts: TrainingFacts) -> Batches | None:
        """The choice of each step's records; None for shuffled orders."""
        found = [batches for defense in self.defenses if (batches := defense.batches(facts)) is not None]
        assert len(found) <= 1, f"{self.label} chooses records in {len(found)} ways"
        return found[0] if found else None

    def inputs(self, x_BCHW: torch.Tensor, draw: Callable[[str, Draw], torch.Tensor]) -> torch.Tensor:
        """The real records [B,C,H,W] as a step sees them."""
        for defense in self.defenses:
            x_BCHW = defense.inputs(x_BCHW, draw)
        return x_BCHW

    def gradients(self, facts: TrainingFacts) -> tuple[RecordGradients, Accountant | None]:
        """The gradient rule for real records, and its accountant, if any. Refused if a required horizon is missing."""
        rule: RecordGradients = mean_gradients
        accountant = None
        for defense in self.defenses:
            rule = defense.gradients(rule, facts)
            if isinstance(defense, PrivateDefense):
                accountant = cast(CountedGradients, rule).accountant
        return self._with_losses(rule), accountant

    def _with_losses(self, rule: RecordGradients) -> RecordGradients:
        changing = [defense for defense in self.defenses if type(defense).losses is not Defense.losses]
        if not changing:
            return rule

        def changed(
            networks: Mapping[str, nn.Module], losses: RecordLosses, records: tuple[torch.Tensor, ...], rows: Rows
        ) -> dict[str, torch.Tensor]:
            for defense in changing:
                losses = defense.losses(losses)
            return rule(networks, losses, records, rows)

        return changed

    def weights(self, target: Target) -> None:
        """Apply every defense's change to the weights after a step."""
        for defense in self.defenses:
            defense.weights(target)


def _first(reasons: Iterable[str | None]) -> str | None:
    return next((reason for reason in reasons if reason), None)
