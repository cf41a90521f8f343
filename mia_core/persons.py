"""Persons as privacy units: which person each training record belongs to, and the nominal number of persons.

A person is a number of `Pool.units`: all records of a group and their exact duplicates, however a split treats groups.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Unit = Literal["record", "person"]
RECORD: Unit = "record"
PERSON: Unit = "person"
"""The privacy unit of a guarantee: one record, or all records of one person."""


def nominal_persons(units: np.ndarray, train_size: int) -> int:
    """P, the nominal number of persons of a training set of nominally n records: n * persons / records of the pool.

    At least 1. units: int64 [N], `Pool.units`, numbers from 0 without gaps. P depends on the design only. The number of
    persons in a replicate's training set could not be used: it differs between neighboring sets, and a sampling rate
    must not.
    """
    return max(1, round(train_size * (int(units.max()) + 1) / len(units)))


@dataclass(frozen=True)
class Persons:
    """numbers: int64 [members], equal for records of one person. nominal: P, see `nominal_persons`."""

    numbers: np.ndarray
    nominal: int

    @classmethod
    def of(cls, units: np.ndarray, train: np.ndarray, train_size: int) -> "Persons":
        """The persons of a training set. units: int64 [N], of the pool; train: int64 [members]; train_size: n."""
        return cls(units[train], nominal_persons(units, train_size))

    def with_others(self, count: int) -> "Persons":
        """These persons and `count` further records, each of a separate person; P stays the same."""
        first = self.numbers.max(initial=-1) + 1
        return Persons(np.concatenate([self.numbers, np.arange(first, first + count)]), self.nominal)
