"""Ray Tune over unfinished trajectories. Tune schedules and retries; results live in the store alone.

Where there are GPUs, trajectories that show how much memory a trial takes go first, each on a whole one.
"""

import contextlib
import os
import secrets
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mia_core.errors import Refused
from study.design.study_design import Design
from study.design.work import Work, missing_of
from study.machine import begin_memory, pick_device, scratch_folder
from study.plan import packing
from study.plan.packing import Gpu, Share
from study.run.events import Events
from study.run.failures import failure
from study.run.local_ray import local_ray
from study.run.nodes import checked, may_start_gpus, require_alike, software
from study.run.progress import Progress
from study.run.runner import Runner, Sealed
from study.signals import keep_to_owner
from study.spec.of_packages import packages_used
from study.store import Damaged, Store

for _name, _value in {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "600",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}.items():
    os.environ.setdefault(_name, _value)

# Variables that Tune hands to workers, AWS_SECRET_ACCESS_KEY among them, are in Ray's logs for all to read. Workers of
# this machine inherit them as processes do; nodes of a cluster have their own.
ENV_VARS_TO_PROPAGATE.clear()


STORAGE_SECONDS = 120.0
"""How long a sweep waits for results storage that is full, read-only or away before it stops."""


WORKER_SECONDS = 300.0
"""How long a worker may take to start and to try the storage."""

OUT_OF_MEMORY = torch.OutOfMemoryError.__name__


class TrajectoryFailed(Exception):
    """Some attacks of a trajectory raised; what else it gave is sealed."""


@lru_cache(maxsize=1)
def _unpacked(design: ray.ObjectRef) -> Design:
    """The design, unpacked once per process and not per trajectory: one of 10,000 trials takes half a second."""
    return ray.get(design)


def run_trajectory(config: Mapping[str, Any], shared: Sequence[Any], results: str, code: Mapping[str, str]) -> None:
    """The Tune function: in a worker, do what one trajectory still misses and report each sealed pass.

    shared: a reference to the design, in a list, so that Tune hands it on as it is.
    """
    keep_to_owner()
    trajectory_id = config["trajectory"]
    design = _unpacked(shared[0])
    begin_memory(config["memory"])
    store = Store(results, design.spec.study)
    works = missing_of(design.trajectories[trajectory_id], store)
    ran = 0
    failed: list[Sealed] = []
    try:
        store.drop_failure(trajectory_id)
        for sealed in Runner(design, store, pick_device(config["gpus"]), code, _report).run(works) if works else ():
            ran += 1
            failed += [sealed] if sealed.failed else []
            tune.report({"sealed": sealed.trial.trial_id, "seconds": sealed.seconds})
        if failed:
            raise TrajectoryFailed(f"{', '.join(failed[0].failed)} failed: {_last_line(failed[0])}")
    except Exception as error:
        attacks = isinstance(error, TrajectoryFailed)
        trial = failed[0].trial if attacks else works[min(ran, len(works) - 1)].trial
        trace = "\n".join(failed[0].failed.values()) if attacks else traceback.format_exc()
        if config["gpus"] < 1 and OUT_OF_MEMORY in trace:
            tune.report({"out_of_memory": trial.name})
            return
        with contextlib.suppress(OSError):  # the driver has the error too, and keeps it when this storage is back
            store.save_failure(trajectory_id, failure(design, store, trial, f"{type(error).__name__}: {error}", trace))
        raise


def _report(step: int, steps: int, means: Mapping[str, float]) -> None:
    """Report how far a training is to the driver."""
    loss = next((value for name, value in sorted(means.items()) if name.startswith("loss")), None)
    tune.report({"step": step, "of": steps, "loss": loss})


def _last_line(sealed: Sealed) -> str:
    return next(iter(sealed.failed.values())).splitlines()[-1]


