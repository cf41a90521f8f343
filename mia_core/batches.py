"""Which records a step sees: so many in an order without end, or a Poisson sample of them, padded to a fixed size.

A budget of epochs is one of steps: e epochs of n records in batches of B end after ceil(e n / B) steps.
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
"""The unit of a row that is no record."""

DEVIATIONS = 6
"""A sample has more records than its mean and so many standard deviations once in 10^7 steps or less often, for a batch
of 32; for one of 2, once in 10^6."""


def steps_of(epochs: int, train_size: int, batch_size: int) -> int:
    """Steps after which so many epochs are over: each record was seen so often, give or take a batch."""
    return -(-epochs * train_size // batch_size)


def epochs_of(steps: int, train_size: int, batch_size: int) -> int:
    """Whole epochs after so many steps."""
    return steps * batch_size // train_size


@dataclass(frozen=True)
class Rows:
    """The records of a step. index: int64 [B], of records.

    units: int64 [B], whose privacy a row is about, `PADDING` for a row that is no record and must count nothing; None
    where no unit's influence is bounded and every row is a record.
    """

    index: torch.Tensor
    units: torch.Tensor | None = None

    @property
    def records(self) -> torch.Tensor:
        """int64: indices without padding."""
        return self.index if self.units is None else self.index[self.units != PADDING]


class Batches(Protocol):
    """Which records a training sees, step by step."""

    def rows(self, step: int) -> Rows:
        """Of a step, whatever steps were asked for before."""
        ...


class Ordered:
    """Batches of `batch_size` along one shuffled order of all records after another; the tail wraps into the next."""

    def __init__(self, streams: Streams, count: int, batch_size: int) -> None:
        self.streams = streams
        self.count = count
        self.batch_size = batch_size
        self._orders: dict[int, np.ndarray] = {}

    def rows(self, step: int) -> Rows:
        """Of a step."""
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
"""`uniform(step, count)`: a number in [0, 1) for each record or person, float64 [count]."""


@dataclass(frozen=True)
class Sampled:
    """Poisson samples: each of `count` records is in a step with probability `rate`, by a draw of its own.

    size: rows of a batch, as of `padded_size`; a larger sample gets the next multiple of it.
    """

    uniform: Uniform
    count: int
    rate: float
    size: int

    def rows(self, step: int) -> Rows:
        """Of a step."""
        return padded(np.flatnonzero(self.uniform(step, self.count) < self.rate), self.size)


class SampledPersons:
    """Poisson samples of persons: each is in a step with probability `rate`, and then one record of theirs is.

    Of a sampled person, each record is as likely as another. Persons have places in the order of their first records,
    and what a person draws depends on the step and on their place alone.
    """

    def __init__(self, coins: Uniform, picks: Uniform, persons: np.ndarray, rate: float, size: int) -> None:
        """coins: which persons; picks: which of their records. persons: int64 [records], the number of each one's.

        size: rows of a batch, as of `padded_size`; a larger sample gets the next multiple of it.
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
        """Of a step; units are places of persons."""
        count = len(self._counts)
        sampled = np.flatnonzero(self.coins(step, count) < self.rate)
        picked = (self.picks(step, count)[sampled] * self._counts[sampled]).astype(np.int64)
        return padded(self._records[self._starts[sampled] + picked], self.size, sampled)


def padded_size(units: int, rate: float) -> int:
    """Rows that nearly every sample fits into. units: nominal number of records, or of persons."""
    return math.ceil(units * rate + DEVIATIONS * math.sqrt(units * rate * (1 - rate)))


def padded(index: np.ndarray, size: int, units: np.ndarray | None = None) -> Rows:
    """A batch of these records, and of rows of padding, which repeat the first record.

    units: int64, of each record; by default each is a unit of its own.
    """
    rows = max(1, math.ceil(len(index) / size)) * size
    rest = np.zeros(rows - len(index), dtype=np.int64)
    units = np.concatenate([index if units is None else units, rest + PADDING])
    return Rows(torch.from_numpy(np.concatenate([index, rest])), torch.from_numpy(units))


class SeededCoins:
    """Draws of Poisson sampling for an arm without a guarantee, in blocks of steps: functions of `streams`."""

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
