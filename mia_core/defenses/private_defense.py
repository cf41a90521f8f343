"""Base class of defenses that bound the influence of one privacy unit, as arms, plans and trainings use them."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from mia_core.defenses.accounting import Accountant
from mia_core.defenses.defense import Defense, TrainingFacts
from mia_core.errors import Refused
from mia_core.persons import PERSON, Unit
from mia_core.targets import RecordGradients


class CountedGradients(RecordGradients, Protocol):
    """A gradient rule with an accountant for its steps."""

    accountant: Accountant


class PrivateDefense(Defense):
    """Samples units by coins, clips their gradients and adds noise; with noise there is a guarantee."""

    only_here = "claims a guarantee, which audits and reports compute themselves; packages offer defenses without one"

    def conflict(self, others: Sequence[Defense]) -> str | None:
        """Refuses other defenses that choose records or take gradients, which no proof of the guarantee covers."""
        for other in others:
            kind = type(other)
            if (kind.parts, kind.batches, kind.gradients) != (Defense.parts, Defense.batches, Defense.gradients):
                return f"{self.name} does not go with {other.name}, which chooses records or takes gradients itself"
        return None

    @property
    @abstractmethod
    def unit(self) -> Unit:
        """The unit that is sampled, clipped and accounted for."""

    @property
    @abstractmethod
    def delta(self) -> float | None:
        """delta of the guarantee; None without one."""

    @property
    @abstractmethod
    def needs_horizon(self) -> bool:
        """Whether the noise depends on the number of steps."""

    @abstractmethod
    def noise_multiplier(self, sampling_rate: float, horizon: int | None) -> float:
        """sigma; Refused if it depends on a horizon that is not given."""

    @abstractmethod
    def empty_guarantee(self, units: int) -> str | None:
        """Why the guarantee is empty for this number of units, or None."""

    @abstractmethod
    def gradients(self, rule: RecordGradients, facts: TrainingFacts) -> CountedGradients:
        """A rule that clips, adds noise and counts."""

    def nominal_units(self, train_size: int, persons: int | None) -> int:
        """Nominal number of units of a training set: n records, or P persons; Refused if P is needed and missing."""
        if self.unit != PERSON:
            return train_size
        if persons is None:
            raise Refused(f"{self.name}.unit: person needs to know which records are whose")
        return persons

    def sampling_rate(self, train_size: int, batch_size: int, persons: int | None) -> float:
        """q, the probability of a unit in a step: B / n for records, B / P for persons."""
        return batch_size / self.nominal_units(train_size, persons)

    def rate(self, facts: TrainingFacts) -> float:
        """q of a training."""
        nominal = facts.persons.nominal if facts.persons else None
        return self.sampling_rate(facts.train_size, facts.batch_size, nominal)

    def sampling_refusal(self, train_size: int, batch_size: int, persons: int | None) -> str | None:
        """Why units cannot be sampled such that B are expected per batch, or None."""
        units = self.nominal_units(train_size, persons)
        if batch_size <= units:
            return None
        if self.unit == PERSON:
            return (
                f"{self.name} samples each person with probability batch_size / persons, and {batch_size} / {units} is "
                f"above 1 ({train_size} records are of {units} persons nominally); lower training.batch_size"
            )
        return (
            f"{self.name} samples each record with probability batch_size / train_size, and {batch_size} / {units} is "
            "above 1; lower training.batch_size"
        )
