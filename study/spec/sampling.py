"""Designs that draw their points from ranges: random, Latin hypercube, and Sobol by Saltelli's scheme.

Points depend on the study's seed, its factors and the design alone, and are the same in every replicate. They are drawn
evenly in the unit cube, one dimension a varied factor in alphabetical order, and then become levels, so that
estimators see the cube whatever the scales.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal, Self

import numpy as np
from annotated_types import Gt
from pydantic import model_validator

from mia_core.errors import Refused, shorten
from mia_core.hashing import canonical_json
from mia_core.settings import settings
from mia_core.streams import Streams
from study.spec import bounds
from study.spec.bounds import MOST_POINTS, require_at_most
from study.spec.factors import Cell, Factors, Range

Drawn = dict[str, list[Any]]
"""Points as columns, by factor: levels of a range, numbers (from 0) of the levels of a list."""


@settings
class DesignSpec:
    """Which combinations of levels are trained.

    name: `factorial` takes all; the others draw them: `random`, `latin_hypercube` (each factor's range evenly filled,
    whatever the number of points), `sobol` (for Sobol indices). points: how many are drawn; of a Sobol design the base
    points, a power of two, each of which makes D + 2 points for D varied factors, or 2 D + 2 with second_order.
    drawn: the points, which a resolved spec has.
    """

    name: Literal["factorial", "random", "latin_hypercube", "sobol"] = "factorial"
    points: Annotated[int, Gt(0)] | None = None
    second_order: bool | None = None
    drawn: dict[str, list[Any]] | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if (self.points is None) != (self.name == "factorial"):
            raise Refused("points are for random, latin_hypercube and sobol, which need them")
        if self.second_order is not None and self.name != "sobol":
            raise Refused("second_order is for sobol")
        if self.name == "sobol" and self.points is not None and self.points & (self.points - 1):
            raise Refused(f"sobol needs a power of two of base points, got {self.points}")
        return self

    @property
    def draws(self) -> bool:
        """Whether levels come from ranges."""
        return self.name != "factorial"

    @property
    def extends(self) -> bool:
        """Whether more points keep those that are there."""
        return self.name != "latin_hypercube"

    def describe(self, points: int, cells: int) -> str:
        """For people: how many points, and whether more would keep them."""
        base = f" ({self.points} base points)" if self.name == "sobol" else ""
        more = "more points keep these" if self.extends else "another number of points draws all of them anew"
        return f"{self.name}, {points} points{base} in {cells} cells; {more}"

    def to_dict(self, drawn: Drawn) -> dict[str, Any]:
        """The form a resolved spec has."""
        second_order = self.second_order is not False if self.name == "sobol" else None
        return asdict(replace(self, second_order=second_order, drawn=drawn))


def draw(design: DesignSpec, factors: Factors, seed: int) -> Drawn:
    """The points of a design that draws; ValueError where its factors do not fit it."""
    names = factors.varied
    if not names:
        raise Refused(f"design: {design.name} needs a factor with a range or several levels")
    if design.name == "sobol":
        _require_cube(factors)
    _require_few(design, len(names))
    units = _units(design, names, Streams("design", seed))
    return {name: [_drawn(factors.levels[name], unit) for unit in units[:, i]] for i, name in enumerate(names)}


def _require_few(design: DesignSpec, factors: int) -> None:
    """Refused for more points than a study may have."""
    assert design.points is not None
    each = {"sobol": factors + 2 if design.second_order is False else 2 * factors + 2}.get(design.name, 1)
    count = bounds.product((design.points, each))
    what = "points" if each == 1 else f"points ({each} of each base point)"
    require_at_most(count, MOST_POINTS, f"design.points={bounds.words(design.points)}", what, "give fewer points")


def _require_cube(factors: Factors) -> None:
    """Sobol indices are of functions of all factors: none may mean nothing at some points."""
    for name in factors.varied:
        if inert := factors.inert(name):
            raise Refused(
                f"design: sobol varies every factor at every point, and {name} means nothing to the arm {inert[0]}; "
                "leave factors.defense one arm, or use random or latin_hypercube"
            )


def _units(design: DesignSpec, names: Sequence[str], streams: Streams) -> np.ndarray:
    """float64 [P,D] in [0, 1)."""
    assert design.points is not None
    if design.name == "random":
        return streams.numpy("random").random((design.points, len(names)))
    from SALib.sample import latin, sobol  # they import plotting, which only a study that draws should wait for

    cube = {"num_vars": len(names), "names": list(names), "bounds": [[0.0, 1.0]] * len(names)}
    seed = streams.seed(design.name) % 2**32
    if design.name == "latin_hypercube":
        return latin.sample(cube, design.points, seed=seed)
    return sobol.sample(cube, design.points, calc_second_order=design.second_order is not False, seed=seed)


def _drawn(levels: list[Any] | Range, unit: float) -> Any:
    return levels.level(float(unit)) if isinstance(levels, Range) else int(unit * len(levels))


def check_drawn(drawn: Mapping[str, Sequence[Any]], factors: Factors, where: str) -> None:
    """ValueError unless points are of these factors, whole, and of their levels."""
    if sorted(drawn) != factors.varied or len({len(column) for column in drawn.values()}) > 1:
        raise Refused(f"{where}: expected as many levels each of {', '.join(factors.varied)}, and no others")
    count = max(map(len, drawn.values()), default=0)
    require_at_most(count, MOST_POINTS, where, "points", "give fewer points")
    for name, column in drawn.items():
        levels = factors.levels[name]
        low, high = (levels.low, levels.high) if isinstance(levels, Range) else (0, len(levels) - 1)
        if odd := [value for value in column if not isinstance(value, (int, float)) or not low <= value <= high]:
            raise Refused(f"{where}: {shorten(repr(odd[0]))} is not of {name}")


def cells_of(drawn: Drawn, factors: Factors) -> tuple[tuple[Cell, ...], tuple[tuple[int, int], ...]]:
    """The cells of points, and each point's cell, by its number, with its level of the budget.

    Points that differ in the budget alone share a cell, and so a trajectory; those that differ in nothing are one.
    """
    found: dict[str, tuple[int, Cell, set[int]]] = {}
    points = []
    for combination in combinations(drawn, factors):
        cell, level = factors.cell(combination, ()), combination[factors.budget]
        key = canonical_json([cell.to_dict(), sorted(cell.factors.items())])
        number, _, levels = found.setdefault(key, (len(found), cell, set()))
        levels.add(level)
        points.append((number, level))
    return tuple(replace(cell, levels=tuple(sorted(levels))) for _, cell, levels in found.values()), tuple(points)


def combinations(drawn: Drawn, factors: Factors) -> list[dict[str, Any]]:
    """The levels of all factors at each point, in order."""
    fixed = {name: levels[0] for name, levels in factors.levels.items() if isinstance(levels, list)}
    count = len(next(iter(drawn.values()), []))
    return [
        {**fixed, **{name: _level(factors.levels[name], column[number]) for name, column in drawn.items()}}
        for number in range(count)
    ]


def _level(levels: list[Any] | Range, value: Any) -> Any:
    return value if isinstance(levels, Range) else levels[value]
