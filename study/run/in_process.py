"""Trajectories one after the other in this process, without Ray: for work so short that starting Ray takes longer."""

import contextlib
import traceback
from collections.abc import Mapping, Sequence

from study.design.study_design import Design
from study.design.work import Work
from study.machine import pick_device
from study.run.events import Events
from study.run.failures import failure
from study.run.progress import Progress
from study.run.runner import Runner
from study.store import Store


def run_in_process(
    design: Design,
    store: Store,
    todo: Mapping[str, Sequence[Work]],
    code: Mapping[str, str],
    progress: Progress,
    events: Events,
) -> None:
    """Each trajectory to its end. One that fails is kept as a failure, and the others run all the same."""
    runner = Runner(design, store, pick_device(), code)
    for name, works in todo.items():
        progress.started(name)
        events.began(name)
        store.drop_failure(name)
        trial = works[0].trial
        failed: dict[str, str] = {}
        try:
            for sealed in runner.run(works):
                trial = sealed.trial
                failed |= sealed.failed
                progress.sealed(name, trial.trial_id, sealed.seconds)
                events.sealed(trial.trial_id)
            trace = "\n".join(failed.values())
            error = trace.splitlines()[-1] if failed else ""
        except Exception as raised:
            error, trace = f"{type(raised).__name__}: {raised}", traceback.format_exc()
        if trace:
            with contextlib.suppress(OSError):
                store.save_failure(name, failure(design, store, trial, error, trace))
            events.failed(name)
        progress.ended(name, error.strip() or None)
