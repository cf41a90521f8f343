"""A study's policy answered per arm, by two-way bounds of each cell's mean after the last level of training.

The same rule as for one release (`mia_core.metrics.decisions`), with bounds that also hold for other replicates and
other records: an arm does not exceed a limit if every attack's upper bound is below it in every cell of the arm, and
exceeds it if a lower bound, corrected for the number of all of them, is above it. Membership is drawn by coins, so
that no holdout needs to be trusted; a failed control rules out any answer.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.stats.effects import mean_columns
from analysis.stats.inference import judged_scores, mean_of, tpr_of
from analysis.stats.memorization import interval_of_copies, settings_of_copies
from analysis.stats.redrawn import words_of
from analysis.study_data import ARM, StudyData
from mia_core.metrics.attack_bounds import false_copies
from mia_core.metrics.copies import rank_of
from mia_core.metrics.decisions import Bounded, Decision, decide, decide_epsilon, together
from mia_core.metrics.low_fpr import LowFprTpr, pooled_roc
from mia_core.metrics.two_way import MIN_REPLICATES, Estimate, alpha_of_look
from mia_core.metrics.worst_persons import WORST
from mia_core.streams import Streams
from study.spec.policy import Limits, policy_of

COLUMNS = ("arm", "limit", "at_most", "decision", "estimate", "low", "high", "by", "reason")
AUC, TPR, COPIES, PERSON, EPSILON = "auc", "tpr_at_1pct_fpr", "copies", "worst_person", "epsilon"
STATEMENTS = 3
"""Lower bounds of each attack on each cell: of AUC, TPR and worst persons."""


@dataclass(frozen=True)
class Tails:
    """Error probabilities of one-sided bounds; low: corrected for the number of lower bounds."""

    low: float
    high: float


def limits_by_arm(data: StudyData, controls: pd.DataFrame, missing: int = 0) -> pd.DataFrame:
    """One row an arm and limit of the study's policy; no rows without a policy.

    controls: their verdicts, with a column `ok`. missing: trials that are not there. Columns arm, limit (its name),
    at_most, decision (of `Decision`), estimate, low, high, by (of the value with the highest upper bound; null where
    there is none), reason (why it cannot be shown, else null).
    """
    stated = data.resolved.get("policy")
    if stated is None:
        return pd.DataFrame(columns=list(COLUMNS))
    limits = policy_of(stated).limits
    stop = _stopped(data, controls, missing)
    last = data.last
    rows = []
    for arm in data.arms:
        values = {} if stop else _values(data, last[last[ARM] == arm], _tails(data, last))
        for name, at_most in limits.to_dict().items():
            if name == EPSILON:
                decision, found, reason = _of_epsilon(data, arm, limits)
            elif name == "epsilon_unit":
                continue
            else:
                found = values.get(name, [])
                decision = decide(found, at_most)
                reason = stop or _reason(found, at_most)
            rows.append(_row(arm, name, at_most, decision, found, reason))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def decisions_of_arms(table: pd.DataFrame) -> dict[str, Decision]:
    """The answer of each arm over all limits, from `limits_by_arm`."""
    return {str(arm): together(map(Decision, rows["decision"])) for arm, rows in table.groupby("arm", sort=False)}


def _stopped(data: StudyData, controls: pd.DataFrame, missing: int) -> str | None:
    """Why nothing is answered; None where bounds may."""
    if not data.crossed:
        return "limits are answered for designs that cross their factors"
    if data.public:
        return "a public copy has no scores"
    failed = controls["ok"].eq(False).fillna(False) if "ok" in controls else pd.Series(dtype=bool)
    if failed.any():
        first = controls[failed].iloc[0]
        return f"the control {first['control']} failed: {first['verdict']}"
    if missing:
        return f"{missing} trials of the design are missing"
    few = int(data.last.groupby([*data.cell, "attack"])["replicate"].nunique().min())
    return f"it takes {MIN_REPLICATES} replicates, and a cell has {few}" if few < MIN_REPLICATES else None


def _tails(data: StudyData, last: pd.DataFrame) -> Tails:
    alpha = alpha_of_look(data.looks)
    cells = len(last[list(data.cell)].drop_duplicates())
    attacks = len(last[[*data.cell, "attack"]].drop_duplicates())
    statements = STATEMENTS * attacks + cells * len(settings_of_copies(data))
    return Tails(alpha / statements, alpha)


def _values(data: StudyData, rows: pd.DataFrame, tails: Tails) -> dict[str, list[Bounded]]:
    """Of one arm, by the names of limits."""
    found: dict[str, list[Bounded]] = {AUC: [], TPR: [], PERSON: [], COPIES: []}
    several = len(rows[list(data.cell)].drop_duplicates()) > 1
    for levels, cell in rows.groupby(list(data.cell), sort=False):
        where = f" on {words_of(data, dict(zip(data.cell, levels, strict=True)))}" if several else ""
        for attack, own in cell.groupby("attack", sort=False):
            trials = own.sort_values("replicate")
            found[AUC].append(_bounded(f"{attack}{where}", mean_of(data, trials), tails))
            found[TPR].append(_bounded(f"{attack}{where}", tpr_of(data, trials), tails))
            found[PERSON].append(_persons(data, f"{attack}{where}", trials, tails))
        found[COPIES] += _copies(data, where, cell.drop_duplicates("trial_id"), tails)
    return found


def _bounded(by: str, found: Estimate | None, tails: Tails) -> Bounded:
    if found is None:
        return Bounded(by, None, 0.0, None)
    return Bounded(by, float(found.estimate), float(found.lower(1 - tails.low)), float(found.upper(1 - tails.high)))


def _persons(data: StudyData, by: str, rows: pd.DataFrame, tails: Tails) -> Bounded:
    """Worst persons: t / (t + f), f the FPR at which t, WORST of a replicate's members, are named, pooled."""
    judged = judged_scores(data, str(rows["attack"].iloc[0]))
    score, member = judged.of(list(rows["trial_id"]))
    persons = float(np.mean([len(np.unique(judged.unit[inside])) for inside in member]))
    t = WORST / persons
    if t >= 1:
        return Bounded(by, None, 0.0, None)
    f = _fpr_at(score, ~member, judged.persons, t)
    if f is None:
        return Bounded(by, None, 0.0, None)
    least, most = float(f.lower(1 - tails.high)), float(f.upper(1 - tails.low))
    return Bounded(by, t / (t + float(f.estimate)), t / (t + most), t / (t + least))


