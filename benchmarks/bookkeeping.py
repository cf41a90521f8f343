"""`python -m benchmarks.bookkeeping [--trials 10000] [--report-only]`: what a study costs that is no training.

A made-up finished store of configs/digits.yaml with so many replicates: real ids, markers and tables, random numbers,
all passes compacted but for the last hundred, as a driver that was killed may leave it. Each step runs in a process of
its own that has only imported the project. The same with a tenth of the trials shows how the cost grows. Exit code 1
when a step takes a processor longer than SECONDS, which a busy machine changes less than the time on the clock.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.measuring import in_fresh_process, peak_megabytes
from mia_core.data import load_pool
from mia_core.hashing import content_id
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.trial_config import TrialConfig
from study.design.trials import Trial
from study.design.work import missing
from study.machine import PROJECT
from study.plan import overview
from study.run.status import status
from study.spec.study_file import read as read_spec
from study.store import Pass, Store, files, read, seals
from study.store.compacting import write
from study.store.schema import PASS_TABLES, SCHEMAS, to_parquet, to_table
from study.terminal import Console

SECONDS = 5.0
TRIALS_PER_REPLICATE = 24
FRESH = 100
"""Passes that no compaction has."""

Columns = dict[str, np.ndarray]


def design_of(trials: int) -> Design:
    """The default study with enough replicates."""
    replicates = -(-trials // TRIALS_PER_REPLICATE)
    spec = read_spec(PROJECT / "configs" / "digits.yaml", [f"replicates={replicates}", "tracking=~"])
    return Design(spec, load_pool(spec.data))


def make_store(design: Design, root: str) -> Store:
    """A finished study under `root`."""
    store = Store(root, design.spec.study)
    store.publish(design.hash, design.spec.resolved, design_rows(design), {})
    compacted, fresh = design.every[:-FRESH], design.every[-FRESH:]
    markers = dict(_marker(trial) for trial in compacted)
    done = store.folder / "done"
    done.mkdir(parents=True)
    for name, marker in markers.items():
        (done / f"{name}.json").write_bytes(seals.to_json(marker))
    tables = ((table, to_parquet(to_table(table, _columns(design, table, compacted)))) for table in PASS_TABLES)
    write(store, store.listed(), markers, tables)
    for trial in fresh:
        current = Pass(store)
        for table in PASS_TABLES:
            current.add(table, _columns(design, table, [trial]))
        work = _work(trial)
        current.seal(trial.trial_id, work["train"], work["attacks"], work["measures"])
    return store


def _work(trial: Trial) -> dict[str, Any]:
    return {
        "train": True,
        "attacks": sorted(wanted.attack_id for wanted in trial.attacks),
        "measures": sorted(wanted.measure_id for wanted in trial.measures),
    }


def _marker(trial: Trial) -> tuple[str, dict[str, Any]]:
    work = _work(trial)
    name, nonce = f"{trial.trial_id}-{content_id(work)}", trial.trial_id[:8]
    own = [f"{table}/{name}-{nonce}.parquet" for table in PASS_TABLES]
    own += [f"targets/{trial.trial_id}.safetensors", f"samples/{trial.trial_id}.png"]
    seal = {relative: files.seal(relative.encode()) for relative in own}
    sealed_at = datetime.now(UTC).isoformat()
    return name, {"trial_id": trial.trial_id, "work": work, "nonce": nonce, "files": seal, "sealed_at": sealed_at}


def _columns(design: Design, table: str, trials: Sequence[Trial]) -> Mapping[str, Any]:
    """Columns of a table for some trials: ids as they would be, numbers at random."""
    rows = list(_ids(design, table, trials))
    ids = pd.DataFrame(rows).loc[lambda frame: frame.index.repeat(frame.pop("count"))] if rows else pd.DataFrame()
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {}
    for column, kind in SCHEMAS[table].items():
        if column in ids:
            columns[column] = ids[column].to_numpy()
        elif column in ("query", "epoch"):
            columns[column] = ids.groupby(list(ids), sort=False).cumcount().to_numpy() if len(ids) else []
        elif "float" in str(kind) or "double" in str(kind):
            columns[column] = random.random(len(ids))
        elif "int" in str(kind):
            columns[column] = random.integers(0, 1000, len(ids))
        elif "bool" in str(kind):
            columns[column] = random.random(len(ids)) < 0.5
        else:
            columns[column] = [None] * len(ids)
    return columns


def _ids(design: Design, table: str, trials: Sequence[Trial]) -> Iterator[dict[str, Any]]:
    """Rows of ids, and how many rows of the table have them."""
    queries = len(design.membership(trials[0]).queries)
    levels = design.spec.levels
    for trial in trials:
        own = {"trial_id": trial.trial_id, "count": 1}
        if table == "trials":
            cell = trial.cell
            words = {"study": design.spec.study, "role": trial.role, "dataset": design.pool.name, "split": "panel"}
            yield (
                own
                | words
                | {
                    "trajectory_id": trial.trajectory_id,
                    "target": cell.label,
                    "train_size": cell.train_size,
                    "epochs": trial.epochs,
                    "defense": cell.arm.defense,
                    "replicate": trial.replicate,
                    "steps": trial.steps,
                    "config": TrialConfig.of(design, trial).to_json(),
                    "versions": "{}",
                    "finished_at": datetime.now(UTC),
                }
            )
        for wanted in trial.attacks if table in ("attacks", "scores") else ():
            count = queries if table == "scores" else 1
            yield {"trial_id": trial.trial_id, "attack_id": wanted.attack_id, "count": count} | (
                {"attack": wanted.label} if table == "attacks" else {}
            )
        for measure in trial.measures if table == "quality" else ():
            words = {"measure": measure.name, "extractor": "domain", "against": measure.against}
            yield own | words | {"measure_id": measure.measure_id}
        if table == "history" and trial.epochs == levels[-1]:
            yield {"trajectory_id": trial.trajectory_id, "count": trial.epochs}


def _plan(root: str, trials: int) -> object:
    design = design_of(trials)
    todo = missing(design, Store(root, design.spec.study))
    overview.show(Console(quiet=True), design, todo)
    return todo


def _read(table: str) -> Callable[[str, int], object]:
    return lambda root, trials: read(root, "digits", table)


STEPS: dict[str, Callable[[str, int], object]] = {
    "design": lambda root, trials: design_of(trials),
    "plan": _plan,
    "resume scan": lambda root, trials: Store(root, "digits").done(),
    "status": lambda root, trials: status(Store(root, "digits")),
    **{f"read {table}": _read(table) for table in ("trials", "wide", "history", "scores")},
}


def measure(name: str, root: str, trials: int) -> tuple[float, float, float | None]:
    """Seconds, seconds of a processor, and peak megabytes of a step, in this process."""
    started, worked = time.perf_counter(), time.process_time()
    peak = peak_megabytes(lambda: STEPS[name](root, trials), "cpu")
    return time.perf_counter() - started, time.process_time() - worked, peak


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bookkeeping", description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--report-only", action="store_true", help="exit code 0 however long it takes")
    options = parser.parse_args(arguments)
    slow = []
    with tempfile.TemporaryDirectory() as scratch:
        sizes = (max(TRIALS_PER_REPLICATE, options.trials // 10), options.trials)
        counts = [_make(Path(scratch, str(trials)), trials) for trials in sizes]
        print("| step | " + " | ".join(f"{count:,} trials: s | CPU s | MB" for count in counts) + " | growth |")
        print("|---" * 8 + "|")
        for name in STEPS:
            found = [
                in_fresh_process(
                    measure, name, str(Path(scratch, str(trials))), trials, preload=["benchmarks.bookkeeping"]
                )
                for trials in sizes
            ]
            cells = [
                f"{seconds:.2f} | {worked:.2f} | {'-' if peak is None else f'{peak:.0f}'}"
                for seconds, worked, peak in found
            ]
            print(f"| {name} | {' | '.join(cells)} | {found[1][1] / found[0][1]:.1f} |", flush=True)
            if found[1][1] > SECONDS:
                slow.append(f"{name} takes {found[1][1]:.1f} s of a processor")
    print("\n".join(slow) or f"nothing takes more than {SECONDS:g} s of a processor")
    return int(bool(slow) and not options.report_only)


def _make(root: Path, trials: int) -> int:
    design = design_of(trials)
    make_store(design, str(root))
    return len(design.every)


if __name__ == "__main__":
    sys.exit(main())
