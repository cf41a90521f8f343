"""What is made once in a run of the tests, by whichever of its processes wants it first."""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = "MIA_STUDY_TESTS"
"""This variable names a folder that all processes of a run share, and that is gone after it. Its path is short, for
sockets of Ray lie in it."""


def open_folder() -> bool:
    """Make the folder, unless the process that started this one has; whether it was made here."""
    if FOLDER in os.environ:
        return False
    os.environ[FOLDER] = tempfile.mkdtemp(prefix="mia-", dir="/tmp")
    return True


def drop_folder() -> None:
    """Remove it."""
    shutil.rmtree(os.environ.pop(FOLDER), ignore_errors=True)


def once(name: str, make: Callable[[Path], Any]) -> tuple[Path, Any]:
    """A folder that `make` was given, empty, to put something into, and what it returned, which must be JSON."""
    folder = Path(os.environ[FOLDER]) / name
    made = folder.with_suffix(".json")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed at it
            folder.mkdir()
            made.write_text(json.dumps(make(folder)))
    return folder, json.loads(made.read_text())
