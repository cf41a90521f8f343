"""A study of points, not of cells: what each point gave, and, of a design, which factor moves leakage and quality."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from analysis.stats.effects import means
from analysis.stats.indices import indices
from analysis.stats.inference import AUC
from analysis.study_data import StudyData, chosen_by_search, short, words_of_measure
from study.design.points import points
from study.spec.factors import Range
from study.spec.study_file import parse_stored

LEFT_OUT = (
    "The design draws its points and crosses no levels: effects of levels and pictures of a grid of cells are left "
    "out, and indices say how much each factor moves."
)
RANKED = {"sobol": "total", "fanova": "importance", "anova": "first"}
"""The index by which each method orders factors."""
INDEX_WORDS = {
    "first": "first-order Sobol index: the factor by itself",
    "total": "total Sobol index: with all its interactions",
    "importance": "fANOVA importance",
}
MOSTLY_NOISE = 0.5


@dataclass(frozen=True)
class Influence:
    """How much of one value's variance each factor explains. value: its column; table: of `analysis.stats.indices`."""

    value: str
    table: pd.DataFrame

    @property
    def reason(self) -> str | None:
        """Why there are no indices."""
        return self.table.attrs["reason"]

    @cached_property
    def ranked(self) -> pd.DataFrame:
        """The rows of the index that orders factors, the largest first."""
        index = self.table["method"].map(RANKED)
        return self.table[self.table["index"] == index].sort_values("estimate", ascending=False, ignore_index=True)

    @property
    def settled(self) -> bool:
        """Whether the first factor's interval lies above 0 and above those of all others, not of the next one alone.

        Two 95 % intervals are apart by chance in at most 2.5 % of cases for each order, so that a factor that is not
        the first is called so in at most 5 %.
        """
        first, others = self.ranked.iloc[0], self.ranked.iloc[1:]
        return bool(first["low"] > 0 and (others["high"] < first["low"]).all())

    @property
    def noise(self) -> float | None:
        """The share of the points' variance that is noise of replicates; None where one replicate cannot tell."""
        found = self.table.loc[self.table["index"] == "noise", "estimate"]
        return None if found.empty else float(found.iloc[0])

    @property
    def predicted(self) -> float | None:
        """The share of variance that the forest predicts of points left out of it; None without a forest."""
        found = self.table.loc[self.table["index"] == "unpredicted", "estimate"]
        return None if found.empty else 1 - float(found.iloc[0])

    @property
    def words(self) -> str:
        """What the value is: leakage, or a measure of quality."""
        return "leakage" if self.value == AUC else words_of_measure(self.value)

    def doubts(self) -> list[str]:
        """What keeps its order of factors from being believed."""
        if self.reason:
            return [f"What moves {self.words} is not known: {self.reason}."]
        if self.noise is None:
            return [
                f"How much of the points' variance in {self.words} is noise cannot be estimated from one replicate."
            ]
        if self.noise > MOSTLY_NOISE:
            return [f"{self.noise:.0%} of the points' variance in {self.words} is noise of replicates: add replicates."]
        if self.predicted is not None and 1 - self.predicted > MOSTLY_NOISE:
            return [
                f"The forest predicts {self.predicted:.0%} of the points' variance in {self.words}, so the importances "
                "of factors are little known: add points."
            ]
        return []


def influences(data: StudyData, attack: str) -> list[Influence]:
    """On leakage, then on quality where it was measured."""
    values = [AUC, *([data.quality] if data.quality else [])]
    return [Influence(value, indices(data, attack, value)) for value in values]


def varied(data: StudyData) -> dict[str, str]:
    """The factors that a design or a search varies, and what each may be, in words."""
    spec = parse_stored(data.resolved)
    factors, words = spec.factors, {}
    for name in spec.drawn:
        levels = factors.arm_words if name == "defense" else factors.levels[name]
        if isinstance(levels, Range):
            words[name] = str(levels)
        else:
            words[name] = ", ".join(level["name"] if isinstance(level, dict) else str(level) for level in levels)
    return words


def logarithmic(data: StudyData) -> set[str]:
    """The factors that were drawn evenly in their logarithm."""
    return {name for name, one in parse_stored(data.resolved).factors.ranges.items() if one.scale == "log"}


def design_words(data: StudyData) -> str:
    """E.g. `192 points of a Sobol design (32 base points) of 4 factors`."""
    drawn = data.resolved["design"]
    name = {"sobol": "a Sobol design", "latin_hypercube": "a Latin hypercube", "random": "random draws"}[drawn["name"]]
    base = f" ({drawn['points']} base points)" if drawn["name"] == "sobol" else ""
    columns = drawn["drawn"]
    count = len(next(iter(columns.values())))
    return f"{count} points of {name}{base} of {len(columns)} factor{'s' if len(columns) > 1 else ''}"


def search_words(data: StudyData) -> str:
    """E.g. `8 of 10 points asked: minimize white_box.auc, minimize kid_domain_unseen; tpe, 2 points at once`."""
    spec = parse_stored(data.resolved)
    assert spec.search is not None
    return f"{len(spec.points)} of {spec.search.points} points asked: {spec.search.describe()}"


def left_out(data: StudyData) -> str:
    """Why a study that is not crossed has no effects of levels."""
    return chosen_by_search(short(data.store)) if data.searched else LEFT_OUT


def by_point(data: StudyData, attack: str, value: str) -> pd.DataFrame:
    """One row a point that has results: point, the varied factors, trials (ids), mean, low, high, replicates."""
    found = points(data.store.root, data.name)
    rows = found[["point", "trial_id"]].merge(data.attack(attack), on="trial_id").dropna(subset=[value])
    table = means(data, rows, value, ["point"]).drop(columns="descriptive")
    table["trials"] = table["point"].map(rows.groupby("point")["trial_id"].agg(tuple))
    factors = found.drop_duplicates("point").drop(columns=["replicate", "trial_id"])
    return factors.merge(table, on="point").reset_index(drop=True)


def place(row: dict[Any, Any], names: list[str]) -> str:
    """A point in words: its level of each factor."""
    return ", ".join(f"{name} {_level(row[name])}" for name in names)


def _level(level: Any) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)
