"""Content hashes: the ids of trials, attacks and measures, and the digests of data."""

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np

FORMAT = 4
"""Version of a store's layout. What results mean has versions of its own, in ids: see `study.design.identity`."""


def canonical_json(value: Any) -> str:
    """One spelling per value: sorted keys, no spaces, no NaN; dataclasses as their fields."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} has no canonical form: {value!r}")


def content_id(value: Any) -> str:
    """16 hexadecimal digits that name a JSON-like value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def array_digest(*arrays: np.ndarray) -> str:
    """sha256 over types, shapes and bytes of arrays, in their order."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype.str}{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()
