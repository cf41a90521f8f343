"""progress.json: what the driver of a running sweep tells whoever looks at its study from elsewhere.

Advisory: unsealed, replaced every few seconds, removed when a sweep ends in order, and nothing is decided by it. It
may be torn, or stale after a driver was killed, which its age tells.
"""

import contextlib
import fcntl
import json
from collections.abc import Mapping
from typing import Any

from study.store import Damaged, Store, files

FILE = "progress.json"
EVERY_SECONDS = 5.0
STALE_SECONDS = 60.0
"""From this age on a driver has most likely ended."""


def beat(store: Store, state: Mapping[str, Any]) -> None:
    """Replace it; storage that is full or away is passed over."""
    with contextlib.suppress(OSError):
        files.write(store.path(FILE), json.dumps(state, indent=2).encode())


def last(store: Store) -> dict[str, Any] | None:
    """What it says; None when it is absent, torn or no mapping."""
    with contextlib.suppress(OSError, ValueError, Damaged):
        state = json.loads(store.read_bytes(FILE))
        return state if isinstance(state, dict) else None
    return None


def drop(store: Store) -> None:
    """At the end of a sweep."""
    with contextlib.suppress(OSError):
        store.path(FILE).unlink(missing_ok=True)


def is_locked(store: Store) -> bool:
    """Whether a driver on this machine (or file system, where locks reach over it) works on the study now."""
    try:
        with store.path(".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # never run, a public copy, or storage that cannot be read
        return False
    return False
