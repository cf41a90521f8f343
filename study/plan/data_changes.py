"""What happened to the data of a study since its trials were sealed: a record was added, images decode otherwise, ...

A store keeps for each pool of records that it met the first 64 bits of each record's hash, in order. Who reads it can
tell whether a record they have is in the pool, as from the store's scores; no public copy has it.
"""

import base64
import json
from collections import Counter
from typing import Any

import numpy as np
import PIL

from mia_core.data import Pool
from mia_core.hashing import array_digest
from mia_core.plain_json import parse_json
from study.store import Damaged, Store

FOLDER = "data"
UNKNOWN = "the data have changed; what of them is not known, for this store kept nothing of theirs"


def keep(store: Store, pool: Pool) -> None:
    """data/<digest>.json, unless it is there."""
    store.place.settle(_file(pool.digest), json.dumps(described(pool)).encode())


def described(pool: Pool) -> dict[str, Any]:
    """What is kept of a pool."""
    return {
        "records": len(pool),
        "shape": list(pool.image_shape),
        "labels": array_digest(pool.labels.astype(np.int64)),
        "groups": array_digest(pool.groups.astype(np.int64)),
        "pillow": PIL.__version__,
        "fingerprints": base64.b64encode(pool.fingerprints.astype("<u8").tobytes()).decode(),
    }


def change(store: Store, digest: str, pool: Pool) -> str:
    """In words, what makes the pool of today another one than that of a digest."""
    try:
        before = parse_json(store.place.read(_file(digest)))
        return _difference(before, np.frombuffer(base64.b64decode(before["fingerprints"]), "<u8"), pool)
    except (Damaged, OSError, ValueError, KeyError, TypeError):  # of an earlier version, or damaged
        return UNKNOWN


def _file(digest: str) -> str:
    return f"{FOLDER}/{digest[:16]}.json"


def _difference(before: dict[str, Any], then: np.ndarray, pool: Pool) -> str:
    now = pool.fingerprints
    added, removed = Counter(now.tolist()), Counter(then.tolist())
    added, removed = added - removed, removed - added
    if not added and not removed:
        if not np.array_equal(then, now):
            return "the records were reordered"
        parts = {"labels": pool.labels, "groups": pool.groups}
        other = [word for word, values in parts.items() if array_digest(values.astype(np.int64)) != before[word]]
        return f"the {' and '.join(other)} of records have changed" if other else UNKNOWN
    more, less = added.total(), removed.total()
    if before["shape"] != list(pool.image_shape):
        return f"records are of {_shape(pool.image_shape)} now, theirs of {_shape(before['shape'])}"
    if more == less == int((then != now).sum() if len(then) == len(now) else -1):
        if before["pillow"] != PIL.__version__ and 2 * more > len(now):
            return f"images decode differently with this Pillow, {PIL.__version__}; theirs was {before['pillow']}"
        return f"{_records(more)} other pixels than {'it' if more == 1 else 'they'} had"
    words = [f"{_were(count)} {verb}" for count, verb in ((more, "added"), (less, "removed")) if count]
    return " and ".join(words)


def _shape(shape: Any) -> str:
    return " x ".join(map(str, shape))


def _records(count: int) -> str:
    return "one record has" if count == 1 else f"{count} records have"


def _were(count: int) -> str:
    return "one record was" if count == 1 else f"{count} records were"
