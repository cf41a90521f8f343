"""Threats: who could attack, what the strongest attack of each attacker finds, and how often a named record is right.

An attacker who has more can run every attack of one who has less. The strongest of an attacker's K attacks is chosen by
redrawn coins, whose p is corrected for the choice (`mia_core.metrics.redraw`), and its limits are at 1 - 0.05 / K, so
that they hold for all K attacks together, and also for the chosen one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.stats.effects import mean_columns
from analysis.stats.inference import AUC, TPR
from analysis.stats.redrawn import coins_of
from analysis.study_data import StudyData
from mia_core.access import Access
from study.store.rows import MODELS_LIKE_IT, NEVER_MEMBERS
from study.verdicts.controls import ALPHA

FPR = 0.01
PRIORS = (0.01, 0.1, 0.5)
"""Shares of members among the records that an attacker asks about."""
RIGHT = tuple(f"right_{100 * prior:.0f}pct" for prior in PRIORS)
HAS = {
    Access.NONE: "no model",
    Access.SAMPLES: "samples",
    Access.LATENT: "samples of chosen latents",
    Access.GENERATOR: "generator",
    Access.WHITE_BOX: "whole model",
}
KNOWS = {
    "reference": "reference records",
    "extractor": "reference records",
    "known_members": "known records",
    "known_non_members": "known records",
    MODELS_LIKE_IT: "other models like it",
    NEVER_MEMBERS: "reference records",
}
"""What attacks need to know, in words of a threat."""
NUMBERS = (AUC, TPR, *RIGHT)
COLUMNS = ("attacker", "attack", "attacks", "p", *(f"{name}{end}" for name in NUMBERS for end in ("", "_low", "_high")))


@dataclass(frozen=True, order=True)
class Attacker:
    """What somebody has of a model, and knows besides, of the values of `KNOWS`."""

    access: Access
    knows: tuple[str, ...] = ()

    def can(self, other: "Attacker") -> bool:
        """Whether it can run what another one can."""
        return self.access >= other.access and set(self.knows) >= set(other.knows)

    def __str__(self) -> str:
        return " + ".join([HAS[self.access], *self.knows])


def attacker_of(access: Any, knowledge: Any) -> Attacker | None:
    """Who could run an attack, by those columns of its row; None where they do not say."""
    if access not in Access.__members__ or not isinstance(knowledge, str):
        return None
    words = [part.partition(" ")[0] for part in knowledge.split(" + ")]
    return Attacker(Access[access], tuple(sorted({KNOWS[word] for word in words if word in KNOWS})))


def right_of_named(tpr: float, prior: float, fpr: float = FPR) -> float:
    """The positive predictive value: of the records that an attacker names, the share of members.

    tpr, fpr: shares of members and of others that are named; prior: share of members among all that are asked about.
    """
    return prior * tpr / (prior * tpr + (1 - prior) * fpr)


def threats(data: StudyData, cell: Mapping[str, Any]) -> pd.DataFrame:
    """One row an attacker whom some attack of the cell fits, and one who has and knows all that was tried.

    Columns attacker, attack (its strongest), attacks (how many it can run), p (of the strongest, corrected for all of
    them), auc, tpr_at_1pct_fpr, and right_1pct, right_10pct, right_50pct: the share of members among those named at 1 %
    FPR where so many of the records are members; each with _low and _high, at 1 - 0.05 / attacks. Null where there are
    too few non-members for a TPR. cell: levels of `data.cell`. A public copy has no rows.
    """
    if data.public or not {"access", "knowledge"} <= set(data.wide):  # data made without a store may lack them
        return pd.DataFrame(columns=list(COLUMNS))
    attacks, _, draws = coins_of(data, cell)
    rows = data.wide
    for name in data.cell:
        rows = rows[rows[name] == cell[name]]
    about = rows.drop_duplicates("attack").set_index("attack")
    attackers = {label: attacker_of(about.at[label, "access"], about.at[label, "knowledge"]) for label in attacks}
    # who guesses is no attacker
    who = {label: one for label, one in attackers.items() if one is not None and one != Attacker(Access.NONE)}
    distinct = {one for one in who.values() if one.access > Access.NONE}
    if distinct:
        knows = {word for one in who.values() for word in one.knows}
        distinct.add(Attacker(max(one.access for one in distinct), tuple(sorted(knows))))
    found = []
    for one in sorted(distinct):
        own = [label for label, other in who.items() if one.can(other)]
        test = draws.of([attacks.index(label) for label in own])
        label = own[test.strongest]
        named = {"attacker": str(one), "attack": label, "attacks": len(own), "p": test.p_strongest}
        found.append({**named, **_numbers(data, rows[rows["attack"] == label].sort_values("replicate"), len(own))})
    return pd.DataFrame(found, columns=list(COLUMNS))


def _numbers(data: StudyData, rows: pd.DataFrame, attacks: int) -> dict[str, float]:
    """NUMBERS with their limits, which hold for so many attacks together."""
    columns: dict[str, float] = {}
    for name in (AUC, TPR):
        found = mean_columns(data, rows, name, 1 - ALPHA / attacks) or dict.fromkeys(("mean", "low", "high"), np.nan)
        columns |= {name: found["mean"], f"{name}_low": found["low"], f"{name}_high": found["high"]}
    for name, prior in zip(RIGHT, PRIORS, strict=True):
        for end in ("", "_low", "_high"):
            columns[f"{name}{end}"] = right_of_named(columns[f"{TPR}{end}"], prior)
    return columns
