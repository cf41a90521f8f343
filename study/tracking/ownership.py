"""Which runs of an experiment belong to a store: those with its tags and no others, whatever their names are.

A run is a store's by the tag `store`, an id that its study.json has, and by `results`, where the store is: a copy of a
store has the id too, and makes runs of its own. Two kinds of runs are taken over, where the store has none of that
trial: with its id, of a place where it is no more, for it was moved; and those that an earlier version made for it.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mia_core.errors import Refused
from study.store import Damaged, Store

KIND, TRIAL_ID, PASSES, STORE, RESULTS, PARENT = (
    "kind", "trial_id", "passes", "store", "results", "mlflow.parentRunId",
)  # fmt: skip
STUDY_RUN, TRIAL_RUN = "study", "trial"
RUNNING = "RUNNING"
OF_STUDY = ""
"""In place of a trial id, of the study's own run."""


@dataclass(frozen=True)
class Run:
    """A run of this store. passes: its tag of that name, empty until it is whole. parent: the run it is shown under."""

    run_id: str
    passes: str = ""
    parent: str = ""
    running: bool = False


@dataclass(frozen=True)
class Found:
    """runs: this store's, by trial id. doubled: ids of further ones of the same trials, which it made too.

    taken: runs that it takes over, by trial id.
    """

    runs: Mapping[str, Run]
    doubled: tuple[str, ...]
    taken: Mapping[str, Run]


def tags_of(store: Store) -> dict[str, str]:
    """The tags by which a run is this store's."""
    return {STORE: store.id, RESULTS: place_of(store)}


def place_of(store: Store) -> str:
    """Where the store is, as MLflow can keep it: bytes of a path that are no UTF-8 are written out."""
    return os.fsencode(store.uri).decode(errors="backslashreplace")


def own_runs(client: Any, experiment: str, store: Store) -> Found:
    """Of several runs of a trial, made by a request that was sent again or on two machines, the most complete counts.

    A run of an earlier version that was cut short has no parent yet: so its store is not known, and it is left alone.
    """
    own: dict[str, list[Run]] = {}
    bare: list[Any] = []
    moved: list[Any] = []
    gone: dict[str, bool] = {}
    for run in _every(client, experiment):
        tags = run.data.tags
        if tags.get(KIND) not in (STUDY_RUN, TRIAL_RUN) or (tags[KIND] == TRIAL_RUN) != bool(tags.get(TRIAL_ID)):
            continue
        if STORE not in tags:
            bare.append(run)
        elif tags[STORE] == store.id and tags.get(RESULTS) == place_of(store):
            own.setdefault(tags.get(TRIAL_ID, OF_STUDY), []).append(_run(run))
        elif tags[STORE] == store.id and _is_gone(tags.get(RESULTS, ""), store, gone):
            moved.append(run)
    runs, doubled = {}, []
    for key, several in own.items():
        runs[key], *others = sorted(several, key=lambda one: not one.passes)
        doubled += [one.run_id for one in others]
    taken: dict[str, Run] = {}
    for run in sorted([*moved, *_earlier(bare, store)], key=lambda run: not run.data.tags.get(PASSES)):
        trial_id = run.data.tags.get(TRIAL_ID, OF_STUDY)
        if trial_id not in runs:
            taken.setdefault(trial_id, _run(run))
    return Found(runs, tuple(doubled), taken)


def _every(client: Any, experiment: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _run(run: Any) -> Run:
    tags = run.data.tags
    return Run(run.info.run_id, tags.get(PASSES, ""), tags.get(PARENT, ""), run.info.status == RUNNING)


def _is_gone(results: str, store: Store, known: dict[str, bool]) -> bool:
    """Whether no store of this id is where a run says."""
    if results not in known:
        try:
            known[results] = Store.at(results).id != store.id
        except (Refused, Damaged, OSError, ValueError):
            known[results] = True
    return known[results]


def _earlier(bare: list[Any], store: Store) -> list[Any]:
    """Of runs without the tag: those of a study that name these results, and of trials sealed here under them."""
    parents = [
        run for run in bare if run.data.tags[KIND] == STUDY_RUN and run.data.tags.get(RESULTS) == place_of(store)
    ]
    sealed = {marker[TRIAL_ID] for marker in store.markers().values()} if parents else set()
    above = {run.info.run_id for run in parents}
    trials = [run for run in bare if run.data.tags.get(TRIAL_ID) in sealed and run.data.tags.get(PARENT) in above]
    return parents + trials
