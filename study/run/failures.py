"""What is kept and shown of a trajectory that failed: error, traceback, and the command that repeats its trial."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from study.design.study_design import Design
from study.design.trials import Trial
from study.design.work import Work
from study.store import Store


def failure(design: Design, store: Store, trial: Trial, error: str, trace: str) -> dict[str, Any]:
    """The content of failures/<trajectory>.json. trial: the one that raised."""
    spec = shlex.quote(f"{store.uri}/specs/{design.hash}.json")
    return {
        "trajectory_id": trial.trajectory_id,
        "trial_id": trial.trial_id,
        "trial": trial.name,
        "error": error,
        "traceback": trace,
        "command": f"mia-study trial {spec} --id {trial.trial_id}",
    }


def failed(store: Store, todo: Mapping[str, Sequence[Work]]) -> dict[str, Sequence[Work]]:
    """The trajectories whose last attempt failed."""
    names = store.failed()
    return {name: works for name, works in todo.items() if name in names}


def show(console: Console, store: Store, left: Mapping[str, Sequence[Work]]) -> None:
    """Name each failed trial, with the file of its traceback and the command that repeats it."""
    for trajectory_id in failed(store, left):
        kept = store.failure(trajectory_id)
        path = f"{store.uri}/failures/{trajectory_id}.json"
        lines = f"failed: {kept['trial']}: {kept['error']}", f"  traceback: {path}", f"  alone: {kept['command']}"
        console.print("\n".join(lines), markup=False, soft_wrap=True)
