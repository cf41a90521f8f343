"""What a search looks for: objectives, by the names of columns, and how its points are chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, MinLen
from pydantic import Strict, model_validator

from mia_core.errors import Refused, shorten
from mia_core.settings import nearest, settings

EXTRACTOR = "domain"
PIXELS = "pixels"
"""In place of an extractor, of measures that take records as they are."""
ONNX = "onnx"
"""The extractor that a user gives as a file."""
LEAKAGE = (
    "auc",
    "accuracy_top_n",
    "accuracy_top_10pct",
    "advantage",
    "balanced_accuracy",
    "tpr_at_1pct_fpr",
    "tpr_at_01pct_fpr",
)
"""Columns of an attack's row that a search may look at."""

CHANCE = 0.5
"""AUC of an attack that tells nothing."""

Values = tuple[float, ...] | None
"""What came out of a point, by objective; None when a trial of it failed."""


@settings
class SearchSpec:
    """A search for points that trade objectives well, in place of a design.

    objectives: `{minimize: white_box.auc}` (an attack's label and column), `{maximize: coverage_domain_unseen}` (a
    measure by its wide name); of a point, their means over the study's replicates, a mean AUC below 1/2 as 1/2. points:
    to try in all. sampler: `tpe` or `nsga2`, which has generations of `population`. batch: points that are asked for at
    once, before any of them is known. drawn: the points so far, which a resolved spec has.
    """

    objectives: Annotated[tuple[dict[Literal["minimize", "maximize"], str], ...], MinLen(1), Strict(False)]
    points: Annotated[int, Gt(0)]
    sampler: Literal["tpe", "nsga2"] = "tpe"
    population: Annotated[int, Ge(2)] = 10
    batch: Annotated[int, Gt(0)] = 2
    drawn: dict[str, list[Any]] | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if any(len(objective) != 1 for objective in self.objectives):
            raise Refused("objectives: each is `minimize: name` or `maximize: name`")
        return self

    @property
    def goals(self) -> tuple["Objective", ...]:
        """The objectives, in order."""
        return tuple(Objective(*item) for objective in self.objectives for item in objective.items())

    def describe(self) -> str:
        """For people."""
        size = f" with a population of {self.population}" if self.sampler == "nsga2" else ""
        return f"{', '.join(map(str, self.goals))}; {self.sampler}{size}, {self.batch} points at once"

    def to_dict(self, drawn: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """The form a resolved spec has."""
        values = asdict(replace(self, drawn={name: list(column) for name, column in drawn.items()}))
        return {**values, "objectives": list(values["objectives"])}


@dataclass(frozen=True)
class Objective:
    """direction: `minimize` or `maximize`. name: `<attack>.<column>`, or the wide name of a measure."""

    direction: Literal["minimize", "maximize"]
    name: str

    def __str__(self) -> str:
        return f"{self.direction} {self.name}"

    @property
    def attack(self) -> tuple[str, str] | None:
        """Label and column; None for a measure."""
        label, sign, column = self.name.rpartition(".")
        return (label, column) if sign else None

    def of_mean(self, mean: float) -> float:
        """What a point's mean counts as: an AUC below 1/2 leaks no less than one of 1/2, and is chance."""
        return max(mean, CHANCE) if self.attack and self.attack[1] == "auc" else mean

    @property
    def measure(self) -> str:
        """As a design names it: `kid_unseen`."""
        return self.name.replace(f"_{EXTRACTOR}_", "_")


def wide_name(label: str) -> str:
    """The wide name of a measure, as a design names it: `kid_domain_unseen` of `kid_unseen`."""
    measure, against = label.rsplit("_", 1)
    return label if measure.endswith((f"_{PIXELS}", f"_{ONNX}")) else f"{measure}_{EXTRACTOR}_{against}"


def check_objectives(search: SearchSpec, attacks: Sequence[str], measures: Sequence[str]) -> None:
    """ValueError unless every objective is a column that the study's attacks (by label) or measures will have."""
    known = [f"{label}.{column}" for label in attacks for column in LEAKAGE]
    known += map(wide_name, measures)
    for objective in search.goals:
        if objective.name not in known:
            raise Refused(
                f"search.objectives: unknown column {shorten(repr(objective.name))}{nearest(objective.name, known)}"
            )
