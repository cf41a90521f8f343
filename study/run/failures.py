"""What is kept and shown of a trajectory that failed: error, traceback, and the command that repeats its trial."""

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mia_core.errors import shorten
from study.store import Damaged, Store
from study.store.names import is_word
from study.terminal import Console

LONGEST = 500

if TYPE_CHECKING:  # who only reads failures waits for no torch
    from study.design.study_design import Design
    from study.design.trials import Trial
    from study.design.work import Work


def failure(design: "Design", store: Store, trial: "Trial", error: str, trace: str) -> dict[str, Any]:
    """The content of failures/<trajectory>.json. trial: the one that raised."""
    return {
        "trajectory_id": trial.trajectory_id,
        "trial_id": trial.trial_id,
        "trial": trial.name,
        "error": error,
        "traceback": trace,
        "command": _command(store, design.hash, trial.trial_id),
    }


def kept(store: Store, trajectory_id: str) -> dict[str, Any]:
    """What is kept of the last error of a trajectory; where that cannot be read, why.

    Its command is made anew of ids, as people paste it, and the file may have been written by others.
    """
    try:
        found = store.failure(trajectory_id)
    except Damaged as error:
        found = {"trajectory_id": trajectory_id, "trial": trajectory_id, "error": str(error)}
    name = found.get("trial_id")
    return {**found, "command": _command(store, store.pointer()["spec"], name if is_word(name) else trajectory_id)}


def _command(store: Store, spec: str, name: Any) -> str:
    return shlex.join(["mia-study", "trial", f"{store.uri}/specs/{spec}.json", "--id", name])


def failed(store: Store, todo: "Mapping[str, Sequence[Work]]") -> "dict[str, Sequence[Work]]":
    """The trajectories whose last attempt failed."""
    names = store.failed()
    return {name: works for name, works in todo.items() if name in names}


def words(failure: Mapping[str, Any]) -> tuple[str, str]:
    """The trial and its error, and the command that repeats it; shortened, as an error may hold anything."""
    trial, error = (shorten(str(failure.get(key)), LONGEST) for key in ("trial", "error"))
    return f"{trial}: {error}", f"  alone: {failure['command']}"


def show(console: Console, store: Store, left: "Mapping[str, Sequence[Work]]") -> None:
    """Name each failed trial, with the file of its traceback and the command that repeats it."""
    for trajectory_id in failed(store, left):
        name, alone = words(kept(store, trajectory_id))
        console.say(f"failed: {name}", f"  traceback: {store.uri}/failures/{trajectory_id}.json", alone)
