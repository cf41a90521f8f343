"""Putting many passes into few files, for fast reading; the passes stay the truth."""

import contextlib
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mia_core.hashing import content_id
from study.store import files, own_names, seals
from study.store.files import Damaged
from study.store.manifests import manifests, sealed_bytes, unchanged, valid
from study.store.marked import Marked
from study.store.passes import Store
from study.store.places import Entry
from study.store.reading import pairs, rows_of_pass, sealed, unseen
from study.store.schema import PASS_TABLES, complete, open_parquet, to_parquet, to_table

SCORES = "scores"
GROUP_ROWS = 2**20
"""Of a compacted table of scores, which may be larger than memory."""

FEWEST = 250
"""Passes that a running sweep does not compact yet."""


class Compactor:
    """Compacts while a sweep runs, whenever there are twice as many passes as at the last time.

    A driver that was killed, or a reader, then finds at least half of the passes in few files, and all compactions
    together write at most twice what the last one does.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sealed = len(store.passes())
        self._next = max(FEWEST, 2 * self._sealed)

    def count(self) -> None:
        """One more pass was sealed."""
        self._sealed += 1
        if self._sealed >= self._next:
            self._next = 2 * self._sealed
            with contextlib.suppress(Damaged, OSError):  # the sweep's end tries again, and says what is wrong
                compact(self._store)


def compact(store: Store) -> int:
    """Put all sealed passes into one file a table, and their markers into one; returns how many passes that covers.

    Nothing is done where a sound compaction covers them already. A pass whose marker is gone or damaged stays in it, if
    its rows are there alone. Damaged when a sealed file is.
    """
    listed = store.listed()  # before markers are read: one that is replaced meanwhile is not taken for what it was
    marked = store.marked()
    markers = {name: marker for name, marker in marked.counted.items() if name in listed}
    passes = _alone(store, marked) | _nonces(markers)
    name = content_id(passes)
    if not passes:
        return 0
    if _is_compacted(store, name, {key: listed[key] for key in markers}):
        _drop_others(store, name)
        return len(passes)
    tables = (
        (table, _scores(store, marked, markers) if table == SCORES else to_parquet(sealed(store, table, markers)))
        for table in PASS_TABLES
    )
    write(store, listed, markers, tables, passes)
    return len(passes)


def _nonces(markers: Mapping[str, Mapping[str, Any]]) -> dict[str, str | None]:
    return {name: marker["nonce"] for name, marker in markers.items()}


def _alone(store: Store, marked: Marked) -> dict[str, str | None]:
    """Nonces of passes without a sound marker, whose rows a whole compaction has."""
    for manifest in valid(store.place, marked):
        alone = {name: nonce for name, nonce in manifest["passes"].items() if name not in marked.sound}
        with contextlib.suppress(Damaged):
            for relative, seal in manifest["files"].items() if alone else ():
                sealed_bytes(store.place, relative, seal)
            return alone
    return {}


def write(
    store: Store,
    listed: Mapping[str, Entry],
    markers: Mapping[str, Mapping[str, Any]],
    tables: Iterable[tuple[str, bytes]],
    passes: Mapping[str, str | None] | None = None,
) -> None:
    """Write the Parquet files of a compaction, one after the other, then its manifest, and remove earlier ones.

    passes: nonces of all that is in the tables, by default those of the markers.
    """
    passes = _nonces(markers) if passes is None else passes
    name = content_id(passes)
    rows = [
        {"pass": key, "version": listed[key].version, "marker": seals.to_json(marker).decode()}
        for key, marker in markers.items()
    ]
    found = {}
    for table, data in itertools.chain(tables, [("markers", to_parquet(to_table("markers", rows)))]):
        relative = f"compacted/{table}-{name}.parquet"
        store.place.write(relative, data)
        found[relative] = files.seal(data)
    store.place.write(f"compacted/{name}.json", seals.to_json({"name": name, "passes": passes, "files": found}))
    _drop_others(store, name)


def _drop_others(store: Store, name: str) -> None:
    """Remove other compactions, damaged ones too, and what was not finished."""
    for entry in store.place.files("compacted"):
        if name not in entry.name and (entry.name.startswith(".") or own_names.own("compacted", [entry.name])):
            store.place.remove(f"compacted/{entry.name}")


def _is_compacted(store: Store, name: str, listed: Mapping[str, Entry]) -> bool:
    for manifest in manifests(store.place):
        if manifest["name"] == name:
            try:
                for relative, seal in manifest["files"].items():
                    sealed_bytes(store.place, relative, seal)
            except Damaged:
                return False
            return len(unchanged(store.place, listed)) == len(listed)
    return False


def _scores(store: Store, marked: Marked, markers: Mapping[str, Mapping[str, Any]]) -> bytes:
    """All scores, each once, a group of rows in memory at a time."""
    schema = to_table(SCORES, []).schema
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, schema, compression="zstd", write_page_checksum=True) as writer:
        parts: list[pa.Table] = []
        for part in _parts(store, marked, markers):
            parts.append(complete(part, SCORES))
            if sum(map(len, parts)) >= GROUP_ROWS:
                writer.write_table(pa.concat_tables(parts))
                parts = []
        writer.write_table(pa.concat_tables(parts) if parts else schema.empty_table())
    return sink.getvalue()


def _parts(store: Store, marked: Marked, markers: Mapping[str, Mapping[str, Any]]) -> Iterator[pa.Table]:
    """Compacted rows, then those of other passes, less what an earlier one of the same trial and attack has."""
    covered, compacted = _compacted_scores(store, marked)
    trials = {marker["trial_id"] for name, marker in markers.items() if name not in covered}
    seen: set[tuple[str, str]] = set()
    if compacted is not None:
        for batch in compacted.iter_batches(GROUP_ROWS):
            part = pa.Table.from_batches([batch])
            seen |= {pair for pair in pairs(part) if pair[0] in trials}
            yield part
    for name, marker in markers.items():
        for part in rows_of_pass(store, marker, SCORES) if name not in covered else ():
            yield unseen(part, seen)


def _compacted_scores(store: Store, marked: Marked) -> tuple[set[str], pq.ParquetFile | None]:
    for manifest in valid(store.place, marked):
        relative = f"compacted/{SCORES}-{manifest['name']}.parquet"
        with contextlib.suppress(Damaged, pa.ArrowException):
            data = sealed_bytes(store.place, relative, manifest["files"][relative])
            return set(manifest["passes"]), open_parquet(data, SCORES)
    return set(), None