def _fpr_at(score: np.ndarray, others: np.ndarray, persons: np.ndarray | None, tpr: float) -> LowFprTpr | None:
    """The share of non-members above the threshold that a share `tpr` of members is above."""
    return pooled_roc(score, others, Streams("worst_persons").numpy("groups"), np.array([tpr]), persons)[0]


def _copies(data: StudyData, where: str, trials: pd.DataFrame, tails: Tails) -> Iterator[Bounded]:
    """The share of samples called copies beyond the false-copy rate; half of each tail is for this rate."""
    for extractor, arguments in settings_of_copies(data).items():
        column = f"copies_{extractor}_members"
        rows = trials.dropna(subset=[column]) if column in trials else trials.iloc[:0]
        by = f"copies in {extractor}{where}"
        alpha, unseen = arguments["alpha"], arguments["unseen_persons"]
        if len(rows) < MIN_REPLICATES or rank_of(alpha, unseen) < 1:
            yield Bounded(by, None, 0.0, None)
            continue
        several = unseen < arguments["unseen"]
        expected, fewest, by_chance = false_copies(alpha, unseen, several, tails.high / 2, tails.low / 2)
        (low, _), (least, most) = (
            interval_of_copies(mean_columns(data, rows, column, 1 - tail) or {}, arguments["samples"], 1 - tail)
            for tail in (tails.low, tails.high)
        )
        # As in `excess_copies`.
        yield Bounded(
            by,
            max(0.0, float(rows[column].mean()) - expected),
            low - by_chance,
            most - min(least, fewest),
        )


def _of_epsilon(data: StudyData, arm: str, limits: Limits) -> tuple[Decision, list[Bounded], str | None]:
    """By the largest epsilon of the arm's trials."""
    assert limits.epsilon is not None and limits.epsilon_unit is not None
    trials = data.wide[data.wide[ARM] == arm].drop_duplicates("trial_id")
    stated = trials.dropna(subset=["epsilon"]) if "epsilon" in trials else trials.iloc[:0]
    if len(stated) < len(trials) or stated.empty:
        return Decision.CANNOT_BE_SHOWN, [], "the arm has no guarantee"
    largest = stated.sort_values("epsilon").iloc[-1]
    epsilon, unit = float(largest["epsilon"]), str(largest.get("epsilon_unit") or "record")
    decision = decide_epsilon(epsilon, unit, limits.epsilon, limits.epsilon_unit)
    reason = f"the guarantee is for one {unit}" if decision is Decision.CANNOT_BE_SHOWN else None
    return decision, [Bounded(f"the guarantee, for one {unit}", epsilon, epsilon, epsilon)], reason


def _reason(found: list[Bounded], at_most: float) -> str | None:
    """Why bounds do not answer; None where they do."""
    if decide(found, at_most) is not Decision.CANNOT_BE_SHOWN:
        return None
    if not found:
        return "not measured"
    unknown = [value.by for value in found if value.high is None]
    if unknown:
        return f"too few records for {unknown[0]}"
    highest = max(found, key=lambda value: value.high or 0.0)
    return f"{highest.by} may be at {highest.high:.3f}"


def _row(
    arm: str, name: str, at_most: float, decision: Decision, found: list[Bounded], reason: str | None
) -> Mapping[str, Any]:
    known = [value for value in found if value.high is not None]
    shown = max(known, key=lambda value: value.high or 0.0, default=None)
    numbers = dict(vars(shown)) if shown else dict.fromkeys(("estimate", "low", "high", "by"))
    return {"arm": arm, "limit": name, "at_most": at_most, "decision": decision.value, **numbers, "reason": reason}
