"""Garbage of a study: what no marker names, and no running sweep may be writing."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from study.store import own_names
from study.store.files import Damaged
from study.store.manifests import manifests
from study.store.passes import Store
from study.store.places import Entry
from study.store.schema import PASS_TABLES

SEALED_BY_PASSES = (*PASS_TABLES, "targets", "samples", "copies", "records", "roc", "resume")
FOLDERS = (".", "specs", "data", "design", "done", "features", "failures", "compacted", *SEALED_BY_PASSES)
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}|\.probe-[0-9a-f]{8}")


@dataclass(frozen=True)
class Garbage:
    """file: below the study's folder. modified: nanoseconds since the epoch."""

    file: str
    why: str
    bytes: int
    modified: int


def garbage(store: Store) -> list[Garbage]:
    """Temporary files, files of passes without a marker, damaged markers whose work other passes sealed, passes on an
    earlier training of their trial, checkpoints of trajectories whose trials are trained in every design, and
    compactions that a larger one supersedes. Damaged when another marker is, for what it sealed is not known.

    Links are none, nor is anything that no version of this project writes. Files are listed before markers are read,
    so that what is sealed meanwhile counts as sealed.
    """
    listed = [*_temporary(store), *_unsealed(store), *_superseded(store)]
    done = list(_markers(store))
    markers = store.whole_markers(every_design=True, others=True)
    sealed = {file for marker in markers.values() for file in marker["files"]}
    return [
        *(item for item in listed if item.file not in sealed),
        *(item for item in done if item.file.removeprefix("done/").removesuffix(".json") not in markers),
        *_checkpoints(store),
    ]


def collect(store: Store, older_than: int) -> tuple[list[Garbage], int]:
    """Remove garbage last modified before `older_than` (ns); what was removed, and how many younger files were left.

    The caller has the study's lock, so no sweep of this machine (or file system, where locks reach over it) writes
    here. A worker of a killed driver, or `mia-study trial`, may: its files are younger than what the caller spares, as
    long as a pass takes less and clocks agree to that. A file that was replaced since it was listed is left alone.
    """
    found = garbage(store)
    old = [item for item in found if item.modified < older_than]
    removed = []
    for item in old:
        entry = store.place.stat(item.file)
        if entry and entry.modified == item.modified:
            (store.place.erase if item.file.startswith("checkpoints/") else store.place.remove)(item.file)
            removed.append(item)
    for folder in {item.file.rpartition("/")[0] for item in removed if item.file.startswith("checkpoints/")}:
        store.place.prune(folder)
    return removed, len(found) - len(old)


def _item(folder: str, entry: Entry, why: str) -> Garbage:
    file = entry.name if folder == "." else f"{folder}/{entry.name}"
    return Garbage(file, why, entry.bytes, entry.modified)


def _markers(store: Store) -> Iterator[Garbage]:
    """All done-markers; those that cannot be read, and of which nothing is missing, are garbage."""
    for entry in store.place.files("done"):
        if own_names.own("done", [entry.name]):
            yield _item("done", entry, "a marker that counts no more: damaged, or of a training that was done again")


def _temporary(store: Store) -> Iterator[Garbage]:
    for folder in (*FOLDERS, *_trajectories(store)):
        for entry in store.place.files(folder):
            if TEMPORARY.fullmatch(entry.name):
                yield _item(folder, entry, "temporary")


def _unsealed(store: Store) -> Iterator[Garbage]:
    for folder in SEALED_BY_PASSES:
        for entry in store.place.files(folder):
            if not entry.name.startswith("."):
                yield _item(folder, entry, "of a pass that was not sealed")


def _superseded(store: Store) -> Iterator[Garbage]:
    """None while a manifest is damaged: the next compaction removes that one with its files."""
    sound = manifests(store.place)
    names = own_names.own("compacted", store.place.names("compacted"))
    entries = [entry for entry in store.place.files("compacted") if entry.name in names]
    if len(sound) == sum(entry.name.endswith(".json") for entry in entries):
        for entry in entries:
            if not sound or sound[0]["name"] not in entry.name:
                yield _item("compacted", entry, "of a compaction that was superseded or not finished")


def _trajectories(store: Store) -> list[str]:
    return [f"checkpoints/{name}" for name in store.place.folders("checkpoints")]


def drop_spent_checkpoints(store: Store) -> None:
    """Remove checkpoints of trajectories whose trials are trained in every design, as of attempts that died after the
    last seal. Nothing is read where no checkpoints are.
    """
    for trajectory_id in {item.file.split("/")[1] for item in _checkpoints(store)}:
        store.drop_checkpoints(trajectory_id)


def _checkpoints(store: Store) -> Iterator[Garbage]:
    if not _trajectories(store):
        return
    trained = {trial_id for trial_id, done in store.done().items() if done.train}
    trials = _trials_of_trajectories(store)
    for folder in _trajectories(store):
        wanted = trials.get(folder.removeprefix("checkpoints/"))
        if wanted and wanted <= trained:
            for entry in store.place.files(folder):
                if not TEMPORARY.fullmatch(entry.name):
                    yield _item(folder, entry, "of a trajectory whose trials are done")


def _trials_of_trajectories(store: Store) -> dict[str, set[str]]:
    """Trials by trajectory, of all designs; none when a design cannot be read, for it may want more."""
    trials: dict[str, set[str]] = {}
    try:
        for design in store.designs():
            pairs = zip(design["trajectory_id"].to_pylist(), design["trial_id"].to_pylist(), strict=True)
            for trajectory_id, trial_id in pairs:
                if trajectory_id and trial_id:
                    trials.setdefault(trajectory_id, set()).add(trial_id)
    except Damaged:
        return {}
    return trials
