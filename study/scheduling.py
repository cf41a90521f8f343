"""Ray Tune over unfinished trajectories. Tune schedules and retries; results live in the store alone."""

import contextlib
import logging
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray
from ray import tune

from study.design import Design
from study.execute import Runner, Sealed
from study.failures import failure
from study.machine import pick_device, terminate_in_order
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


STORAGE_SECONDS = 120.0
"""So long a sweep waits for results storage that is full, read-only or away; then it stops."""


class TrajectoryFailed(Exception):
    """Some attacks of a trajectory raised; what else it gave is sealed."""


def run_trajectory(config: Mapping[str, Any], design: Design, results: str, code: Mapping[str, str]) -> None:
    """The Tune function: in a worker, do what one trajectory still misses and report each sealed pass."""
    trajectory_id = config["trajectory"]
    store = Store(results, design.spec.study)
    works = missing_of(design.trajectories[trajectory_id], store)
    ran = 0
    failed: list[Sealed] = []
    try:
        store.drop_failure(trajectory_id)
        for sealed in Runner(design, store, pick_device(), code).run(works) if works else ():
            ran += 1
            failed += [sealed] if sealed.failed else []
            tune.report({"sealed": sealed.trial.trial_id, "name": sealed.trial.name, "seconds": sealed.seconds})
        if failed:
            raise TrajectoryFailed(f"{', '.join(failed[0].failed)} failed: {_last_line(failed[0])}")
    except Exception as error:
        attacks = isinstance(error, TrajectoryFailed)
        trial = failed[0].trial if attacks else works[min(ran, len(works) - 1)].trial
        trace = "\n".join(failed[0].failed.values()) if attacks else traceback.format_exc()
        with contextlib.suppress(OSError):  # the driver has the error too, and keeps it when this storage is back
            store.save_failure(trajectory_id, failure(design, store, trial, f"{type(error).__name__}: {error}", trace))
        raise


def _last_line(sealed: Sealed) -> str:
    return next(iter(sealed.failed.values())).splitlines()[-1]


def _first_line(error: str) -> str:
    """Of what Tune kept, after its own heading."""
    return next((line for line in error.splitlines() if line and not line.startswith("Failure #")), "unknown")


class _Callback(tune.Callback):  # type: ignore[misc]
    """Passes Tune's events on to progress and log, in the driver; keeps errors; waits for storage that is away."""

    def __init__(
        self,
        design: Design,
        store: Store,
        progress: Progress,
        todo: Mapping[str, Sequence[Work]],
        log: Callable[[str], None],
    ) -> None:
        self.design, self.store = design, store
        self.progress = progress
        self.log = log
        self.todo = todo
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
        self._await_storage()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        trajectory_id = trial.config["trajectory"]
        self.progress.ended(trajectory_id, f"{trajectory_id} failed")
        self._await_storage()
        if trajectory_id not in self.store.failed():  # its worker died, or could not write
            works = missing_of(self.design.trajectories[trajectory_id], self.store) or self.todo[trajectory_id]
            text = str(trial.get_error())
            kept = failure(self.design, self.store, works[0].trial, _first_line(text), text)
            with contextlib.suppress(OSError):
                self.store.save_failure(trajectory_id, kept)

    def _await_storage(self) -> None:
        """Attempts are not spent on storage that nothing can be written to."""
        until = time.monotonic() + STORAGE_SECONDS
        while True:
            try:
                self.store.probe()
            except ValueError as error:
                if time.monotonic() > until:
                    self.progress.say(f"stopping: {error}")
                    signal.raise_signal(signal.SIGINT)
                    return
                time.sleep(1)
            else:
                return


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
                callbacks=[_Callback(design, Store(results, design.spec.study), progress, todo, log)],
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
    previous = signal.getsignal(signal.SIGTERM)
    ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **({} if address else own))
    terminate_in_order()  # again: Ray has put a handler of its own in its place
    try:
        yield
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, previous)
