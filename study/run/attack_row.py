"""What an attack's scores come to: its row, with leakage metrics and bounds on epsilon, and the scores themselves."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mia_core.hashing import canonical_json
from mia_core.metrics import judge
from mia_core.metrics.audit import DELTA, FEWEST_COINS, Guesses
from mia_core.metrics.leakage import Leakage
from mia_core.streams import Streams
from study.design.study_design import Design
from study.design.trials import Trial
from study.design.wanted import WantedAttack
from study.store.old_rows import JUDGED, bound_columns, without_coins
from study.store.roles import CANARY, STUDY
from study.store.rows import AttackRow, ScoreRows


@dataclass(frozen=True)
class Queries:
    """Records that an attack scores, as columns [Q]: the number of each, its unit, whether it is a member.

    judged: whether every replicate draws its membership anew. coin: whether a fair coin of the query alone decided
    about it.
    """

    number: np.ndarray
    unit: np.ndarray
    member: np.ndarray
    judged: np.ndarray
    coin: np.ndarray


@dataclass(frozen=True)
class Attacked:
    """Results of attacks. failed: by label, the tracebacks of attacks that raised, which leave no row."""

    rows: list[AttackRow] = field(default_factory=list)
    scores: list[ScoreRows] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def __add__(self, other: "Attacked") -> "Attacked":
        return Attacked(self.rows + other.rows, self.scores + other.scores, self.failed | other.failed)


def skipped(trial: Trial, wanted: WantedAttack) -> Attacked:
    """An attack that does not fit the target."""
    return Attacked([_row(trial, wanted, {})])


def without_target(trial: Trial, wanted: Sequence[WantedAttack]) -> Attacked:
    """Attacks on a trial whose training diverged: there is nothing to attack."""
    reasons = (item.skipped or "the training diverged: a weight, a loss or a sample is not finite" for item in wanted)
    each = zip(wanted, reasons, strict=True)
    return sum((skipped(trial, dataclasses.replace(item, skipped=reason)) for item, reason in each), Attacked())


def judged(
    design: Design, trial: Trial, wanted: WantedAttack, values: np.ndarray, queries: Queries, **columns: Any
) -> Attacked:
    """An attack that gave its queries the scores `values` [Q]. columns: further ones of its row."""
    leakage = judge(values, queries.member, queries.judged, queries.unit)
    metrics = (
        dataclasses.asdict(leakage)
        | {"judging": JUDGED}
        | _epsilon(design, trial, wanted, values, queries, leakage)
        | columns
    )
    return Attacked([_row(trial, wanted, metrics)], [_scores(trial, wanted, values, queries)])


def _epsilon(
    design: Design, trial: Trial, wanted: WantedAttack, values: np.ndarray, queries: Queries, leakage: Leakage
) -> dict[str, Any]:
    """The epsilon that the attack proves, where queries have coins; nothing for controls.

    Without coins, Clopper-Pearson bounds at the top-n threshold stand in, which prove nothing.
    """
    if trial.role not in (STUDY, CANARY):
        return {}
    delta = trial.cell.arm.delta or DELTA
    coins = queries.coin
    if coins.sum() < FEWEST_COINS:
        return without_coins(leakage, delta)
    ties = Streams("audit", design.spec.seed, trial.trial_id, wanted.attack_id).numpy("ties")
    changes = 2 if design.split.coin_swaps and trial.role == STUDY else 1
    bound, gaussian = Guesses.of(values[coins], queries.member[coins], ties).bounds(delta, changes)
    return bound_columns(bound) | {
        "epsilon_low_gaussian": gaussian.epsilon_low,
        "epsilon_ceiling_gaussian": gaussian.epsilon_ceiling,
    }


def _row(trial: Trial, wanted: WantedAttack, metrics: dict[str, Any]) -> AttackRow:
    return AttackRow(
        trial_id=trial.trial_id,
        attack=wanted.label,
        attack_id=wanted.attack_id,
        arguments=canonical_json(wanted.arguments),
        package=str(wanted.choice.package) if wanted.choice and wanted.choice.package else None,
        access=wanted.access.name,
        knowledge=wanted.knowledge,
        steps=wanted.steps,
        released=wanted.generated,
        skipped=wanted.skipped,
        **metrics,
    )


def _scores(trial: Trial, wanted: WantedAttack, values: np.ndarray, queries: Queries) -> ScoreRows:
    return ScoreRows(
        trial_id=np.full(len(values), trial.trial_id, dtype=object),
        attack_id=np.full(len(values), wanted.attack_id, dtype=object),
        query=queries.number,
        unit=queries.unit,
        member=queries.member,
        judged=queries.judged,
        coin=queries.coin,
        score=values,
    )
