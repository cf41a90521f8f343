"""JSON that tells by its own sha256 whether it is whole: done-markers, manifests of compactions, the pointer."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from mia_core.hashing import FORMAT, canonical_json, content_id
from mia_core.plain_json import parse_json
from study.store import files
from study.store.names import LONGEST, is_column, is_word, quoted
from study.store.own_names import TRAINING
from study.store.rows import DIVERGED
from study.store.schema import PASS_TABLES

WORD = re.compile(r"\w+", re.ASCII)
"""Ids, hashes and nonces: nothing that a path could be made of."""

RESUME = re.compile(r"resume/\w+-\d+(?:-(\w+))?\.safetensors", re.ASCII)
PUBLISHED = re.compile(r"specs/\w+\.json|design/\w+\.parquet", re.ASCII)

MARKER = {"trial_id", "work", "nonce", "files", "sealed_at"}
FORMATTED = MARKER | {"format", "flags"}
"""Of a marker since format 4; earlier ones said neither, and the first had no sha256."""
BOUND = FORMATTED | {"training"}
"""With the nonce of the pass that trained the target; the first of format 4 did not say it."""

SECTIONS: dict[str, type] = {
    **dict.fromkeys(("data", "split", "training", "factors", "quality", "controls"), dict),
    "study": str,
    "seed": int,
    "replicates": int,
    "attacks": list,
}
LATER: dict[str, type] = {"audit": dict, "design": dict, "search": dict, "contrasts": list, "keep_targets": str}
"""Of a resolved spec, and those that only some have."""
OF_TRAINING = ("training", "factors")
"""Sections that a release's spec lacks."""

SHA256 = re.compile(r"[0-9a-f]{64}")
LARGEST = 2**53
SWEPT = "swept"
"""In the pointer: tracking, experiment and compute of the last sweep, which determine no result."""
MANIFEST = {"name", "passes", "files"}
EARLIER = "earlier_specs"
"""In the pointer of a public copy: specs before the current one, by the names that their files had."""


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


def parse(data: bytes, any_text: bool = False) -> dict[str, Any]:
    """A mapping; ValueError says what is wrong with it. any_text: see `parse_json`."""
    try:
        value = parse_json(data, any_text=any_text)
    except ValueError:
        raise ValueError("is not JSON") from None
    _require(isinstance(value, dict), "is no mapping")
    return value


def parse_marker(name: str, data: bytes) -> dict[str, Any]:
    """The done-marker of a pass; ValueError unless it is whole and names files of that pass alone."""
    marker, sealed = _opened(data)
    _require(marker.keys() in (MARKER, FORMATTED, BOUND), "has other keys than a marker")
    if "format" in marker:
        _require(sealed, "has no sha256")
        _require(_is_whole(marker["format"]) and marker["format"] > 3, "has an odd format")
        _require(marker["format"] <= FORMAT, f"is of format {marker['format']}, which a later version wrote")
        _require(marker["flags"] in (None, DIVERGED), "has odd flags")
    trial_id, nonce, work = marker["trial_id"], marker["nonce"], marker["work"]
    _require(_is_word(trial_id) and _is_word(nonce), "has an odd trial id or nonce")
    _require(isinstance(work, dict) and work.keys() == {"train", "attacks", "measures"}, "has odd work")
    _require(isinstance(work["train"], bool), "has odd work")
    training = marker.get("training")
    _require(training is None or _is_word(training), "is of an odd training")
    _require(not work["train"] or training in (None, nonce), "is of another training than its own")
    for ids in (work["attacks"], work["measures"]):
        _require(isinstance(ids, list) and all(map(_is_word, ids)) and ids == sorted(set(ids)), "has odd work")
    names = {f"{trial_id}-{content_id(work)}", *([f"{trial_id}-{TRAINING}"] if work["train"] else [])}
    _require(name in names, "has other work than its name says")
    _require(_is_moment(marker["sealed_at"]), "was sealed at no time")
    own = {f"{table}/{name}-{nonce}.parquet" for table in PASS_TABLES}
    for stem in (trial_id, f"{trial_id}-{nonce}"):
        own |= {f"targets/{stem}.safetensors", f"samples/{stem}.png", f"copies/{stem}.json", f"roc/{stem}.png"}
        own.add(f"records/{stem}.json")

    def is_own(file: str) -> bool:
        state = RESUME.fullmatch(file)
        return file in own or (state is not None and state[1] in (None, nonce))

    _require_seals(marker["files"], is_own)
    return marker


