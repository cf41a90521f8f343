"""Content hashes: the ids of trials, attacks and measures, and the digests of data."""

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np

FORMAT = 4
"""Version of a store's layout. Results have versions of their own, as part of ids: see `study.design.identity`."""


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN; dataclasses are written as their fields."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} has no canonical form: {value!r}")


def content_id(value: Any) -> str:
    """16 hexadecimal digits that identify a JSON-like value: the start of the SHA-256 of its canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def array_digest(*arrays: np.ndarray) -> str:
    """SHA-256 (64 hexadecimal digits) of the types, shapes and bytes of arrays, in order."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype.str}{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()
