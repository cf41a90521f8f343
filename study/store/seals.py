"""JSON that tells by its own sha256 whether it is whole: done-markers, manifests of compactions, the pointer."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from mia_core.hashing import canonical_json, content_id
from study.store import files
from study.store.names import LONGEST, is_column, is_word, quoted
from study.store.schema import PASS_TABLES

WORD = re.compile(r"\w+", re.ASCII)
"""Ids, hashes and nonces: nothing that a path could be made of."""

RESUME = re.compile(r"resume/\w+-\d+(-\w+)?\.safetensors", re.ASCII)
PUBLISHED = re.compile(r"specs/\w+\.json|design/\w+\.parquet", re.ASCII)

MARKER = {"trial_id", "work", "nonce", "files", "sealed_at"}
MANIFEST = {"name", "passes", "files"}


def own_file(marker: Mapping[str, Any], stem: str) -> str | None:
    """The file that a marker seals as `targets/<trial_id>` or the like; None where it has none.

    Names end with the nonce of the attempt, for a private training that is done again has other bits. Older versions'
    names had none.
    """
    stems = (stem, f"{stem}-{marker['nonce']}")
    return next((file for file in marker["files"] if file.rpartition(".")[0] in stems), None)


def to_json(value: Mapping[str, Any], indent: int | None = None) -> bytes:
    """A mapping with its sha256 as one more key; canonical unless indented for people."""
    whole = {**value, "sha256": files.sha256(canonical_json(value).encode())}
    return (canonical_json(whole) if indent is None else json.dumps(whole, indent=indent)).encode()


def parse(data: bytes) -> dict[str, Any]:
    """A mapping; ValueError says what is wrong with it."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    _require(isinstance(value, dict), "is no mapping")
    return value


def parse_marker(name: str, data: bytes) -> dict[str, Any]:
    """The done-marker of a pass; ValueError unless it is whole and names files of that pass alone."""
    marker, _ = _opened(data)
    _require(marker.keys() == MARKER, "has other keys than a marker")
    trial_id, nonce, work = marker["trial_id"], marker["nonce"], marker["work"]
    _require(_is_word(trial_id) and _is_word(nonce), "has an odd trial id or nonce")
    _require(isinstance(work, dict) and work.keys() == {"train", "attacks", "measures"}, "has odd work")
    _require(name == f"{trial_id}-{content_id(work)}", "has other work than its name says")
    _require(isinstance(work["train"], bool), "has odd work")
    for ids in (work["attacks"], work["measures"]):
        _require(isinstance(ids, list) and all(map(_is_word, ids)), "has odd work")
    own = {f"{table}/{name}-{nonce}.parquet" for table in PASS_TABLES}
    for stem in (trial_id, f"{trial_id}-{nonce}"):
        own |= {f"targets/{stem}.safetensors", f"samples/{stem}.png"}
    _require_seals(marker["files"], lambda file: file in own or RESUME.fullmatch(file) is not None)
    return marker


def parse_manifest(name: str, data: bytes) -> dict[str, Any]:
    """The manifest of a compaction; ValueError unless it is whole and names its own files, all of them.

    passes: nonces by name; None where an older version did not list them.
    """
    manifest, _ = _opened(data)
    _require(manifest.keys() == MANIFEST, "has other keys than a manifest")
    _require(name == manifest["name"] == content_id(manifest["passes"]), "covers other passes than its name says")
    own = {f"compacted/{table}-{name}.parquet" for table in PASS_TABLES}
    markers = f"compacted/markers-{name}.parquet"  # older versions had none
    _require_seals(manifest["files"], lambda file: file in own or file == markers)
    _require(manifest["files"].keys() >= own, "lacks a table")
    nonces = manifest["passes"] if isinstance(manifest["passes"], dict) else dict.fromkeys(manifest["passes"])
    _require(all(nonce is None or _is_word(nonce) for nonce in nonces.values()), "has odd passes")
    manifest["passes"] = nonces
    return manifest


def parse_pointer(data: bytes) -> dict[str, Any]:
    """study.json; ValueError unless it is whole and names specs and designs alone."""
    pointer, sealed = _opened(data)
    _require(_is_word(pointer.get("spec")), "names no spec")
    if "files" in pointer:  # older versions sealed neither these nor themselves
        _require(sealed, "has no sha256")
        _require_seals(pointer["files"], lambda file: PUBLISHED.fullmatch(file) is not None)
    _require(isinstance(pointer.get("versions", {}), dict), "has odd versions")
    return pointer


def parse_spec(data: bytes) -> dict[str, Any]:
    """A resolved spec; ValueError unless its factors and attacks have names that are no more than names."""
    spec = parse(data)
    factors, attacks = spec.get("factors", {}), spec.get("attacks", [])
    _require(isinstance(factors, dict) and isinstance(attacks, list), "has odd factors or attacks")
    for name in factors:
        _require(is_column(name), f"has a factor {quoted(name)}, which is no name")
    labels = [attack.get("label", attack.get("name")) if isinstance(attack, dict) else attack for attack in attacks]
    audit = spec.get("audit") or {}
    _require(isinstance(audit, dict), "has an odd audit")
    for label in [*labels, *filter(None, [audit.get("attack")])]:
        _require(is_word(label), f"has an attack {quoted(label)}, which is no name")
    return spec


def parse_seal(data: bytes) -> dict[str, Any]:
    """Size and sha256 of the one file that lies beside; ValueError unless it is that."""
    seal = parse(data)
    _require_seals({"": seal}, lambda file: True)
    return seal


def _opened(data: bytes) -> tuple[dict[str, Any], bool]:
    """A mapping, and whether it had its sha256, as it has not in older versions."""
    value = parse(data)
    sha = value.pop("sha256", None)
    _require(sha in (None, files.sha256(canonical_json(value).encode())), "has other content than its sha256 says")
    return value, sha is not None


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST and WORD.fullmatch(value) is not None


def _require_seals(seals: Any, is_own: Callable[[str], bool]) -> None:
    _require(isinstance(seals, dict), "names no files")
    for relative, seal in seals.items():
        _require(is_own(relative), f"names {relative!r}, which is no file of its own")
        _require(isinstance(seal, dict) and seal.keys() == {"bytes", "sha256"}, f"has no seal of {relative}")
        _require(isinstance(seal["bytes"], int) and _is_word(seal["sha256"]), f"has an odd seal of {relative}")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