def parse_manifest(name: str, data: bytes) -> dict[str, Any]:
    """The manifest of a compaction; ValueError unless it is whole and names its own files, all of them.

    passes: nonces by name; None where an older version did not list them.
    """
    manifest, sealed = _opened(data)
    _require(manifest.keys() == MANIFEST, "has other keys than a manifest")
    passes = manifest["passes"]
    _require(isinstance(passes, (dict, list)) and all(map(is_word, passes)), "has odd passes")
    _require(sealed or isinstance(passes, list), "has no sha256")
    _require(name == manifest["name"] == content_id(passes), "covers other passes than its name says")
    own = {f"compacted/{table}-{name}.parquet" for table in PASS_TABLES}
    markers = f"compacted/markers-{name}.parquet"  # older versions had none
    _require_seals(manifest["files"], lambda file: file in own or file == markers)
    _require(manifest["files"].keys() >= own, "lacks a table")
    nonces = passes if isinstance(passes, dict) else dict.fromkeys(passes)
    _require(all(nonce is None or _is_word(nonce) for nonce in nonces.values()), "has odd passes")
    manifest["passes"] = nonces
    return manifest


def parse_pointer(data: bytes) -> dict[str, Any]:
    """study.json; ValueError unless it is whole and names specs and designs alone. format: 1 where it says none."""
    pointer, sealed = _opened(data)
    _require(_is_word(pointer.get("spec")), "names no spec")
    pointer.setdefault("format", 1)
    _require(_is_whole(pointer["format"]) and pointer["format"] > 0, "has an odd format")
    if "files" in pointer or pointer["format"] > 3:  # older versions sealed neither these nor themselves
        _require(sealed, "has no sha256")
        _require_seals(pointer.get("files"), lambda file: PUBLISHED.fullmatch(file) is not None)
    _require(isinstance(pointer.get("versions", {}), dict), "has odd versions")
    _require(isinstance(pointer.get("public", False), bool), "says oddly whether it is public")
    for key in ("study", "git_commit", "lock", "id"):
        _require(isinstance(pointer.get(key, ""), str), f"has an odd {key}")
    data = pointer.get("data", {})
    words = isinstance(data, dict) and all(isinstance(value, str) for value in data.values())
    _require(words, "describes its data oddly")
    _require(isinstance(pointer.get(SWEPT, {}), dict), "says oddly how it was swept")
    earlier = pointer.get(EARLIER, {})
    _require(isinstance(earlier, dict), "has odd earlier specs")
    for relative, spec in earlier.items():
        _require(PUBLISHED.fullmatch(relative) is not None and isinstance(spec, dict), "has odd earlier specs")
    return pointer


def parse_spec(data: bytes) -> dict[str, Any]:
    """A resolved spec; ValueError unless it has the sections of one, and its factors and attacks have names that are no
    more than names.
    """
    spec = parse(data)
    later = {
        **LATER,
        "release": dict,
        "policy": dict,
        **(dict.fromkeys(OF_TRAINING, dict) if "release" in spec else {}),
    }
    for section, kind in (SECTIONS | later).items():
        _require(section in spec or section in later, f"lacks the section {section}")
        value = spec.get(section)
        odd = section in spec and (not isinstance(value, kind) or isinstance(value, bool))
        _require(not odd or (section in LATER and value is None), f"has an odd section {section}")
    factors, attacks = spec.get("factors", {}), spec["attacks"]
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
    sealed, sha = "sha256" in value, value.pop("sha256", None)
    _require(not sealed or (isinstance(sha, str) and sha == _digest(value)), "has other content than its sha256 says")
    return value, sealed


def _digest(value: Mapping[str, Any]) -> str | None:
    """None for what this project writes nowhere: NaN, infinity, characters that are none."""
    try:
        return files.sha256(canonical_json(value).encode())
    except ValueError:
        return None


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST and WORD.fullmatch(value) is not None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST


def _is_moment(value: Any) -> bool:
    """Whether this is a time with its zone, as ISO 8601 writes it."""
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _require_seals(seals: Any, is_own: Callable[[str], bool]) -> None:
    _require(isinstance(seals, dict), "names no files")
    for relative, seal in seals.items():
        _require(is_own(relative), f"names {relative!r}, which is no file of its own")
        _require(isinstance(seal, dict) and seal.keys() == {"bytes", "sha256"}, f"has no seal of {relative}")
        known = isinstance(seal["sha256"], str) and SHA256.fullmatch(seal["sha256"])
        _require(bool(known) and _is_whole(seal["bytes"]), f"has an odd seal of {relative}")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