def _kept(trial: Any) -> list[str]:
    """Lines of error that Tune kept of the last attempt, from the driver's folder: its storage gets them later."""
    with contextlib.suppress(OSError, TypeError):  # no attempt failed, or Ray's folder is gone
        last = Path(trial.error_file).read_text().rpartition("Failure #")[2]
        return [line.rstrip() for line in last.splitlines()[1:] if line.strip()]
    return []


class _Callback(tune.Callback):  # type: ignore[misc]
    """Passes Tune's events on to progress and log, in the driver; keeps errors; waits for storage that is away."""

    def __init__(
        self,
        design: Design,
        store: Store,
        progress: Progress,
        todo: Mapping[str, Sequence[Work]],
        events: Events,
        at_once: int | None = None,
    ) -> None:
        limits = [limit for limit in (design.spec.compute.concurrent, at_once) if limit is not None]
        self.at_once = max(1, min(limits)) if limits else None
        self.design, self.store = design, store
        self.progress = progress
        self.events = events
        self.todo = todo
        self.short: list[str] = []

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles callbacks for its own restore, which is never used here.

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.progress.started(trial.config["trajectory"])
        self.events.began(trial.config["trajectory"])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if "sealed" in result:
            self.progress.sealed(trial.config["trajectory"], result["sealed"], result["seconds"])
            self.events.sealed(result["sealed"])
        if "step" in result:
            self.progress.trained(trial.config["trajectory"], result["step"], result["of"], result["loss"])
        if "out_of_memory" in result:
            self.progress.say(f"{result['out_of_memory']} ran out of memory, and gets a larger share of a GPU")
            self.short.append(trial.config["trajectory"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        trajectory_id = trial.config["trajectory"]
        if trajectory_id in self.short:
            self.progress.again(trajectory_id, "ran out of memory")
        else:
            self.progress.ended(trajectory_id)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.progress.again(trial.config["trajectory"], (_kept(trial) or ["failed"])[-1].strip())
        self._await_storage()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        trajectory_id = trial.config["trajectory"]
        lines = _kept(trial)
        self.progress.ended(trajectory_id, (lines or ["failed"])[-1].strip())
        self.events.failed(trajectory_id)
        self._await_storage()
        if trajectory_id not in self.store.failed():  # its worker died, or could not write
            works = missing_of(self.design.trajectories[trajectory_id], self.store) or self.todo[trajectory_id]
            kept = failure(self.design, self.store, works[0].trial, (lines or ["unknown"])[0].strip(), "\n".join(lines))
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
    events: Events,
    address: str | None = None,
    at_once: int | None = None,
) -> None:
    """Run trajectories, the longest first, until each ended or failed for good; Ctrl-C and SIGTERM stop early.

    at_once: trajectories that the memory of all nodes holds, None for as many as there are processors.
    ValueError when a worker cannot work in the results, or a share of a GPU that the study names is too small.
    """
    compute = design.spec.compute
    order = sorted(todo, key=lambda name: _cost(todo[name]), reverse=True)
    store = Store(results, design.spec.study)
    with local_ray(address, design.pool.images.nbytes), _aside(events.sealed) as aside:
        run = run_trajectory
        if address:
            own = software(packages_used(design.spec.resolved))
            require_alike(own)
            run = checked(run_trajectory, own)
        require_workers_storage(store)
        callback = _Callback(design, store, progress, todo, replace(events, sealed=aside), at_once)
        parameters = {"shared": [ray.put(design)], "results": results, "code": code}
        if address and not ray.cluster_resources().get("GPU") and may_start_gpus():
            progress.say("GPUs: waiting for the cluster to start the first")
            ray.get(ray.remote(num_gpus=1, max_calls=1)(packing.measure).remote())
        wanted = compute.gpus_per_trial if ray.cluster_resources().get("GPU") else 0.0
        gpus = _gpus() if wanted else []
        first = packing.pilots(todo, packing.peaks(design, store, gpus)) if wanted == "auto" and gpus else []
        if first:
            progress.say(f"GPUs: {len(first)} trajectories are run on whole ones first, to see what they take")
            if not _fit(run, parameters, first, packing.share(1, gpus, ""), callback):
                return
        share = packing.chosen(wanted, gpus, packing.peaks(design, store, gpus)) if wanted else packing.NONE
        if wanted:
            progress.say(f"GPUs: {share.gpus:g} of one for each trial: {share.why}")
        left = [name for name in order if name not in first]
        while left and _fit(run, parameters, left, share, callback):
            left, callback.short = callback.short, []
            share = packing.larger(share, gpus)


def _gpus() -> list[Gpu]:
    """One GPU of each node that has any and where torch sees it."""
    probe = ray.remote(num_gpus=1, max_calls=1)(packing.measure)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) >= 1]
    places = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    found = ray.get([probe.options(scheduling_strategy=place).remote() for place in places])
    return [gpu for gpu in found if gpu]


