"""Folders and files that only their owner can read, whatever the umask: their content reveals records and membership.

Existing folders and files keep their mode.
"""

import os
from pathlib import Path
from typing import IO, Any

FOLDER, FILE = 0o700, 0o600


def make_folder(folder: Path, mode: int = FOLDER) -> None:
    """Make a folder, and its parents, where they are missing."""
    try:
        folder.mkdir(mode, exist_ok=True)
    except FileNotFoundError:
        if folder.parent == folder:
            raise
        make_folder(folder.parent, mode)
        folder.mkdir(mode, exist_ok=True)


def open_file(path: Path, how: str, mode: int = FILE) -> IO[Any]:
    """`open(path, how)`, in UTF-8 for text; a file that this creates gets `mode`."""
    encoding = None if "b" in how else "utf-8"
    return open(path, how, encoding=encoding, opener=lambda name, flags: os.open(name, flags, mode))
