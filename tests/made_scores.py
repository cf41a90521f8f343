"""Stores of studies whose targets were never trained: real designs, ids, coins and passes, and scores that are made."""

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np

from mia_core.data import load_pool
from mia_core.persons import RECORD
from study.design.derivations import Derivations
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.trial_config import TrialConfig
from study.design.trials import Trial
from study.run.attack_row import Attacked, Queries, judged
from study.run.deriving import derive
from study.store import Pass, Store
from study.store.roles import STUDY
from study.store.rows import TrialRow, joined
from tests.small import small_spec

Made = Callable[[Trial, str, np.ndarray, np.ndarray], np.ndarray]
"""Scores [Q] of a trial under the attack of a label, from queries [Q] and members bool [Q]."""

OVERRIDES = (
    "attacks=[white_box,random]",
    "factors.train_size=[70]",
    "factors.epochs=[1]",
    "factors.defense=[none]",
    "quality.measures=[]",
    "controls={blind: false, nulls: 0, copycat: false}",
    "split.panel=100",
    "split.extra_non_members=0",
    "replicates=5",
)


def design_of(*overrides: str) -> Design:
    """A design without controls, of one cell unless the overrides say otherwise."""
    spec = small_spec(*OVERRIDES, *overrides)
    return Design(spec, load_pool(spec.data))


def publish(store: Store, design: Design) -> None:
    """As a sweep does, with what can be derived by now."""
    rows = design_rows(design, Derivations(design, store.markers()).found)
    store.publish(design.hash, design.spec.resolved, rows, {})


def write(store: Store, design: Design, made: Made, done: Callable[[Trial], bool] = lambda trial: True) -> None:
    """Seal a pass for each trial and shadow that is not sealed, and publish."""
    sealed = store.done()
    for trial in (*design.trials, *design.shadows):
        if done(trial) and trial.trial_id not in sealed:
            seal(store, design, trial, made)
    publish(store, design)


def write_and_derive(store: Store, design: Design, made: Made) -> list[str]:
    """A sweep with both of its stages; ids of the trials that got derived rows."""
    write(store, design, made)
    found = derive(design, store)
    publish(store, design)
    return list(found.trials)


def seal(store: Store, design: Design, trial: Trial, made: Made) -> None:
    """One pass that trained, and ran all attacks."""
    membership, split = design.membership(trial), design.split
    queries = membership.queries
    coins = np.isin(queries, split.coins_of(RECORD)) & (trial.role == STUDY)
    about = Queries(queries, split.units[queries], membership.member, split.judges(queries), coins)
    attacked = sum(
        (
            judged(
                design, trial, wanted,
                made(trial, wanted.label, queries, membership.member).astype(np.float32), about, seconds=0.1,
            )
            for wanted in trial.attacks
        ),
        Attacked(),
    )  # fmt: skip
    current = Pass(store)
    current.add("trials", [_row(design, trial, len(membership.train)).to_dict()])
    current.add("attacks", [row.to_dict() for row in attacked.rows])
    current.add("scores", joined(attacked.scores))
    assert current.seal(trial.trial_id, True, [row.attack_id for row in attacked.rows], [])


def _row(design: Design, trial: Trial, members: int) -> TrialRow:
    cell = trial.cell
    return TrialRow.of(
        {
            "trial_id": trial.trial_id, "trajectory_id": trial.trajectory_id, "study": design.spec.study,
            "role": trial.role, "dataset": "digits", "target": cell.label, "split": "panel",
            "train_size": cell.train_size, "members": members, "epochs": trial.epochs, "steps": trial.steps,
            "generator_steps": trial.steps, "defense": cell.arm.defense, "strength": cell.arm.strength,
            "replicate": trial.replicate, "seed": design.spec.seed, **cell.arm.columns(None), "seconds_train": 1.0,
            "peak_bytes": 0, "device": "cpu", "config": TrialConfig.of(design, trial).to_json(), "versions": "{}",
            "finished_at": datetime.now(UTC),
        }
    )  # fmt: skip


def hard_records(share: float, shift: float, seed: int = 0) -> Made:
    """Scores of unit variance whose `share` is the record's, under every attack; members' are `shift` higher."""

    def made(trial: Trial, label: str, queries: np.ndarray, member: np.ndarray) -> np.ndarray:
        difficulty = np.random.default_rng([seed, 1]).normal(size=queries.max() + 1)[queries]
        own = np.random.default_rng([seed, *trial.trial_id.encode(), *label.encode()])
        return share**0.5 * difficulty + (1 - share) ** 0.5 * own.normal(size=len(queries)) + shift * member

    return made
