"""Ray Tune over unfinished trajectories. Tune schedules and retries; results live in the store alone."""

import contextlib
import logging
import os
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray
from ray import tune

from study.design import Design
from study.execute import Runner
from study.machine import pick_device
from study.progress import Progress
from study.store import Store
from study.work import Work, missing_of

for _name, _value in {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "600",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}.items():
    os.environ.setdefault(_name, _value)


class TrajectoryFailed(Exception):
    """Some attacks of a trajectory raised; what else it gave is sealed."""


def run_trajectory(config: Mapping[str, Any], design: Design, results: str, code: Mapping[str, str]) -> None:
    """The Tune function: in a worker, do what one trajectory still misses and report each sealed pass."""
    trajectory_id = config["trajectory"]
    store = Store(results, design.spec.study)
    works = missing_of(design.trajectories[trajectory_id], store)
    failed: dict[str, str] = {}
    try:
        for sealed in Runner(design, store, pick_device(), code).run(works) if works else ():
            failed |= sealed.failed
            tune.report({"sealed": sealed.trial.trial_id, "name": sealed.trial.name, "seconds": sealed.seconds})
        if failed:
            raise TrajectoryFailed(f"{', '.join(failed)} failed: {next(iter(failed.values())).splitlines()[-1]}")
    except Exception as error:
        store.save_failure(trajectory_id, failure(design, store, trajectory_id, error, failed))
        raise
    store.drop_failure(trajectory_id)


def failure(
    design: Design, store: Store, trajectory_id: str, error: Exception, attacks: Mapping[str, str]
) -> dict[str, Any]:
    """What is kept of an error: message, traceback, how to repeat it."""
    return {
        "trajectory_id": trajectory_id,
        "trial": design.trajectories[trajectory_id][0].name,
        "error": f"{type(error).__name__}: {error}",
        "traceback": "\n".join(attacks.values()) or traceback.format_exc(),
        "command": f"python -m study.trial {store.folder}/specs/{design.hash}.json --id {trajectory_id}",
    }


class _Callback(tune.Callback):  # type: ignore[misc]
    """Passes Tune's events on to progress and log, in the driver."""

    def __init__(self, progress: Progress, todo: Mapping[str, Sequence[Work]], log: Callable[[str], None]) -> None:
        self.progress = progress
        self.log = log
        self.steps = {
            work.trial.trial_id: work.trial.steps - (works[number - 1].trial.steps if number else 0)
            for works in todo.values()
            for number, work in enumerate(works)
        }

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles callbacks for its own restore, which is never used here.

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.progress.started(trial.config["trajectory"])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if "sealed" in result:
            self.progress.sealed(result["name"], self.steps.get(result["sealed"], 0))
            self.log(result["sealed"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.progress.ended(trial.config["trajectory"])

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.progress.ended(trial.config["trajectory"], f"{trial.config['trajectory']} failed, trying again")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.progress.ended(trial.config["trajectory"], f"{trial.config['trajectory']} failed")


def schedule(
    design: Design,
    results: str,
    todo: Mapping[str, Sequence[Work]],
    code: Mapping[str, str],
    progress: Progress,
    log: Callable[[str], None],
    address: str | None = None,
) -> None:
    """Run trajectories, the longest first, until each ended or failed for good; Ctrl-C and SIGTERM stop early."""
    compute = design.spec.compute
    order = sorted(todo, key=lambda name: _cost(todo[name]), reverse=True)
    with local_ray(address, design.pool.images.nbytes), tempfile.TemporaryDirectory(prefix="tune-") as scratch:
        gpus = compute.gpus_per_trial if ray.cluster_resources().get("GPU") else 0
        trainable = tune.with_resources(
            tune.with_parameters(run_trajectory, design=design, results=results, code=code), {"cpu": 1, "gpu": gpus}
        )
        tuner = tune.Tuner(
            trainable,
            param_space={"trajectory": tune.grid_search(order)},
            tune_config=tune.TuneConfig(
                reuse_actors=True,
                max_concurrent_trials=compute.concurrent,
                trial_name_creator=lambda trial: trial.config["trajectory"],
                trial_dirname_creator=lambda trial: trial.config["trajectory"],
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=compute.retries),
                callbacks=[_Callback(progress, todo, log)],
            ),
        )
        tuner.fit()


def _cost(works: Sequence[Work]) -> float:
    """Relative, for scheduling only: private steps take about twice as long."""
    trial = works[-1].trial
    return max((work.trial.steps for work in works if work.train), default=0) * (2 if trial.cell.arm.poisson else 1)


@contextlib.contextmanager
def local_ray(address: str | None, data_bytes: int) -> Iterator[None]:
    """A Ray of our own on this machine, without a dashboard, or a running cluster."""
    own = {
        "num_cpus": len(os.sched_getaffinity(0)),
        "include_dashboard": False,
        # One copy of the pool and some room. More would not fit into a small /dev/shm, and Ray would go to the disk.
        "object_store_memory": 200 * 2**20 + data_bytes * 5 // 4,
    }
    ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **({} if address else own))
    # Tune ends a run in order on SIGINT only.
    previous = signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
        ray.shutdown()
