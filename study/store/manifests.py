"""Compactions as they are found: many passes in few files, with a manifest of which. The passes stay the truth."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from study.store import files, own_names, seals
from study.store.files import Damaged
from study.store.marked import Marked
from study.store.places import Entry, Place
from study.store.schema import from_parquet


def sealed_bytes(place: Place, relative: str, seal: Mapping[str, Any]) -> bytes:
    """A listed file's content; Damaged unless it has the sealed sha256."""
    data = place.read(relative, seal["bytes"])
    if files.sha256(data) != seal["sha256"]:
        raise Damaged(f"{place.uri}/{relative}: its bytes changed since it was sealed")
    return data


def sealed_table(place: Place, relative: str, seal: Mapping[str, Any], encoded: Sequence[str] = ()) -> pa.Table:
    """A listed Parquet file; Damaged unless it has the sealed sha256 and is of the table that its name says.

    encoded: columns of texts to read as dictionaries.
    """
    data = sealed_bytes(place, relative, seal)
    folder, _, name = relative.partition("/")
    try:
        return from_parquet(data, name.partition("-")[0] if folder == "compacted" else folder, encoded)
    except (OSError, pa.ArrowException) as error:
        raise Damaged(f"{place.uri}/{relative}: {str(error).splitlines()[0]}") from None


def manifests(place: Place) -> list[dict[str, Any]]:
    """Sound manifests, the one of the most passes first."""
    found = []
    for file in own_names.own("compacted", place.names("compacted")):
        if file.endswith(".json"):
            with contextlib.suppress(Damaged, ValueError):
                data = place.read(f"compacted/{file}")
                found.append(seals.parse_manifest(file.removesuffix(".json"), data))
    return sorted(found, key=lambda manifest: -len(manifest["passes"]))


def valid(place: Place, marked: Marked) -> Iterator[dict[str, Any]]:
    """Sound manifests, the one of the most passes first, of passes that count as they were sealed. marked: all."""
    return (manifest for manifest in manifests(place) if marked.takes(manifest))


def unchanged(place: Place, listed: Mapping[str, Entry]) -> dict[str, bytes]:
    """Markers by pass as the largest compaction that has them took them; of those listed, unchanged since.

    listed: entries of done-markers by pass, as they are now.
    """
    for manifest in manifests(place):
        relative = f"compacted/markers-{manifest['name']}.parquet"
        if relative in manifest["files"]:  # older versions had none
            with contextlib.suppress(Damaged):
                table = sealed_table(place, relative, manifest["files"][relative])
                rows = zip(*(table[column].to_pylist() for column in ("pass", "version", "marker")), strict=True)
                return {
                    name: text.encode()
                    for name, version, text in rows
                    if name in listed and listed[name].version == version
                }
    return {}
