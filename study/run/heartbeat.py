"""progress.json: what the driver of a running sweep tells whoever looks at its study from elsewhere.

Advisory: unsealed, replaced every few seconds, removed when a sweep ends in order, and nothing is decided by it. It
may be torn, or stale after a driver was killed, which its age tells.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from typing import Any, Required

from pydantic import AwareDatetime, FiniteFloat, TypeAdapter
from typing_extensions import TypedDict

from mia_core.opening import open_regular
from study.store import Damaged, Store
from study.store.places import Folder

FILE = "progress.json"
EVERY_SECONDS = 5.0
STALE_SECONDS = 60.0
"""From this age on a driver has most likely ended."""


class Running(TypedDict):
    """A trajectory that is being worked at."""

    trial: str
    seconds: FiniteFloat


class State(TypedDict, total=False):
    """What readers use of it."""

    at: Required[AwareDatetime]
    started_at: AwareDatetime
    seconds_left: FiniteFloat | None
    running: list[Running]
    queued: int


_STATE = TypeAdapter(State)


def beat(store: Store, state: Mapping[str, Any]) -> None:
    """Replace it; storage that is full or away is passed over."""
    with contextlib.suppress(OSError):
        store.place.write(FILE, json.dumps(state, indent=2).encode())


def last(store: Store) -> dict[str, Any] | None:
    """What it says; None when it is absent, torn or not a `State`."""
    with contextlib.suppress(OSError, ValueError, Damaged):
        data = store.place.read(FILE)
        _STATE.validate_json(data, strict=True)
        return json.loads(data)
    return None


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
