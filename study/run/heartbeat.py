"""progress.json: what the driver of a running sweep is doing, for readers elsewhere.

Advisory: unsealed, replaced every few seconds, removed when a sweep ends in order, and nothing is decided by it. It
may be torn, or stale after a driver was killed, which its age tells.
"""

import contextlib
import fcntl
import json
import math
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mia_core.opening import open_regular
from mia_core.plain_json import parse_json
from study.store import Damaged, Store
from study.store.places import Folder

FILE = "progress.json"
EVERY_SECONDS = 5.0
STALE_SECONDS = 60.0
"""Age from which on the driver has most likely ended."""


def beat(store: Store, state: Mapping[str, Any]) -> None:
    """Replace it; storage that is full or away is passed over."""
    with contextlib.suppress(OSError):
        store.place.write(FILE, json.dumps(state, indent=2).encode())


def last(store: Store) -> dict[str, Any] | None:
    """What it says; None when it is absent, torn, or not of the form that `beat` is given."""
    with contextlib.suppress(OSError, ValueError, Damaged):
        state = parse_json(store.place.read(FILE), any_text=True)
        return state if isinstance(state, dict) and _is_state(state) else None
    return None


def _is_state(state: Mapping[str, Any]) -> bool:
    running, left = state.get("running", []), state.get("seconds_left")
    moments = [datetime.fromisoformat(str(state[name])) for name in ("at", "started_at") if name in state]
    return (
        "at" in state
        and all(moment.tzinfo for moment in moments)
        and (left is None or _is_number(left))
        and isinstance(running, list)
        and all(isinstance(item, dict) and _is_running(item) for item in running)
    )


def _is_running(item: Mapping[str, Any]) -> bool:
    return isinstance(item.get("trial"), str) and _is_number(item.get("seconds"))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def drop(store: Store) -> None:
    """At the end of a sweep."""
    with contextlib.suppress(OSError):
        store.place.remove(FILE)


def is_locked(store: Store) -> bool:
    """Whether a driver of this machine (or file system, where locks reach over it) has the lock of a folder now."""
    if not isinstance(store.place, Folder):
        return False
    try:
        with open_regular(store.place.path(".lock"), os.O_RDONLY) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # never run, a public copy, or storage that cannot be read
        return False
    return False
