"""What is kept and shown of a trajectory that failed: error, traceback, and the command that repeats its trial."""

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from study.store import Store
from study.store.names import is_word

if TYPE_CHECKING:  # who only reads failures waits for no torch
    from study.design.trials import Design, Trial
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
    """What is kept of the last error of a trajectory; Damaged when that is nothing.

    Its command is made anew of ids, as people paste it, and the file may have been written by others.
    """
    found = store.failure(trajectory_id)
    name = found.get("trial_id")
    return {**found, "command": _command(store, store.pointer()["spec"], name if is_word(name) else trajectory_id)}


def _command(store: Store, spec: str, name: Any) -> str:
    return shlex.join(["mia-study", "trial", f"{store.uri}/specs/{spec}.json", "--id", name])


def failed(store: Store, todo: "Mapping[str, Sequence[Work]]") -> "dict[str, Sequence[Work]]":
    """The trajectories whose last attempt failed."""
    names = store.failed()
    return {name: works for name, works in todo.items() if name in names}


def show(console: Console, store: Store, left: "Mapping[str, Sequence[Work]]") -> None:
    """Name each failed trial, with the file of its traceback and the command that repeats it."""
    for trajectory_id in failed(store, left):
        last = kept(store, trajectory_id)
        path = f"{store.uri}/failures/{trajectory_id}.json"
        told = f"failed: {last.get('trial')}: {last.get('error')}"
        lines = told, f"  traceback: {path}", f"  alone: {last['command']}"
        console.print("\n".join(lines), markup=False, soft_wrap=True)
