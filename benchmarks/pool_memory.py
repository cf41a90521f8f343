"""`python -m benchmarks.pool_memory [--records 88702] [--workers 2]`: what a large pool costs each worker in memory.

The pool, random pixels of 3 x 64 x 64 in pairs (two eyes a patient), is mapped from a file as the cache gives it, and
its design goes to Tune's workers as a sweep sends it. Each worker reads every record once, cuts a training set, and
waits for the others; then all read /proc/self/smaps_rollup. The same with a pool of 1,000 records is the baseline: the
difference in private memory (USS) is what is copied, the difference in PSS what a worker adds to the machine.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune

from mia_core.data import Pool
from study.design.study_design import Design
from study.run.local_ray import local_ray
from study.spec.study_file import parse

SIZE = 64
STUDY = {
    "study": "pool_memory",
    "data": {"name": "retinopathy"},
    "target": {"name": "dcgan"},
    "factors": {"train_size": [200], "epochs": [1]},
    "attacks": ["white_box"],
    "quality": {"samples": 50, "extractor": {"features": 16}},
}
SPLITS = {
    "panel": {"name": "panel", "reference": 100, "unseen": 50, "panel": 400, "probability": 0.25},
    "logan": {"name": "logan", "reference": 100, "unseen": 50},
}


def make_pool(folder: Path, records: int) -> Pool:
    """uint8 [records, 3, 64, 64], mapped from a file in `folder`."""
    path = folder / f"{records}.npy"
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (records, 3, SIZE, SIZE))
    rng = np.random.default_rng(0)
    for start in range(0, records, 4096):
        images[start : start + 4096] = rng.integers(0, 256, images[start : start + 4096].shape, dtype=np.uint8)
    images.flush()
    del images
    mapped = np.asarray(np.load(path, mmap_mode="r"))
    return Pool("synthetic", mapped, rng.integers(0, 5, records), np.arange(records) // 2)


def memory(process: str = "self") -> dict[str, float]:
    """RSS, PSS and USS of a process in MB, by the kernel."""
    lines = Path("/proc", process, "smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    private = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return {"rss": kilobytes["Rss"] / 1024, "pss": kilobytes["Pss"] / 1024, "uss": private / 1024}


def worker(config: Mapping[str, Any], design: Design, folder: str, workers: int) -> None:
    """In a worker: use all of the pool as a trial does, meet the others, measure."""
    started = time.perf_counter()
    total = sum(int(design.pool.images[i : i + 256].sum()) for i in range(0, len(design.pool), 256))
    membership = design.split.membership(config["worker"], 200)
    train = design.pool.images[membership.train]
    seconds = time.perf_counter() - started
    _meet(Path(folder), "ready", config["worker"], workers)
    found = memory()
    _meet(Path(folder), "done", config["worker"], workers)
    tune.report({**found, "seconds": seconds, "total": total + int(train.sum())})


def _meet(folder: Path, word: str, number: int, workers: int) -> None:
    (folder / f"{word}-{number}").touch()
    while len(list(folder.glob(f"{word}-*"))) < workers:
        time.sleep(0.05)


def run(records: int, workers: int, split: str) -> list[dict[str, float]]:
    """Memory of each worker, after printing what the driver did."""
    with tempfile.TemporaryDirectory() as scratch:
        pool = make_pool(Path(scratch), records)
        started = time.perf_counter()
        design = Design(parse({**STUDY, "split": SPLITS[split]}), pool)
        seconds = time.perf_counter() - started
        before = shutil.disk_usage("/dev/shm").used
        with local_ray(None, pool.images.nbytes):
            trainable = tune.with_parameters(worker, design=design, folder=scratch, workers=workers)
            results = tune.Tuner(
                tune.with_resources(trainable, {"cpu": 1}),
                param_space={"worker": tune.grid_search(list(range(workers)))},
                run_config=tune.RunConfig(name="pool_memory", storage_path=scratch, verbose=0),
            ).fit()
            shared = (shutil.disk_usage("/dev/shm").used - before) / 2**20
        found = [result.metrics for result in results]
        if any("uss" not in (metrics or {}) for metrics in found):
            raise SystemExit(f"a worker failed: {results.errors}")
        print(
            f"{records} records, {pool.images.nbytes / 2**20:.0f} MB: design in {seconds:.1f} s; driver PSS "
            f"{memory()['pss']:.0f} MB (its mapped file counted); object store {shared:.0f} MB in /dev/shm"
        )
        for number, metrics in enumerate(found):
            words = ", ".join(f"{key.upper()} {metrics[key]:.0f} MB" for key in ("rss", "pss", "uss"))
            print(f"  worker {number}: {words}; {metrics['seconds']:.1f} s to read everything")
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pool_memory", description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=88_702)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--split", choices=sorted(SPLITS), default="panel")
    options = parser.parse_args(arguments)
    small = run(1_000, options.workers, options.split)
    large = run(options.records, options.workers, options.split)
    copied = np.mean([metrics["uss"] for metrics in large]) - np.mean([metrics["uss"] for metrics in small])
    pool = options.records * 3 * SIZE * SIZE / 2**20
    print(f"private to each worker because of the pool: {copied:.0f} MB, {copied / pool:.1%} of it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
