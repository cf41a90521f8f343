"""Rows of the tables that a pass writes, typed: a field a column of `SCHEMAS`, None where a column does not apply."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

import numpy as np

DIVERGED = "diverged"
"""In `flags` of a trial: a weight, a loss or a sample was not finite. It is a result; its target is not attacked."""

MODELS_LIKE_IT = "models_like_it"
"""In `knowledge` of a derived attack: other models of its cell, and which records they were trained on."""
NEVER_MEMBERS = "never_members"
"""In `knowledge` of a derived attack: records that no training of the study has, and their scores."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of one table."""

    def to_dict(self) -> dict[str, Any]:
        """Values by column."""
        return {column: getattr(self, column) for column in columns(type(self))}


@dataclass(frozen=True, kw_only=True)
class OpenRow(Row):
    """A row of a table that takes further columns. further: their values, by column."""

    further: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """A row of these values; those without a field are further columns."""
        known = columns(cls)
        further = {column: value for column, value in values.items() if column not in known}
        return cls(**{column: values[column] for column in known if column in values}, further=further)

    def to_dict(self) -> dict[str, Any]:
        """Values by column, further ones last."""
        return {**super().to_dict(), **self.further}


def columns(row: type[Row]) -> tuple[str, ...]:
    """The columns of a type of rows, in order."""
    return tuple(item.name for item in dataclasses.fields(row) if item.name != "further")


@dataclass(frozen=True, kw_only=True)
class TrialRow(OpenRow):
    """A trained trial, or a control that trains nothing. further: the arm's settings, and dotted factors.

    delta, epsilon, target_epsilon, epsilon_unit, noise_key: None without a guarantee. epsilon_unit: `record` or
    `person`, what is added or removed; earlier versions knew records alone, and lack it. noise_key: `secret` where
    noise and samples were drawn under a key that nothing keeps; earlier versions drew theirs from the seed.
    loss_members, loss_unseen: mean loss of the judged members and of the records in `unseen` under what is released;
    None for targets without a loss of a real record alone, and where there are no such records. flags:
    DIVERGED, or None; steps are then those of the level, which were not all done, and epsilon is of those done. config:
    JSON, see `TrialConfig`. versions: JSON.
    """

    trial_id: str
    trajectory_id: str
    study: str
    role: str
    dataset: str
    target: str
    split: str
    train_size: int
    members: int
    epochs: int | None
    steps: int
    generator_steps: int
    defense: str
    strength: float
    replicate: int
    seed: int
    epsilon: float | None = None
    delta: float | None = None
    target_epsilon: float | None = None
    epsilon_unit: str | None = None
    noise_key: str | None = None
    loss_members: float | None = None
    loss_unseen: float | None = None
    seconds_train: float
    peak_bytes: int
    device: str
    flags: str | None = None
    config: str
    versions: str
    finished_at: datetime


@dataclass(frozen=True, kw_only=True)
class QualityRow(Row):
    """One measure of a trial's samples. value: None where samples are too few for it, or the training diverged.

    arguments: JSON. extractor_sha256: None where no network looked at samples. samples: how many were generated.
    seconds: the measure's share of what was computed at once.
    """

    trial_id: str
    measure: str
    measure_id: str
    arguments: str
    extractor: str
    extractor_sha256: str | None
    against: str
    value: float | None
    samples: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class AttackRow(Row):
    """One attack on a trial, after one of its step levels. skipped: why it does not fit; metrics are None then.

    package: the installed one that offers the attack, with its version; None of attacks of this project. base: of a
    derived attack, ids of the attacks whose scores it took, with + between; shadows: how many shadows of the
    cell were its reference, None where that was the other replicates, or nothing.
    Metrics are over the `judged` of its queries; auc_all over all. judging: see `study.store.old_rows`. released: how
    many samples the attacker saw. model_queries, model_gradients: what was asked of the model per query besides, see
    `mia_core.meter`; None of derived attacks, of controls without a model, and in rows of earlier versions.
    smallest_auc: of a blind control, see `mia_core.metrics.blind.Blind`.
    """

    trial_id: str
    attack: str
    attack_id: str
    arguments: str
    package: str | None = None
    access: str
    knowledge: str
    base: str | None = None
    shadows: int | None = None
    steps: int | None
    released: int
    model_queries: float | None = None
    model_gradients: float | None = None
    queries: int | None = None
    judged: int | None = None
    judging: str | None = None
    auc: float | None = None
    auc_low: float | None = None
    auc_high: float | None = None
    auc_all: float | None = None
    accuracy_top_n: float | None = None
    baseline_top_n: float | None = None
    accuracy_top_10pct: float | None = None
    advantage: float | None = None
    balanced_accuracy: float | None = None
    tpr_at_1pct_fpr: float | None = None
    tpr_at_01pct_fpr: float | None = None
    p_value: float | None = None
    smallest_auc: float | None = None
    epsilon_low: float | None = None
    epsilon_ceiling: float | None = None
    epsilon_confidence: float | None = None
    epsilon_method: str | None = None
    epsilon_low_gaussian: float | None = None
    epsilon_ceiling_gaussian: float | None = None
    seconds: float | None = None
    flags: str | None = None
    skipped: str | None = None


@dataclass(frozen=True, kw_only=True)
class HistoryRow(OpenRow):
    """An epoch of a trajectory: means over its steps. further: what else a target's training reports."""

    trajectory_id: str
    epoch: int
    step: int
    loss_generator: float | None = None
    loss_discriminator: float | None = None
    d_real: float | None = None
    d_fake: float | None = None
    epsilon: float | None = None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ScoreRows:
    """Rows of scores as columns [N], which are too many to be objects. query, unit: whole numbers; score: float."""

    trial_id: np.ndarray
    attack_id: np.ndarray
    query: np.ndarray
    unit: np.ndarray
    member: np.ndarray
    judged: np.ndarray
    coin: np.ndarray
    score: np.ndarray


def joined(parts: Sequence[ScoreRows]) -> dict[str, np.ndarray]:
    """The columns of several attacks' scores, one after the other."""
    names = [item.name for item in dataclasses.fields(ScoreRows)]
    return {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
