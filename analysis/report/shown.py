"""Lines of Python that a page shows, so that a reader can compute a number again.

A reader pastes them, so they are made of parts that were checked: functions of `MODULES`, names that are no more than
names, and the `repr` of plain values. Nothing that was read is ever put into one as it is.
"""

import math
from collections.abc import Mapping
from typing import Any

from mia_core.errors import Refused
from study.store.names import is_column, quoted

MODULES = {
    "again": "analysis.report.provenance",
    "allowed": "analysis.stats.budget",
    "audits": "analysis.stats.baselines",
    "best_quality": "analysis.stats.tradeoff",
    "budget": "analysis.stats.budget",
    "by_class": "analysis.stats.records",
    "copies": "analysis.stats.memorization",
    "extracted": "analysis.stats.memorization",
    "pairs": "analysis.stats.memorization",
    "threats": "analysis.stats.threats",
    "declared": "analysis.stats.declared",
    "equal_quality": "analysis.stats.tradeoff",
    "indices": "analysis.stats.indices",
    "leakage_shown": "analysis.stats.redrawn",
    "interactions": "analysis.stats.sensitivity",
    "by_point": "analysis.stats.drawn_points",
    "front": "analysis.stats.tradeoff",
    "guarantees": "analysis.stats.guarantees",
    "limits_by_arm": "analysis.stats.limits_by_arm",
    "least_leakage": "analysis.stats.tradeoff",
    "main_effects": "analysis.stats.sensitivity",
    "means": "analysis.stats.effects",
    "onset": "analysis.stats.scaling",
    "records": "analysis.stats.records",
    "reliability": "analysis.stats.records",
    "risk_by_attack": "analysis.stats.records",
    "by_group": "analysis.stats.records",
    "share_at_risk": "analysis.stats.records",
    "rows": "analysis.report.conditions",
    "against_size": "analysis.stats.scaling",
    "replicates_needed": "analysis.stats.declared",
    "verdicts": "analysis.stats.baselines",
}
"""Where functions that shown code calls are from."""


class Shown(str):
    """Python made of checked parts: by the functions here, or a constant of ours."""

    __slots__ = ()


DATA, WIDE_OF_DATA = Shown("data"), Shown("data.wide")
"""The study, and its wide table, as the code of every source names them."""


def plain_value(value: Any) -> str | int | float | bool | None:
    """A value of a table as Python's own; ValueError for what has no spelling that gives it again."""
    found = value.item() if hasattr(value, "item") else value
    if found is not None and type(found) not in (str, int, float, bool):
        raise Refused(f"{quoted(value)} is no text, number or truth value")
    if isinstance(found, float) and not math.isfinite(found):
        raise Refused(f"{found} is no finite number")
    return found


def literal(value: Any) -> Shown:
    """A plain value, a list or tuple of them, or a mapping from names to them, as Python."""
    if isinstance(value, Mapping):
        return Shown("{" + ", ".join(f"{literal(_name(key))}: {literal(part)}" for key, part in value.items()) + "}")
    if isinstance(value, (list, tuple)):
        return Shown("[" + ", ".join(map(literal, value)) + "]")
    return Shown(repr(plain_value(value)))


def call(function: str, *arguments: Any) -> Shown:
    """A call of a function of `MODULES`. arguments: shown code as it is, and values by `literal`."""
    assert function in MODULES, function
    texts = [argument if isinstance(argument, Shown) else literal(argument) for argument in arguments]
    return Shown(f"{function}({', '.join(texts)})")


def columns_of(table: Shown, names: list[str]) -> Shown:
    """Those columns of a table."""
    return Shown(f"{table}[{literal([_name(name) for name in names])}]")


def _name(name: Any) -> str:
    if not is_column(name):
        raise Refused(f"{quoted(name)} is no name of a column")
    return str(name)
