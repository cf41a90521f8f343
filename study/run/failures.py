"""What is kept and shown of a trajectory that failed: error, traceback, and the command that repeats its trial."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from mia_core.settings import shorten
from study.design.trials import Design, Trial
from study.design.work import Work
from study.store import Damaged, Store
from study.terminal import Console

LONGEST = 500


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


def kept(store: Store, trajectory_id: str) -> dict[str, Any]:
    """What is kept of the last error; where that cannot be read, why."""
    try:
        return store.failure(trajectory_id)
    except Damaged as error:
        return {"trajectory_id": trajectory_id, "trial": trajectory_id, "error": str(error)}


def words(failure: Mapping[str, Any]) -> tuple[str, str]:
    """The trial and its error, and the command that repeats it; shortened, as an error may hold anything."""
    trial, error, command = (shorten(str(failure.get(key)), LONGEST) for key in ("trial", "error", "command"))
    return f"{trial}: {error}", f"  alone: {command}"


def show(console: Console, store: Store, left: Mapping[str, Sequence[Work]]) -> None:
    """Name each failed trial, with the file of its traceback and the command that repeats it."""
    for trajectory_id in failed(store, left):
        name, alone = words(kept(store, trajectory_id))
        console.say(f"failed: {name}", f"  traceback: {store.uri}/failures/{trajectory_id}.json", alone)
