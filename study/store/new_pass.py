"""A pass that is being written: its tables and files, and the done-marker that seals them."""

import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import Any

from mia_core.hashing import FORMAT, content_id
from study.store import files, own_names, seals
from study.store.files import Damaged
from study.store.passes import Store
from study.store.schema import Rows, to_parquet, to_table


class Pass:
    """What is written at once for one trial. Until `seal`, readers see nothing of it."""

    def __init__(self, store: Store) -> None:
        """A new one, under its own nonce."""
        self.store = store
        self.nonce = secrets.token_hex(4)
        self._tables: dict[str, Rows] = {}
        self._seals: dict[str, dict[str, Any]] = {}

    def add(self, table: str, rows: Rows) -> None:
        """Rows of one table."""
        self._tables[table] = rows

    def add_file(self, stem: str, suffix: str, data: bytes) -> None:
        """A file besides tables, sealed with the pass: its name before the pass's nonce, and its suffix."""
        relative = f"{stem}-{self.nonce}{suffix}"
        self.store.place.write(relative, data)
        self._seals[relative] = files.seal(data)

    def seal(
        self,
        trial_id: str,
        train: bool,
        attacks: list[str],
        measures: list[str],
        flags: str | None = None,
        training: str | None = None,
    ) -> bool:
        """Write tables, then the marker; False when the trial was trained, or the same work done, by somebody else
        meanwhile.

        A damaged marker is replaced, and one of work on an earlier training. flags: of the trial's row. training: of
        which the target was, by its nonce, by default the one that counts; of a training that is done again, the one
        that it takes the place of.
        """
        work = _work(attacks, measures, train)
        name = _name(trial_id, work)
        self._write_tables(name)
        counts = self.store.training(trial_id)
        if (train or training) and counts != training:
            return False  # trained meanwhile, under a name of earlier versions or this one
        return self._mark(name, trial_id, work, flags, counts, again=train and training is not None)

    def _mark(
        self,
        name: str,
        trial_id: str,
        work: Mapping[str, Any],
        flags: str | None,
        counts: str | None,
        again: bool = False,
        sync: bool = True,
    ) -> bool:
        """Write the marker. counts: the nonce of the training that counts. again: it takes the place of that."""
        marker = {
            "trial_id": trial_id,
            "work": work,
            "nonce": self.nonce,
            "files": self._seals,
            "sealed_at": datetime.now(UTC).isoformat(),
            "format": FORMAT,
            "flags": flags,
            "training": self.nonce if work["train"] else counts,
        }
        relative, data = f"done/{name}.json", seals.to_json(marker)
        if not again and self.store.place.create(relative, data, sync):
            return True
        if again or self._may_replace(name, trial_id):
            before = self.store.marked([trial_id]).counted if again else {}
            self.store.place.write(relative, data)
            for other, own in before.items():
                if own["work"]["train"] and other != name:  # as earlier versions named it
                    self.store.place.remove(f"done/{other}.json")
            return True
        return False

    def _may_replace(self, name: str, trial_id: str) -> bool:
        """Whether the marker of that name is damaged, or of work on an earlier training."""
        try:
            self.store.marker(name)
        except Damaged:
            return True
        return name in self.store.marked([trial_id]).outdated

    def _write_tables(self, name: str, sync: bool = True) -> None:
        for table, rows in self._tables.items():
            relative, data = f"{table}/{name}-{self.nonce}.parquet", to_parquet(to_table(table, rows))
            self.store.place.write(relative, data, sync)
            self._seals[relative] = files.seal(data)


def seal_together(store: Store, passes: Mapping[str, tuple[Pass, Sequence[str]]], threads: Executor) -> None:
    """Seal a pass of attacks for each of several trials, as `seal` does one by one.

    The done-markers are listed once and each folder is synced once, after all tables and after all markers, where
    `seal` does so for each pass. passes: by trial id, a pass and the ids of its attacks.
    """
    works = {trial_id: _work(attacks, ()) for trial_id, (_, attacks) in passes.items()}
    names = {trial_id: _name(trial_id, work) for trial_id, work in works.items()}
    list(threads.map(lambda trial_id: passes[trial_id][0]._write_tables(names[trial_id], sync=False), passes))
    store.place.sync(sorted({table for current, _ in passes.values() for table in current._tables}))
    trainings = store.marked(passes).trainings

    def mark(trial_id: str) -> None:
        current, _ = passes[trial_id]
        counts = trainings.get(trial_id)
        current._mark(names[trial_id], trial_id, works[trial_id], flags=None, counts=counts, sync=False)

    list(threads.map(mark, passes))
    store.place.sync(["done"])


def _work(attacks: Sequence[str], measures: Sequence[str], train: bool = False) -> dict[str, Any]:
    return {"train": train, "attacks": sorted(attacks), "measures": sorted(measures)}


def _name(trial_id: str, work: Mapping[str, Any]) -> str:
    train = work["train"]
    return f"{trial_id}-{own_names.TRAINING if train else content_id(work)}"
