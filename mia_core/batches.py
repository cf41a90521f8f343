"""Which records each step sees: batches along shuffled orders, or Poisson samples padded to a fixed size.

A budget of e epochs of n records in batches of B is ceil(e n / B) steps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from mia_core.step_draws import BLOCK
from mia_core.streams import Streams

PADDING = -1
"""The unit of a padding row, which stands for no record."""

DEVIATIONS = 6
"""Standard deviations above the mean up to which a Poisson sample fits one padded batch.

A sample is larger at most once in 10^7 steps for batches of 32, and once in 10^6 steps for batches of 2.
"""


def steps_of(epochs: int, train_size: int, batch_size: int) -> int:
    """Number of steps in `epochs` epochs, rounded up: each record is seen once per epoch, up to one batch."""
    return -(-epochs * train_size // batch_size)


def epochs_of(steps: int, train_size: int, batch_size: int) -> int:
    """Number of completed epochs after `steps` steps."""
    return steps * batch_size // train_size


@dataclass(frozen=True)
class Rows:
    """The records of one step. index: int64 [B], the index of each row's record.

    units: int64 [B], the privacy unit of each row; `PADDING` marks a row that must not contribute to any gradient or
    loss. None if the arm bounds no unit's influence; then every row is a record.
    """

    index: torch.Tensor
    units: torch.Tensor | None = None

    @property
    def records(self) -> torch.Tensor:
        """int64: the record indices without padding."""
        return self.index if self.units is None else self.index[self.units != PADDING]

    def repeated(self, times: int) -> "Rows":
        """Each row so many times in a row."""
        if times == 1:
            return self
        units = None if self.units is None else self.units.repeat_interleave(times)
        return Rows(self.index.repeat_interleave(times), units)


class Batches(Protocol):
    """Which records a training sees, step by step."""

    def rows(self, step: int) -> Rows:
        """The rows of one step. They do not depend on which steps were requested before."""
        ...


class Ordered:
    """Batches of `batch_size` taken from consecutive shuffled orders of all records; a batch may span two orders."""

    def __init__(self, streams: Streams, count: int, batch_size: int) -> None:
        self.streams = streams
        self.count = count
        self.batch_size = batch_size
        self._orders: dict[int, np.ndarray] = {}

    def rows(self, step: int) -> Rows:
        """The rows of one step."""
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        numbers, places = np.divmod(places, self.count)
        needed = np.unique(numbers).tolist()
        self._orders = {number: self._order(number) for number in needed}
        index = np.concatenate([self._orders[number][places[numbers == number]] for number in needed])
        return Rows(torch.from_numpy(index))

    def _order(self, number: int) -> np.ndarray:
        known = self._orders.get(number)
        return self.streams.numpy("order", number).permutation(self.count) if known is None else known


Uniform = Callable[[int, int], np.ndarray]
"""`uniform(step, count)`: float64 [count], one number in [0, 1) per record or person."""


@dataclass(frozen=True)
class Sampled:
    """Poisson samples: each of `count` records is in a step with probability `rate`, independently.

    size: rows per batch, see `padded_size`; a larger sample is padded to the next multiple of it.
    """

    uniform: Uniform
    count: int
    rate: float
    size: int

    def rows(self, step: int) -> Rows:
        """The rows of one step."""
        return padded(np.flatnonzero(self.uniform(step, self.count) < self.rate), self.size)


class SampledPersons:
    """Poisson samples of persons: a person is in a step with probability `rate` and contributes one of their records.

    The record is drawn uniformly from the person's records. Persons are numbered by their first record, and a person's
    draws depend only on the step and on that number.
    """

    def __init__(self, coins: Uniform, picks: Uniform, persons: np.ndarray, rate: float, size: int) -> None:
        """coins, picks: draws of the persons, and of their records. persons: int64 [records], each record's person.

        size: rows per batch, see `padded_size`; a larger sample is padded to the next multiple of it.
        """
        self.coins = coins
        self.picks = picks
        self.rate = rate
        self.size = size
        _, first, place, self._counts = np.unique(persons, return_index=True, return_inverse=True, return_counts=True)
        order = np.argsort(first)
        place = np.argsort(order)[place.ravel()]
        self._counts = self._counts[order]
        self._records = np.argsort(place, kind="stable")
        self._starts = np.cumsum(self._counts) - self._counts

    def rows(self, step: int) -> Rows:
        """The rows of one step; their units are the numbers of persons."""
        count = len(self._counts)
        sampled = np.flatnonzero(self.coins(step, count) < self.rate)
        picked = (self.picks(step, count)[sampled] * self._counts[sampled]).astype(np.int64)
        return padded(self._records[self._starts[sampled] + picked], self.size, sampled)


def padded_size(units: int, rate: float) -> int:
    """Rows of a batch that nearly every Poisson sample fits into. units: nominal number of records, or of persons."""
    return math.ceil(units * rate + DEVIATIONS * math.sqrt(units * rate * (1 - rate)))


def padded(index: np.ndarray, size: int, units: np.ndarray | None = None) -> Rows:
    """A batch of these records, padded by copies of record 0 to a multiple of `size` rows, and at least `size`.

    units: int64, the privacy unit of each record; by default each record is its own unit.
    """
    rows = max(1, math.ceil(len(index) / size)) * size
    rest = np.zeros(rows - len(index), dtype=np.int64)
    units = np.concatenate([index if units is None else units, rest + PADDING])
    return Rows(torch.from_numpy(np.concatenate([index, rest])), torch.from_numpy(units))


class SeededCoins:
    """Uniform draws for the Poisson sampling of an arm without a guarantee, drawn from `streams` in blocks of steps."""

    def __init__(self, streams: Streams, purpose: str = "poisson") -> None:
        self.streams = streams
        self.purpose = purpose
        self._block: tuple[tuple[int, int], list[np.ndarray]] | None = None

    def __call__(self, step: int, count: int) -> np.ndarray:
        """float64 [count], uniform in [0, 1)."""
        number, position = divmod(step, BLOCK)
        if self._block is None or self._block[0] != (number, count):
            random = self.streams.numpy(self.purpose, number)
            self._block = (number, count), [random.random(count) for _ in range(BLOCK)]
        return self._block[1][position]
