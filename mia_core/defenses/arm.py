"""An arm: one level of the factor `defense`, none or one or several defenses together."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mia_core.defenses.accounting import History, epsilon
from mia_core.defenses.defense import DEFENSES, Defense
from mia_core.defenses.dp_sgd import DPSGD
from mia_core.errors import Refused
from mia_core.persons import PERSON, Unit
from mia_core.secret_draws import SecretDraws
from mia_core.settings import Choice
from mia_core.targets import RecordGradients, Target, mean_gradients

NONE = "none"


def labels(arms: Sequence["Arm"]) -> list[str]:
    """The label of each arm, with the settings that tell apart arms of the same label: `dp_sgd sigma=1 clip=2`."""
    words = []
    for arm in arms:
        alike = [other.columns() for other in arms if other.label == arm.label]
        own = arm.columns().items()
        telling = (f"{key}={x:g}" for key, x in own if x is not None and any(y[key] != x for y in alike))
        words.append(" ".join([arm.label, *telling]))
    return words


@dataclass(frozen=True)
class Arm:
    """Defenses applied in their order; empty is the arm `none`, the control of all others."""

    choices: tuple[Choice[Defense], ...] = ()

    @classmethod
    def parse(cls, spec: Any, where: str = "defense") -> "Arm":
        """`none`, a defense (name, or mapping with a name), or a list of defenses."""
        if spec == NONE or (isinstance(spec, Mapping) and spec.get("name") == NONE and len(spec) == 1):
            return cls()
        parts = spec if isinstance(spec, Sequence) and not isinstance(spec, str) else [spec]
        if not parts or NONE in parts:
            raise Refused(f"{where}: a combination needs at least one defense, and `none` stands alone")
        choices = tuple(DEFENSES.choose(part, where) for part in parts)
        names = [choice.name for choice in choices]
        if len(set(names)) < len(names):
            raise Refused(f"{where}: {'+'.join(names)} has a defense twice")
        arm = cls(choices)
        if arm.poisson and arm.weight != 1:
            raise Refused(f"{where}: {'+'.join(names)}: dp_sgd clips what real_weight would weigh; give one of them")
        return arm

    @property
    def defense(self) -> str:
        """`none`, a name, or names joined by +."""
        return "+".join(choice.name for choice in self.choices) or NONE

    @property
    def strength(self) -> float:
        """The main setting of the first defense, for display; 1 for one without, 0 for none."""
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
            unit = f" unit={PERSON}" if isinstance(choice.config, DPSGD.Config) and choice.config.unit == PERSON else ""
            word = value if len(choice.arguments()) == 1 else f"{key}={value}{unit}"
            words.append(f"{choice.name} {word}")
        return " + ".join(words) or NONE

    def columns(self, sigma: float | None = None) -> dict[str, float | None]:
        """The arm's own numbers under their own names; one that an earlier defense has too under `defense.name`.

        The unit of a guarantee is none of them, and has a column of its own.

        sigma: the noise multiplier of a private arm, in place of None where a target epsilon is given.
        """
        columns: dict[str, float | None] = {}
        for choice in self.choices:
            own = choice.arguments()
            if issubclass(choice.cls, DPSGD):
                own.pop("unit", None)
                own |= {} if sigma is None else {"sigma": sigma}
            columns |= {f"{choice.name}.{key}" if key in columns else key: value for key, value in own.items()}
        return columns

    def to_list(self) -> list[dict[str, Any]]:
        """Plain values, for ids and specs; without settings that are None, so that new ones change no id."""
        return [{k: value for k, value in choice.to_dict().items() if value is not None} for choice in self.choices]

    @property
    def _private(self) -> DPSGD | None:
        built = (choice.build() for choice in self.choices if issubclass(choice.cls, DPSGD))
        return next((defense for defense in built if isinstance(defense, DPSGD)), None)

    @property
    def poisson(self) -> bool:
        """Whether batches are Poisson samples."""
        return self._private is not None

    @property
    def control(self) -> bool:
        """Whether this is a control arm, which protects nobody."""
        return any(choice.build().control for choice in self.choices)

    @property
    def weight(self) -> float:
        """What real records' gradients count times."""
        return math.prod(choice.build().weight for choice in self.choices)

    @property
    def unit(self) -> Unit | None:
        """What is sampled and clipped: records, or persons; None where batches are no Poisson samples."""
        private = self._private
        return private.config.unit if private else None

    def nominal_units(self, train_size: int, persons: int | None = None) -> int:
        """How many units a training set nominally has: P `persons` of an arm whose unit is a person, else n records.

        ValueError where such an arm is not told P.
        """
        if self.unit != PERSON:
            return train_size
        if persons is None:
            raise Refused("dp_sgd.unit: person needs to know which records are whose")
        return persons

    @property
    def delta(self) -> float | None:
        """delta of the guarantee; None without one."""
        private = self._private
        return private.config.delta if private and private.config.sigma != 0 else None

    @property
    def guaranteed(self) -> bool:
        """Whether there is a guarantee, and so draws that nobody may draw again."""
        return self.delta is not None

    @property
    def needs_horizon(self) -> bool:
        """Whether the noise depends on the steps to be trained: a target epsilon."""
        private = self._private
        return private is not None and private.config.sigma is None

    def sigma(self, sampling_rate: float, horizon: int | None = None) -> float | None:
        """The noise multiplier; None without private steps. ValueError when a target epsilon lacks its horizon."""
        private = self._private
        return private.noise_multiplier(sampling_rate, horizon) if private else None

    def epsilon(self, sampling_rate: float, steps: int, horizon: int | None = None) -> float | None:
        """epsilon(delta) after so many steps; None for arms without a guarantee."""
        sigma = self.sigma(sampling_rate, horizon) if self.delta is not None else None
        return self.epsilon_of(((sigma, sampling_rate, steps),)) if sigma else None

    def epsilon_of(self, history: History) -> float | None:
        """epsilon(delta) of steps that were done; None for arms without a guarantee."""
        return epsilon(history, self.delta) if self.delta is not None else None

    def refusal(self, target: Target) -> str | None:
        """Why the arm does not fit a target, or None."""
        reasons = (choice.build().refusal(target) for choice in self.choices)
        return next((reason for reason in reasons if reason), None)

    def empty_guarantee(self, train_size: int, persons: int | None = None) -> str | None:
        """Why the arm's guarantee means nothing at a training-set size, of nominally P `persons`, or None."""
        private = self._private
        if private is None:
            return None
        units = self.nominal_units(train_size, persons)
        if private.config.delta < 1 / units:
            return None
        per = f", for {units} persons," if self.unit == PERSON else ","
        return f"dp_sgd.delta {private.config.delta:g} must be below 1/{units}{per} or it guarantees nothing"

    def modify(self, target: Target) -> None:
        """Let every defense change the target's networks."""
        for choice in self.choices:
            choice.build().modify(target)

    def record_gradients(
        self, draws: SecretDraws, expected_batch: float, sampling_rate: float, horizon: int | None = None
    ) -> RecordGradients:
        """How real records reach a gradient; ValueError when a target epsilon lacks its horizon."""
        private = self._private
        if private:
            return private.record_gradients(draws, expected_batch, sampling_rate, horizon)
        return mean_gradients if self.weight == 1 else partial(mean_gradients, weight=self.weight)
