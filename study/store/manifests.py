"""Compactions as they are found: many passes in few files, with a manifest of which. The passes stay the truth."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from mia_core.errors import Refused
from study.store import files, own_names, seals
from study.store.files import Damaged
from study.store.marked import Marked
from study.store.names import quoted
from study.store.places import Entry, Place
from study.store.schema import KEYS, complete, from_parquet


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


def pass_table(place: Place, marker: Mapping[str, Any], relative: str) -> pa.Table:
    """A Parquet file of a pass, as of `sealed_table`; Damaged, too, for rows of other trials or other work."""
    table = sealed_table(place, relative, marker["files"][relative])
    try:
        require_own(relative.partition("/")[0], table, marker)
    except ValueError as error:
        raise Damaged(f"{place.uri}/{relative}: {error}") from None
    return table


def require_own(name: str, table: pa.Table, marker: Mapping[str, Any]) -> None:
    """ValueError unless rows of a table are of the trial of a marker, and of work that it names."""
    trials = set(table["trial_id"].unique().to_pylist()) if "trial_id" in KEYS[name] else {marker["trial_id"]}
    if trials - {marker["trial_id"]}:
        raise Refused(f"has rows of the trial {quoted(min(map(str, trials - {marker['trial_id']})))}")
    if name == "trials" and not (marker["work"]["train"] and len(table) == 1):
        raise Refused("has other trials than the one that the pass trained")
    if name == "trials" and "flags" in marker and complete(table, name)["flags"].to_pylist() != [marker["flags"]]:
        raise Refused("has other flags than the pass was sealed with")
    if name == "history" and len(set(table["trajectory_id"].to_pylist())) > 1:
        raise Refused("has epochs of several trainings")
    for column, ids in (("attack_id", "attacks"), ("measure_id", "measures")):
        if column in KEYS[name] and set(table[column].unique().to_pylist()) - set(marker["work"][ids]):
            raise Refused(f"has rows of {ids} that the pass does not name")


def require_scored(attacks: pa.Table, scores: pa.Table | None) -> None:
    """ValueError unless a pass has as many scores of each attack as the attack's row has queries, and none of one that
    was skipped.
    """
    rows = complete(attacks, "attacks").select(["attack_id", "skipped", "queries"]).to_pylist()
    counted = scores.group_by("attack_id").aggregate([("query", "count")]).to_pylist() if scores is not None else []
    found = {row["attack_id"]: row["query_count"] for row in counted}
    for row in rows:
        wanted = 0 if row["skipped"] is not None else row["queries"]
        if wanted is not None and found.get(row["attack_id"], 0) != wanted:
            name = quoted(row["attack_id"])
            raise Refused(
                f"has {found.get(row['attack_id'], 0)} scores of the attack {name}, and its row {wanted} queries"
            )


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
