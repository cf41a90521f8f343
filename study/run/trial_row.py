"""What a trial's training comes to: its row of the table of trials, and its rows of history."""

import math
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mia_core.hashing import canonical_json
from mia_core.training import Trainer
from study.design.study_design import Design
from study.design.trial_config import TrialConfig
from study.design.trials import Trial
from study.machine import device_name, peak_bytes, versions
from study.spec.of_packages import packages_of
from study.store.noise import SECRET
from study.store.rows import HistoryRow, TrialRow


def trial_row(
    design: Design,
    trial: Trial,
    members: int,
    device: str,
    code: Mapping[str, str],
    trained: Trainer | None,
    seconds: float,
    flags: str | None = None,
    losses: Mapping[str, float | None] | None = None,
) -> TrialRow:
    """The row of a trial that ends now.

    members: records trained on. code: of the driver, see `code_versions`. trained: the trainer at the trial's level,
    after so many seconds of training; None for a control that trains nothing. losses: columns of `record_losses`.
    """
    spec, cell = design.spec, trial.cell
    packages = {
        **packages_of([spec.data], "data set"),
        **packages_of([cell.target], "target"),
        **packages_of(cell.arm.choices, "defense"),
    }
    values = {
        **cell.arm.columns(trained.accountant.sigma if trained and trained.accountant else None),
        **{name: level for name, level in cell.factors.items() if not isinstance(level, (dict, list))},
        "trial_id": trial.trial_id,
        "trajectory_id": trial.trajectory_id,
        "study": spec.study,
        "role": trial.role,
        "dataset": design.pool.name,
        "target": cell.label,
        "split": spec.split.name,
        "train_size": cell.train_size,
        "members": members,
        "epochs": trial.epochs,
        "steps": trial.steps,
        "generator_steps": trained.generator_steps if trained else 0,
        "defense": cell.arm.defense,
        "strength": cell.arm.strength,
        "replicate": trial.replicate,
        "seed": spec.seed,
        "epsilon": trained.epsilon if trained else None,
        "delta": cell.arm.delta,
        "epsilon_unit": cell.arm.unit if trained and cell.arm.guaranteed else None,
        "noise_key": SECRET if trained and cell.arm.guaranteed else None,
        **(losses or {}),
        "seconds_train": seconds,
        "peak_bytes": peak_bytes(device),
        "device": device_name(device),
        "flags": flags,
        "config": TrialConfig.of(design, trial).to_json(),
        "versions": canonical_json(
            {
                **versions(),
                "tf32": cell.training.precision == "tf32",
                "node": platform.node(),
                **code,
                **({"packages": packages} if packages else {}),
            }
        ),
        "finished_at": datetime.now(UTC),
    }
    return TrialRow.of(values)


def row_of_a_later_level(design: Design, trial: Trial, before: Mapping[str, Any]) -> TrialRow:
    """Of a trial whose training diverged at a lower level, `before`, whose row this is: nothing more was trained."""
    own = {
        "trial_id": trial.trial_id,
        "epochs": trial.epochs,
        "steps": trial.steps,
        "config": TrialConfig.of(design, trial).to_json(),
        "finished_at": datetime.now(UTC),
    }
    return TrialRow.of({**before, **own})


def history_rows(trial: Trial, trainer: Trainer, after: int) -> list[HistoryRow]:
    """Rows of the epochs that ended after a step, taken from the trainer; epsilon at the level itself."""
    epochs = [epoch for epoch in trainer.history if epoch.step > after]
    trainer.history.clear()
    return [
        HistoryRow.of(
            {
                **{name: value for name, value in epoch.means.items() if math.isfinite(value)},
                "trajectory_id": trial.trajectory_id,
                "epoch": epoch.epoch,
                "step": epoch.step,
                "seconds": epoch.seconds,
                "epsilon": trainer.epsilon if epoch.step == trainer.step else None,
            }
        )
        for epoch in epochs
    ]
