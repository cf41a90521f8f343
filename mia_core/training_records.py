"""The records of a training: real ones and, for an attacker's surrogate, known records on the fake side."""

from dataclasses import dataclass

import numpy as np

from mia_core.errors import Refused
from mia_core.persons import Persons


@dataclass(frozen=True)
class Contrast:
    """Known records on the fake side of every step, drawn anew for each step, with replacement.

    images: uint8 [.,C,H,W]. share: their share of the fake side; 1 trains a discriminator without generated records.
    """

    images: np.ndarray
    share: float = 0.5

    def per_step(self, batch_size: int) -> int:
        """Known records per step: `batch_size` for a share of 1, else between 1 and `batch_size` - 1."""
        return batch_size if self.share == 1 else min(max(1, round(self.share * batch_size)), batch_size - 1)


@dataclass(frozen=True)
class Records:
    """images: uint8 [members,C,H,W]. train_size: nominal n, which defines an epoch.

    persons: the persons of the records; required by an arm whose unit is a person, ignored by others. ValueError if
    there are no records, or if the number of records and of persons' numbers differ.
    """

    images: np.ndarray
    train_size: int
    persons: Persons | None = None
    contrast: Contrast | None = None

    def __post_init__(self) -> None:
        if not len(self.images):
            raise Refused("there is no record to train on")
        if self.persons and self.persons.numbers.shape != (len(self.images),):
            raise Refused(
                f"{len(self.images)} records need as many numbers of persons, got {self.persons.numbers.shape}"
            )

    @property
    def nominal_persons(self) -> int | None:
        """P, or None if the persons are unknown."""
        return self.persons.nominal if self.persons else None

    def chosen(self, index: np.ndarray) -> "Records":
        """The records at these indices; n stays the same."""
        if len(index) == len(self.images) and bool((index == np.arange(len(index))).all()):
            return self
        persons = Persons(self.persons.numbers[index], self.persons.nominal) if self.persons else None
        return Records(self.images[index], self.train_size, persons, self.contrast)