def _fit(
    run: Callable[..., None],
    parameters: Mapping[str, Any],
    order: Sequence[str],
    share: Share,
    callback: _Callback,
) -> bool:
    """Run trajectories on a share of a GPU each; False when that was interrupted."""
    compute = callback.design.spec.compute
    trainable = tune.with_resources(tune.with_parameters(run, **parameters), {"cpu": 1, "gpu": share.gpus})
    with scratch_folder("tune-") as scratch:
        tuner = tune.Tuner(
            trainable,
            param_space={"trajectory": tune.grid_search(list(order)), "gpus": share.gpus, "memory": share.memory},
            tune_config=tune.TuneConfig(
                reuse_actors=True,
                max_concurrent_trials=callback.at_once,
                trial_name_creator=lambda trial: trial.config["trajectory"],
                trial_dirname_creator=lambda trial: trial.config["trajectory"],
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=compute.retries),
                callbacks=[callback],
            ),
        )
        ended = tuner.fit()
        return ended.num_terminated + ended.num_errors == len(order)


def require_workers_storage(store: Store) -> None:
    """ValueError unless a worker on each node sees what this process wrote, and can write there itself."""
    name, nonce = f".probe-{secrets.token_hex(4)}", secrets.token_hex(16)
    store.place.write(name, nonce.encode())
    try:
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        asked = [
            _try_storage.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
                store.root, store.study, name, nonce
            )
            for node in nodes
        ]
        for node, found in zip(nodes, ray.get(asked, timeout=WORKER_SECONDS), strict=True):
            if found:
                raise Refused(f"results: a worker on node {node[:8]} cannot work in {store.uri}: {found}")
    except ray.exceptions.GetTimeoutError:
        raise Refused(
            f"results: no worker answered in {WORKER_SECONDS:.0f} s whether it can write to {store.uri}; "
            "the cluster is busy or broken, or that storage hangs"
        ) from None
    finally:
        store.place.remove(name)


@ray.remote(num_cpus=0, max_retries=0)  # type: ignore[untyped-decorator]
def _try_storage(root: str, study: str, name: str, nonce: str) -> str:
    """In a worker: what keeps it from working in the results, or nothing."""
    try:
        store = Store(root, study)
        if store.place.read(name) != nonce.encode():
            return "it sees other files there than the driver"
        store.probe()
    except Damaged:
        return "it does not see what the driver writes; results must be on storage that all machines share"
    except (ValueError, OSError) as error:
        return str(error).removeprefix("results: ")
    return ""


@contextlib.contextmanager
def _aside(log: Callable[[str], object]) -> Iterator[Callable[[str], object]]:
    """A thread for the log: Tune's loop gives workers their next trajectory, and must not wait for compactions."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="log")
    try:
        yield lambda trial_id: thread.submit(log, trial_id)
    finally:
        thread.shutdown(cancel_futures=True)


def _cost(works: Sequence[Work]) -> float:
    """Relative, for scheduling only: private steps take about twice as long."""
    trial = works[-1].trial
    return max((work.trial.steps for work in works if work.trains), default=0) * (2 if trial.cell.arm.poisson else 1)
