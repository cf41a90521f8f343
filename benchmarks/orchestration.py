"""`python -m benchmarks.orchestration [--trials 120] [--slots 8]`: what a trial costs beside its work, a second each.

- sweep: the machinery of `study.sweep` with a target that waits (`benchmarks.waiting`): everything a trial has
  otherwise, its training state, its attack, its sealed files and marker, its run in MLflow with a picture.
- tune: a plain Tune function that waits and reports 14 numbers, with Ray's own MLflow callback. tune-reusing: the same
  with `reuse_actors=True`.

Trials wait and do not compute, so they may be more at once than there are cores; all that is spent beside waiting has
to share the cores there are. In the steady state, from when every slot has begun its first trial to the beginning of
the last one, a slot's time a trial less its work is the overhead; it is printed as a share of the work, beside what Ray
documents: 10,000 trials of a second on 16 CPUs in 715 s, where 625 would be ideal. What happens once, before and after
(Ray's start, imports, what remains to be logged), is printed as a share of the whole.

Then, in this process: what a trajectory spends on finding what is missing of it and where to resume, by how many passes
the store has already.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks import waiting
from benchmarks.measuring import Spent, spread, table, timed_module
from mia_core.data import load_pool
from mia_core.hashing import content_id
from study.design.design_rows import design_rows
from study.design.identity import trial_id
from study.design.study_design import Design
from study.design.work import missing, missing_of
from study.machine import code_versions
from study.spec.study_file import Spec, parse
from study.store import Store, compact, seals

DOCUMENTED_SECONDS, DOCUMENTED_TRIALS, DOCUMENTED_CPUS = 715, 10_000, 16
"""docs.ray.io, "Scalability and Overhead Benchmarks for Ray Tune"; trials of a second each."""
WAYS = ("sweep", "tune", "tune-reusing")
LOG = "worked.txt"
RESUMED_STEP = 4


def study(folder: Path, trials: int, seconds: float) -> Spec:
    """As many replicates of one cell, of one step each."""
    return parse(
        {
            "study": "orchestration",
            "data": {"name": "digits", "size": 8},
            "split": {"name": "panel", "reference": 50, "unseen": 10, "panel": 50, "probability": 0.4, "known": 0},
            "target": {"name": "waiting", "seconds": seconds, "log": str(folder / LOG)},
            "training": {"batch_size": 32},
            "factors": {"train_size": [32], "epochs": [1]},
            "replicates": trials,
            "attacks": ["white_box"],
            "quality": {"measures": []},
            "controls": {"blind": False, "nulls": 0, "copycat": False},
            "results": str(folder),
            "tracking": f"sqlite:///{folder}/mlflow.db",
        }
    )


# The ways, each in a command of its own


def sweep(folder: Path, trials: int, slots: int, seconds: float) -> None:
    """What `study.sweep` does, on so many slots."""
    from study.plan import cost
    from study.plan.outlook import Outlook
    from study.run import heartbeat
    from study.run.events import Events
    from study.run.progress import Progress
    from study.run.scheduling import schedule
    from study.terminal import Console
    from study.tracking.tracker import Tracker

    spec = study(folder, trials, seconds)
    design = Design(spec, load_pool(spec.data))
    store = Store(spec.results, spec.study)
    todo, code = missing(design, store), code_versions()
    with store.lock():
        store.publish(design.hash, spec.resolved, design_rows(design), code)
        tracker = Tracker(store, spec.tracking, print)
        tracker.start()
        expected = cost.expected(Outlook.of(design, store, todo).estimate, todo)
        # A sweep has a slot for each core; here they are more.
        with (
            Progress(Console(), todo, expected, partial(heartbeat.beat, store)) as progress,
            mock.patch("os.sched_getaffinity", lambda _: range(slots)),
        ):
            schedule(design, str(folder), todo, code, progress, Events(sealed=tracker.log))
        heartbeat.drop(store)
        tracker.reconcile()
        compact(store)
        tracker.close(complete=not missing(design, store))


def tune(folder: Path, trials: int, slots: int, seconds: float, reuse: bool = False) -> None:
    """A plain Tune function."""
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    def trainable(config: dict[str, Any]) -> None:
        waiting.work(seconds, str(folder / LOG))
        tune.report({f"metric_{number}": float(number) for number in range(14)})

    ray.init(address="local", num_cpus=slots, include_dashboard=False, log_to_driver=False)
    tune.Tuner(
        trainable,
        param_space={"trial": tune.grid_search(list(range(trials)))},
        tune_config=tune.TuneConfig(reuse_actors=reuse),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder),
            callbacks=[MLflowLoggerCallback(f"sqlite:///{folder}/mlflow.db", experiment_name="tune")],
        ),
    ).fit()


# What they took


def overheads(worked: Sequence[tuple[float, float]], spent: Spent, slots: int, seconds: float) -> tuple[float, float]:
    """Slot time beside the work, as shares of the work: a trial's in the steady state, and of all from start to end.

    worked: begin and end of each trial's work, by begin; more than `slots` of them.
    """
    begins = [begun for begun, _ in worked]
    steady = slots * (begins[-1] - begins[slots - 1]) / (len(begins) - slots)
    return steady / seconds - 1, slots * spent.wall / (len(begins) * seconds) - 1


def measured(way: str, options: argparse.Namespace) -> tuple[float, float, float]:
    """Both overheads of one way, and its CPU seconds a trial."""
    with tempfile.TemporaryDirectory(prefix=f"{way}-") as scratch:
        words = [f"--{name}={getattr(options, name)}" for name in ("trials", "slots", "seconds")]
        spent = timed_module(
            "benchmarks.orchestration", "--way", way, "--folder", scratch, *words, folder=Path(scratch)
        )
        worked = waiting.times(Path(scratch) / LOG)
    if len(worked) != options.trials:
        raise RuntimeError(f"{way}: {len(worked)} of {options.trials} trials did their work")
    return *overheads(worked, spent, options.slots, options.seconds), spent.cpu / options.trials


# One trajectory's bookkeeping


def filled(folder: Path, passes: int) -> Store:
    """A store of sealed passes, four to a trajectory, the last of which has a state to resume from; markers alone."""
    store = Store(folder, "filled")
    for number in range(passes):
        trajectory, level = f"{content_id(number // 4)}", number % 4 + 1
        name = trial_id(trajectory, level)
        kept = [f"targets/{name}.safetensors", f"samples/{name}.png"]
        kept += [f"resume/{trajectory}-{level}.safetensors"] if level == RESUMED_STEP else []
        work: dict[str, Any] = {"train": True, "attacks": [content_id([name, "attack"])], "measures": []}
        pass_name = f"{name}-{content_id(work)}"
        tables = [f"{table}/{pass_name}-0.parquet" for table in ("trials", "attacks", "scores", "history")]
        sealed = {relative: {"bytes": 0, "sha256": "0" * 64} for relative in (*tables, *kept)}
        marker = {
            "trial_id": name,
            "work": work,
            "nonce": "0",
            "files": sealed,
            "sealed_at": "2026-01-01T00:00:00+00:00",
        }
        _put(store.folder / f"done/{pass_name}.json", seals.to_json(marker))
        if level == RESUMED_STEP:
            _put(store.folder / kept[-1], b"")
    return store


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def bookkeeping(passes: int, repeats: int) -> np.ndarray:
    """CPU seconds [repeats] that a trajectory takes to find what is missing of it and where to resume."""
    folder = Path(tempfile.mkdtemp(prefix="filled-"))
    try:
        store = filled(folder, passes)
        spec = study(folder, 1, 0.0)
        (trials,) = Design(spec, load_pool(spec.data)).trajectories.values()
        seconds = []
        for number in range(repeats):
            begun = time.process_time()
            missing_of(trials, store)
            trajectory = content_id(number % (passes // 4))
            steps = store.resume_steps(trajectory, partial(trial_id, trajectory))
            seconds.append(time.process_time() - begun)
            assert steps == [RESUMED_STEP]
        return np.array(seconds)
    finally:
        shutil.rmtree(folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.orchestration", description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=120)
    parser.add_argument("--slots", type=int, default=8, help="trials at once")
    parser.add_argument("--seconds", type=float, default=1.0, help="work of a trial")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passes", type=int, nargs="+", default=[200, 5_000, 10_000])
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.trials <= options.slots:
        parser.error(f"--trials {options.trials}: needs more than --slots {options.slots}, to see slots used again")
    asked = (options.folder, options.trials, options.slots, options.seconds)
    if options.way:
        sweep(*asked) if options.way == "sweep" else tune(*asked, reuse=options.way == "tune-reusing")
        return 0
    rounds = [{way: measured(way, options) for way in WAYS} for _ in range(options.rounds)]
    ideal = DOCUMENTED_TRIALS / DOCUMENTED_CPUS
    rows = [["Ray, documented", "", f"{DOCUMENTED_SECONDS / ideal - 1:.1%} of the work", ""]]
    for way in WAYS:
        steady, whole, cpu = np.array([found[way] for found in rounds]).T
        rows.append([way, f"{spread(100 * steady)} %", f"{spread(100 * whole)} %", spread(cpu / options.seconds)])
    table(
        f"{options.trials} trials of {options.seconds:g} s in {options.slots} slots on {len(os.sched_getaffinity(0))} "
        f"cores: slot time beside the work, as a share of it; {options.rounds} rounds",
        ["way", "a trial, steady", "start to end", "CPU time, over the work"],
        rows,
    )
    base: np.ndarray | None = None
    rows = []
    for passes in options.passes:
        seconds = bookkeeping(passes, 20)
        base = seconds if base is None else base
        rows.append([f"{passes:,}", spread(100 * seconds), spread(seconds / np.median(base))])
    table(
        "A trajectory finds what is missing of it and where to resume: CPU time",
        ["passes in the store", "% of a second's work", f"over that with {options.passes[0]:,}"],
        rows,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
