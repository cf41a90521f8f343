"""Persons as privacy units: which training records are whose, and how many persons a training set nominally has.

A person is a number of `Pool.units`: all records of a group, with exact duplicates, whatever a split does with groups.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Unit = Literal["record", "person"]
RECORD: Unit = "record"
PERSON: Unit = "person"
"""What a guarantee is about: one record, or all records of one person."""


def nominal_persons(units: np.ndarray, train_size: int) -> int:
    """P: the persons of a training set of nominally n records, n times persons over records of the pool; at least 1.

    units: int64 [N], of `Pool.units`, numbers from 0 without gaps. P follows from the design alone. The persons that a
    replicate's draw has would not do: their number differs between neighbors, and a sampling rate must not.
    """
    return max(1, round(train_size * (int(units.max()) + 1) / len(units)))


@dataclass(frozen=True)
class Persons:
    """numbers: int64 [members], training records of one person share one. nominal: P, as of `nominal_persons`."""

    numbers: np.ndarray
    nominal: int

    @classmethod
    def of(cls, units: np.ndarray, train: np.ndarray, train_size: int) -> "Persons":
        """Of a training set. units: int64 [N], of the pool; train: int64 [members], into it; train_size: nominal n."""
        return cls(units[train], nominal_persons(units, train_size))

    def with_others(self, count: int) -> "Persons":
        """After `count` further records, each of a person of its own; P stays."""
        first = self.numbers.max(initial=-1) + 1
        return Persons(np.concatenate([self.numbers, np.arange(first, first + count)]), self.nominal)
