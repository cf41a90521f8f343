"""A pass that is being written: its tables and files, and the done-marker that seals them."""

import secrets
from datetime import UTC, datetime
from typing import Any

from mia_core.hashing import FORMAT, content_id
from study.store import files, own_names, seals
from study.store.files import Damaged
from study.store.passes import Done, Store
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
        self, trial_id: str, train: bool, attacks: list[str], measures: list[str], flags: str | None = None
    ) -> bool:
        """Write tables, then the marker; False when the trial was trained, or the same work done, by somebody else
        meanwhile.

        A damaged marker is replaced. flags: of the trial's row.
        """
        work = {"train": train, "attacks": sorted(attacks), "measures": sorted(measures)}
        name = f"{trial_id}-{own_names.TRAINING if train else content_id(work)}"
        for table, rows in self._tables.items():
            self._write_table(table, f"{table}/{name}-{self.nonce}.parquet", rows)
        if train and self.store.done([trial_id]).get(trial_id, Done()).train:
            return False  # under a name of earlier versions, or this one
        marker = {
            "trial_id": trial_id,
            "work": work,
            "nonce": self.nonce,
            "files": self._seals,
            "sealed_at": datetime.now(UTC).isoformat(),
            "format": FORMAT,
            "flags": flags,
        }
        relative, data = f"done/{name}.json", seals.to_json(marker)
        if self.store.place.create(relative, data):
            return True
        try:
            self.store.marker(name)
        except Damaged:
            self.store.place.write(relative, data)
            return True
        return False

    def _write_table(self, table: str, relative: str, rows: Rows) -> None:
        data = to_parquet(to_table(table, rows))
        self.store.place.write(relative, data)
        self._seals[relative] = files.seal(data)
