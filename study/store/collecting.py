"""Garbage of a study: what no marker names, and no running sweep may be writing."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from study.store.files import Damaged
from study.store.passes import Store
from study.store.reading import manifests
from study.store.schema import PASS_TABLES, from_parquet

SEALED_BY_PASSES = (*PASS_TABLES, "targets", "samples", "resume")
FOLDERS = (".", "specs", "design", "done", "features", "failures", "compacted", *SEALED_BY_PASSES)
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}|\.probe-[0-9a-f]{8}")
HOURS = 24.0
"""Longer than a pass takes from its first file to its marker."""


@dataclass(frozen=True)
class Garbage:
    """file: below the study's folder. modified: nanoseconds since the epoch."""

    file: str
    why: str
    bytes: int
    modified: int


def garbage(store: Store) -> list[Garbage]:
    """Temporary files, files of passes without a marker, checkpoints of trajectories whose trials are trained in every
    design, and compactions that a larger one supersedes. Damaged when a marker is, for what it sealed is not known.

    Links are none, nor is anything that no version of this project writes. Files are listed before markers are read,
    so that what is sealed meanwhile counts as sealed.
    """
    listed = [*_temporary(store), *_unsealed(store), *_superseded(store)]
    sealed = {file for name in store.passes() for file in store.marker(name)["files"]}
    return [*(item for item in listed if item.file not in sealed), *_checkpoints(store)]


def collect(store: Store, older_than: int) -> tuple[list[Garbage], int]:
    """Remove garbage last modified before `older_than` (ns); what was removed, and how many younger files were left.

    The caller has the study's lock, so no sweep of this machine (or file system, where locks reach over it) writes
    here. A worker of a killed driver, or `study.trial`, may: its files are younger than HOURS, as long as a pass takes
    less and clocks agree to that. A file that was replaced since it was listed is left alone.
    """
    found = garbage(store)
    old = [item for item in found if item.modified < older_than]
    removed = []
    for item in old:
        path = store.path(item.file)
        if path.is_file() and path.stat().st_mtime_ns == item.modified:
            path.unlink()
            removed.append(item)
    for folder in {store.path(item.file).parent for item in removed if item.file.startswith("checkpoints/")}:
        if not any(folder.iterdir()):
            folder.rmdir()
    return removed, len(found) - len(old)


def _files(store: Store, folder: str) -> Iterator[Path]:
    place = store.path(folder)
    if place.is_dir():
        yield from (path for path in sorted(place.iterdir()) if path.is_file() and not path.is_symlink())


def _item(store: Store, path: Path, why: str) -> Garbage:
    stat = path.stat()
    return Garbage(str(path.relative_to(store.folder)), why, stat.st_size, stat.st_mtime_ns)


def _temporary(store: Store) -> Iterator[Garbage]:
    for folder in (*FOLDERS, *_trajectories(store)):
        for path in _files(store, folder):
            if TEMPORARY.fullmatch(path.name):
                yield _item(store, path, "temporary")


def _unsealed(store: Store) -> Iterator[Garbage]:
    for folder in SEALED_BY_PASSES:
        for path in _files(store, folder):
            if not path.name.startswith("."):
                yield _item(store, path, "of a pass that was not sealed")


def _superseded(store: Store) -> Iterator[Garbage]:
    """None while a manifest is damaged: the next compaction removes that one with its files."""
    sound = manifests(store)
    files = [path for path in _files(store, "compacted") if not path.name.startswith(".")]
    if len(sound) == sum(path.suffix == ".json" for path in files):
        for path in files:
            if not sound or sound[0]["name"] not in path.name:
                yield _item(store, path, "of a compaction that was superseded or not finished")


def _trajectories(store: Store) -> list[str]:
    folder = store.path("checkpoints")
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [f"checkpoints/{path.name}" for path in found if path.is_dir() and not path.is_symlink()]


def drop_spent_checkpoints(store: Store) -> None:
    """Remove checkpoints of trajectories whose trials are trained in every design, as of attempts that died after the
    last seal. Nothing is read where no checkpoints are.
    """
    for folder in {store.path(item.file).parent for item in _checkpoints(store)}:
        store.drop_checkpoints(folder.name)


def _checkpoints(store: Store) -> Iterator[Garbage]:
    if not _trajectories(store):
        return
    trained = {trial_id for trial_id, done in store.done().items() if done.train}
    trials = _trials_of_trajectories(store)
    for folder in _trajectories(store):
        wanted = trials.get(folder.removeprefix("checkpoints/"))
        if wanted and wanted <= trained:
            for path in _files(store, folder):
                if not TEMPORARY.fullmatch(path.name):
                    yield _item(store, path, "of a trajectory whose trials are done")


def _trials_of_trajectories(store: Store) -> dict[str, set[str]]:
    """Trials by trajectory, of all designs; none when a design cannot be read, for it may want more."""
    trials: dict[str, set[str]] = {}
    for path in _files(store, "design"):
        if path.suffix == ".parquet" and not path.name.startswith("."):
            try:
                frame = from_parquet(path.read_bytes(), "design")
            except (OSError, pa.ArrowException, Damaged):
                return {}
            pairs = zip(frame["trajectory_id"].to_pylist(), frame["trial_id"].to_pylist(), strict=True)
            for trajectory_id, trial_id in pairs:
                if trajectory_id and trial_id:
                    trials.setdefault(trajectory_id, set()).add(trial_id)
    return trials
