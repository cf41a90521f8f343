"""Conditions on the rows of a table: columns that have one of some levels.

They are data, not code: rows are selected by masks, whatever the names and levels of a store are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.report.shown import Shown, call, literal, plain_value
from mia_core.errors import Refused
from study.store.names import is_column, quoted

Level = str | int | float | bool
Levels = Mapping[str, Sequence[Any]]
"""Levels that each column may have, by its name."""
Parts = tuple[tuple[str, tuple[Level, ...]], ...]


@dataclass(frozen=True)
class Condition:
    """every: columns that all have one of their levels. either: alternatives of that form, of which one holds too.

    ValueError for a column that is no name, and for a level that is no text, finite number or truth value.
    """

    every: Parts
    either: tuple[Parts, ...] = ()

    @classmethod
    def of(cls, every: Levels, either: Sequence[Levels] = ()) -> "Condition":
        """From levels as tables have them."""
        return cls(_parts(every), tuple(map(_parts, either)))

    def select(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of a table for which it holds; KeyError for a column that the table lacks."""
        return table[self.mask(table)]

    def mask(self, table: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether it holds for each row."""
        mask = _mask(table, self.every)
        if self.either:
            mask &= np.logical_or.reduce([_mask(table, parts) for parts in self.either])
        return mask

    @property
    def words(self) -> str:
        """For people: `attack white_box, train_size 40 or 80, and either defense none or defense dropout`."""
        alternatives = " or ".join(f"({_words(parts)})" for parts in self.either)
        return _words(self.every) + (f", and {alternatives}" if alternatives else "")

    def python(self, table: Shown) -> Shown:
        """A call of `rows` that selects the same rows of a table."""
        either = [[{name: list(levels) for name, levels in parts} for parts in self.either]] if self.either else []
        return call("rows", table, {name: list(levels) for name, levels in self.every}, *map(literal, either))


def rows(table: pd.DataFrame, every: Levels, either: Sequence[Levels] = ()) -> pd.DataFrame:
    """Rows of a table whose columns all have one of the levels in `every`, and those of one mapping of `either`.

    For example `rows(wide, {"attack": ["white_box"], "train_size": [40, 80]})`.
    """
    return Condition.of(every, either).select(table)


def _parts(levels: Levels) -> Parts:
    for name in levels:
        if not is_column(name):
            raise Refused(f"{quoted(name)} is no name of a column")
    return tuple((name, tuple(map(_level, found))) for name, found in levels.items())


def _level(value: Any) -> Level:
    found = plain_value(value)
    if found is None:
        raise Refused("a missing value is no level")
    return found


def _mask(table: pd.DataFrame, parts: Parts) -> np.ndarray[Any, np.dtype[np.bool_]]:
    mask = np.ones(len(table), bool)
    for name, levels in parts:
        mask &= table[name].isin(levels).to_numpy(bool)
    return mask


def _words(parts: Parts) -> str:
    return ", ".join(f"{name} {' or '.join(map(str, levels))}" for name, levels in parts)
