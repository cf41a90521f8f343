"""Bytes that work will write: from files of past trials where there are any, else by arithmetic on shapes."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence

from study.design.study_design import Design
from study.design.trials import Trial
from study.design.work import Work
from study.plan.past import Past
from study.plan.shapes import defended
from study.store.places import Folder, Place
from study.store.roles import CANARY, MEMBER_ONLY, NULL
from study.store.schema import PASS_TABLES

MARKER, TABLE, SCORE, PIXEL, ROC = 2_000, 10_000, 10, 3, 40_000
"""Bytes of a marker, of a small Parquet file, of a record's score, of a pixel in a grid of samples, and of a ROC."""
GRID = 64
"""Samples in the picture of a trial."""

STATES = 3
"""A resume state holds each parameter and two moments of it."""


def needed(design: Design, todo: Mapping[str, Sequence[Work]], past: Past, slots: int) -> Counter[str]:
    """Bytes by folder of the study: tables twice, for they are compacted; checkpoints of as many as run at once."""
    tables = _means(past)
    queries: dict[tuple[int, str], int] = {}
    found: Counter[str] = Counter()
    largest = 0
    for works in todo.values():
        last = max((work.trial.steps for work in works if work.trains), default=0)
        for work in works:
            trial = work.trial
            found["done"] += MARKER
            key = trial.cell.train_size, trial.role if trial.role in (NULL, MEMBER_ONLY) else ""
            if key not in queries:
                queries[key] = len(design.membership(trial).queries)
            for table, size in _tables(work, queries[key]).items():
                found[table] += round(2 * tables.get(table, size))
            if work.train and work.attacks and design.spec.tracking is not None:
                found["roc"] += round(tables.get("roc", ROC))
            if not work.trains or work.retrain or trial.role == CANARY:
                continue
            target = target_bytes(design, trial)
            largest = max(largest, target)
            found["samples"] += round(tables.get("samples", GRID * PIXEL * _pixels(design)))
            found["targets"] += target if design.spec.keep_targets else 0
            found["resume"] += STATES * target if trial.steps == last else 0
    found["checkpoints"] = 3 * STATES * largest * min(slots, len(todo))
    return +found


def free(place: Place) -> int | None:
    """Bytes that the file system of a folder has left, also of one that does not exist yet; None of a bucket."""
    if not isinstance(place, Folder):
        return None
    return shutil.disk_usage(next(path for path in (place.folder, *place.folder.parents) if path.exists())).free


def target_bytes(design: Design, trial: Trial) -> int:
    """Of a trained target's tensors."""
    cell = trial.cell
    network = defended(cell.target, cell.arm, design.pool.image_shape)
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())


def _tables(work: Work, queries: int) -> dict[str, int]:
    """Bytes of the tables that a pass writes."""
    wanted = [attack for attack in work.attacks if not attack.skipped]
    tables = {"trials": TABLE, "history": TABLE} if work.train else {}
    tables |= {"quality": TABLE} if work.measures else {}
    tables |= {"attacks": TABLE} if work.attacks else {}
    return tables | ({"scores": TABLE + SCORE * queries * len(wanted)} if wanted else {})


def _pixels(design: Design) -> int:
    _, height, width = design.pool.image_shape
    return (height + 1) * (width + 1)


def _means(past: Past) -> dict[str, float]:
    """Mean bytes of a past trial's files in tables and samples, by folder."""
    sizes: dict[str, list[int]] = {}
    for files in past.files.values():
        for file, size in files.items():
            folder = file.partition("/")[0]
            if folder in (*PASS_TABLES, "samples", "roc"):
                sizes.setdefault(folder, []).append(size)
    return {folder: sum(values) / len(values) for folder, values in sizes.items()}
