"""A study as the analysis sees it: the wide table of its store, one row a trial x attack."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from study.store import read

ARM = "arm"


@dataclass(frozen=True)
class StudyData:
    """wide: the table of that name for trials in role `study`, with the column `arm` for display; no skipped rows."""

    name: str
    folder: Path
    wide: pd.DataFrame

    @property
    def attacks(self) -> list[str]:
        """Labels, in the order of the spec."""
        return list(dict.fromkeys(self.wide["attack"]))

    @property
    def arms(self) -> list[str]:
        """`none` first, then by strength."""
        order = self.wide[[ARM, "defense", "strength"]].drop_duplicates().copy()
        order["control"] = order["defense"] != "none"
        return order.sort_values(["control", "defense", "strength"])[ARM].tolist()

    @property
    def replicates(self) -> int:
        """How many independent repetitions there are."""
        return int(self.wide["replicate"].nunique())

    def attack(self, label: str) -> pd.DataFrame:
        """The rows of one attack, one a trial; ValueError for an unknown label."""
        rows = self.wide[self.wide["attack"] == label]
        if rows.empty:
            raise ValueError(f"attack {label!r} is not in study {self.name}; it has {', '.join(self.attacks)}")
        return rows


def load(folder: str | Path) -> StudyData:
    """Read `<root>/<study>`; ValueError when nothing is there or no trial is sealed yet."""
    path = Path(folder).absolute()
    wide = read(path.parent, path.name, "wide")
    wide = wide[(wide["role"] == "study") & wide["auc"].notna()].reset_index(drop=True)
    if wide.empty:
        raise ValueError(f"{path}: no sealed trial with an attack yet")
    strength = wide["strength"].map("{:g}".format)
    wide[ARM] = wide["defense"].where(wide["defense"] == "none", wide["defense"] + " " + strength)
    return StudyData(path.name, path, wide)
