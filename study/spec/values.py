"""Levels and values of a study file, as one or as a list."""

from collections.abc import Sequence
from typing import Any

from mia_core.errors import Refused, shorten
from study.spec.bounds import MOST_LEVELS, require_at_most


def unique(words: Sequence[str], where: str, way_out: str) -> None:
    """ValueError for a word that is there twice."""
    seen: set[str] = set()
    for word in words:
        if word in seen:
            raise Refused(f"{where}: {shorten(repr(word))} is there twice; {way_out}")
        seen.add(word)


def listed(value: Any, where: str) -> list[Any]:
    """A setting's values; an empty list would silently leave out what it belongs to."""
    if value == []:
        raise Refused(f"{where}: needs at least one value")
    return value if isinstance(value, list) else [value]


def values_of(levels: Any, where: str) -> list[Any]:
    """One or several levels, each there once."""
    values = levels if isinstance(levels, list) else [levels]
    if not values:
        raise Refused(f"{where}: needs at least one level")
    require_at_most(len(values), MOST_LEVELS, where, "levels", "give fewer, or a range to draw from")
    unique([str(value) for value in values], where, "name each level once")
    return values
